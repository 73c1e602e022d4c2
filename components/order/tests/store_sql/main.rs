//! Goal: every statement of the store does on a real PostgreSQL what its port promises: types, guards, races, no full scans of hot tables.
//! Method: the store over a `Database` that hands each statement to `psql` as a prepared statement, so that parameter types are inferred as
//! they are for the host. `cargo xtask test contract` runs it; by hand: `SWIFTCART_TEST_DATABASE_URL` names an empty throw-away database,
//! and `psql` is on the path.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    missing_docs,
    reason = "tests"
)]

mod psql;
mod reversals;

use psql::Psql;
use swiftcart_domain::money::Currency;
use swiftcart_domain::outbox::DecidedBy;
use swiftcart_order::error::StoreError;
use swiftcart_order::model::*;
use swiftcart_order::ports::{Placed, Placement, Position, Store as _};
use swiftcart_order::store::{self, PgStore};
use uuid::Uuid;

fn held(number: u128, key: Option<&str>) -> Held {
    let line = |sku: &str, quantity, unit_price| Line { sku: sku.into(), quantity, unit_price };
    Held {
        order: Order {
            id: Uuid::from_u128(number),
            user_id: Uuid::from_u128(7),
            state: State::Pending,
            lines: vec![line("B", 1, 50), line("A", 2, 1_000_000_000)],
            total_amount: 2_000_000_050,
            currency: "USD".parse::<Currency>().unwrap(),
            created_at: 1_759_235_696_000_000 + i64::try_from(number).unwrap(),
            version: 1,
            failure: None,
            refund: None,
        },
        payment_method: "pm_card_visa".into(),
        key: key.map(str::to_owned),
        sealed_email: key.map(|_| vec![0, 255, 7]),
        trace: Trace {
            parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
            state: key.map(|_| "a=b".into()),
        },
        epoch: 1,
        answered_pending: false,
        refund_id: None,
        payment: None,
    }
}

fn placement(number: u128, key: Option<&str>) -> Placement {
    Placement { held: held(number, key), fingerprint: vec![1; 32] }
}

fn paid() -> Verdict {
    Verdict::Confirmed(Payment { provider: "stripe".into(), payment_id: "pi_1".into() })
}

fn settlement(held: &Held, verdict: &Verdict, by: DecidedBy) -> Settlement {
    settle(held, verdict, by, &held.trace, 1_759_235_697_000_000).unwrap()
}

#[test]
#[ignore = "needs PostgreSQL; cargo xtask test contract runs it"]
fn every_statement_on_a_real_server() {
    let url = std::env::var("SWIFTCART_TEST_DATABASE_URL");
    let database = Psql(url.expect("SWIFTCART_TEST_DATABASE_URL names an empty throw-away database"));
    for migration in ["0001_orders.sql", "0002_reversals.sql"] {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/orders/").to_owned() + migration;
        database.script(&std::fs::read_to_string(path).unwrap()).unwrap();
    }
    let store = PgStore(database.clone());
    placing(&store);
    keys_and_leases(&store, &database);
    deciding(&store, &database);
    listing(&store);
    sweeping(&store, &database);
    purging(&store, &database);
    races(&database);
    reversals::reversing(&store, &database);
    reversals::races(&database);
    plans(&database);
    reversals::inbox_retention(&store, &database);
}

fn placing(store: &PgStore<Psql>) {
    assert_eq!(store.place(&placement(1, None)), Ok(Placed::Ours));
    assert_eq!(store.place(&placement(1, None)), Ok(Placed::Ours), "the same placement again");
    assert_eq!(store.place(&placement(2, Some("k"))), Ok(Placed::Ours));
    assert_eq!(store.place(&placement(3, Some("k"))), Ok(Placed::KeyTaken));
    assert_eq!(store.read(Uuid::from_u128(3)), Ok(None), "a taken key leaves no order");
    assert_eq!(store.read(Uuid::from_u128(1)).unwrap().unwrap(), held(1, None));
    assert_eq!(store.read(Uuid::from_u128(2)).unwrap().unwrap(), held(2, Some("k")));
    let mut bad = placement(4, None);
    bad.held.order.lines[0].quantity = 1001;
    assert!(matches!(store.place(&bad), Err(StoreError::Internal(text)) if text.contains("quantity")));
    assert_eq!(store.read(Uuid::from_u128(4)), Ok(None));
}

fn keys_and_leases(store: &PgStore<Psql>, database: &Psql) {
    let (user, id) = (Uuid::from_u128(7), Uuid::from_u128(2));
    assert_eq!(store.find_key(user, "none", &[1; 32]), Ok(None));
    assert_eq!(store.find_key(Uuid::from_u128(8), "k", &[1; 32]), Ok(None));
    let record = store.find_key(user, "k", &[1; 32]).unwrap().unwrap();
    assert_eq!((&record.held, &record.fingerprint, &record.answer), (&held(2, Some("k")), &vec![1; 32], &None));
    assert!((25..=30).contains(&record.busy_seconds) && !record.held.answered_pending && !record.first_told);
    assert_eq!(store.take_lease(id, 1), Ok(None), "somebody works on it");
    store.yield_lease(id, 2).unwrap();
    assert!(store.find_key(user, "k", &[1; 32]).unwrap().unwrap().busy_seconds > 0, "another epoch yields nothing");
    store.yield_lease(id, 1).unwrap();
    assert_eq!(store.find_key(user, "k", &[1; 32]).unwrap().unwrap().busy_seconds, 0);
    assert_eq!(store.take_lease(id, 2), Ok(None));
    assert_eq!(store.take_lease(id, 1), Ok(Some(2)));
    assert_eq!(store.take_lease(id, 2), Ok(None));
    database.script("UPDATE orders SET lease_until = now() - interval '1 second'").unwrap();
    assert_eq!(store.take_lease(id, 2), Ok(Some(3)));
    store.note_pending(id, 3).unwrap();
    let record = store.find_key(user, "k", &[1; 32]).unwrap().unwrap();
    assert!(record.held.answered_pending && record.busy_seconds == 0);
    assert_eq!(store.take_lease(id, 3), Ok(None), "what was answered with 202 is the sweep's");
}

fn deciding(store: &PgStore<Psql>, database: &Psql) {
    let user = Uuid::from_u128(7);
    let now = store.read(Uuid::from_u128(2)).unwrap().unwrap();
    let stale = Held { epoch: 2, ..now.clone() };
    assert_eq!(
        store.decide(&settlement(&stale, &paid(), DecidedBy::Request)),
        Ok(false),
        "an old epoch decides nothing"
    );
    assert_eq!(database.number("SELECT count(*) FROM outbox"), 0);
    let by_sweep = settlement(&now, &paid(), DecidedBy::Sweep);
    assert_eq!(store.decide(&by_sweep), Ok(true));
    assert_eq!(store.decide(&by_sweep), Ok(false), "decided once");
    let after = store.read(Uuid::from_u128(2)).unwrap().unwrap();
    assert_eq!((after.order.clone(), after.epoch), (by_sweep.order.clone(), 3));
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE topic = 'orders.confirmed.v1' AND headers->>'swiftcart-sealed-email' = 'AP8H'"), 1);
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE payload::jsonb->>'eventType' = 'OrderConfirmed' AND key = '00000000-0000-0000-0000-000000000002'"), 1);
    // Told once unmarked, then as a replay; another fingerprint tells nothing.
    let other = store.find_key(user, "k", &[2; 32]).unwrap().unwrap();
    assert!(!other.first_told && other.fingerprint == vec![1; 32]);
    let first = store.find_key(user, "k", &[1; 32]).unwrap().unwrap();
    assert_eq!(first.answer, Some((by_sweep.decision.clone().unwrap(), "4bf92f3577b34da6a3ce929d0e0e4736".to_owned())));
    assert!(first.first_told);
    assert!(!store.find_key(user, "k", &[1; 32]).unwrap().unwrap().first_told);
    // A request's own decision counts as told.
    store.place(&placement(5, Some("k5"))).unwrap();
    let declined = Verdict::Declined(Decline { code: "card_declined".into(), message: "It's no.".into() }, None);
    assert_eq!(store.decide(&settlement(&held(5, Some("k5")), &declined, DecidedBy::Request)), Ok(true));
    assert!(!store.find_key(user, "k5", &[1; 32]).unwrap().unwrap().first_told);
    assert_eq!(store.get(user, Uuid::from_u128(5)).unwrap().unwrap().failure.unwrap().message, "It's no.");
    // A payment that is not available frees the key, once the order is decided.
    store.place(&placement(6, Some("k6"))).unwrap();
    assert_eq!(
        store.decide(&settlement(&held(6, Some("k6")), &Verdict::PaymentUnavailable, DecidedBy::Request)),
        Ok(true)
    );
    assert_eq!(store.find_key(user, "k6", &[1; 32]), Ok(None));
    assert_eq!(store.place(&placement(60, Some("k6"))), Ok(Placed::Ours));
    assert_eq!(store.decide(&settlement(&held(6, Some("k6")), &paid(), DecidedBy::Request)), Ok(false));
    assert!(
        store.find_key(user, "k6", &[1; 32]).unwrap().is_some(),
        "a late decision does not touch the next order's key"
    );
    // The sweep frees it too, but not once the buyer was told 202.
    store.place(&placement(7, Some("k7"))).unwrap();
    store.place(&placement(8, Some("k8"))).unwrap();
    store.note_pending(Uuid::from_u128(8), 1).unwrap();
    for number in [7, 8] {
        let now = store.read(Uuid::from_u128(number)).unwrap().unwrap();
        assert_eq!(now.answered_pending, number == 8);
        assert_eq!(store.decide(&settlement(&now, &Verdict::PaymentUnavailable, DecidedBy::Sweep)), Ok(true));
    }
    assert_eq!(store.find_key(user, "k7", &[1; 32]), Ok(None));
    let kept = store.find_key(user, "k8", &[1; 32]).unwrap().unwrap();
    assert!(matches!(kept.answer, Some((Decision::Failed { .. }, _))) && kept.first_told);
    // Without a key.
    assert_eq!(store.decide(&settlement(&held(1, None), &Verdict::OutOfStock(vec![]), DecidedBy::Request)), Ok(true));
    assert_eq!(store.decide(&settlement(&held(60, Some("k6")), &paid(), DecidedBy::Request)), Ok(true));
    assert_eq!(database.number("SELECT count(*) FROM outbox"), 7);
}

fn listing(store: &PgStore<Psql>) {
    let (user, ids) =
        (Uuid::from_u128(7), |orders: Vec<Order>| orders.iter().map(|order| order.id.as_u128()).collect::<Vec<_>>());
    assert_eq!(ids(store.list(user, None, None, 100).unwrap()), [60, 8, 7, 6, 5, 2, 1]);
    let page = store.list(user, None, None, 2).unwrap();
    let after = Position { created_at: page[1].created_at, id: page[1].id };
    assert_eq!(ids(page), [60, 8]);
    assert_eq!(ids(store.list(user, Some(after), None, 2).unwrap()), [7, 6]);
    assert_eq!(ids(store.list(user, None, Some(State::Failed), 100).unwrap()), [8, 7, 6, 5, 1]);
    assert!(store.list(Uuid::from_u128(8), None, None, 100).unwrap().is_empty());
    assert_eq!(store.get(Uuid::from_u128(8), Uuid::from_u128(1)), Ok(None));
    assert_eq!(store.get(user, Uuid::from_u128(99)), Ok(None));
}

fn sweeping(store: &PgStore<Psql>, database: &Psql) {
    assert_eq!(store.claim_due(), Ok(None));
    store.place(&placement(10, None)).unwrap();
    store.place(&placement(11, None)).unwrap();
    assert_eq!(store.claim_due(), Ok(None), "their leases run");
    database.script("UPDATE orders SET lease_until = now() WHERE state = 'PENDING'").unwrap();
    assert_eq!(store.claim_due(), Ok(None), "the grace");
    let eleven = Uuid::from_u128(11);
    // The other one's lease runs for longer than any machine takes for the next lines.
    let due = format!(
        "UPDATE orders SET lease_until = now() + CASE WHEN id = '{eleven}' THEN interval '-7 seconds' ELSE interval '30 seconds' END
         WHERE state = 'PENDING'"
    );
    database.script(&due).unwrap();
    let due = store.claim_due().unwrap().unwrap();
    assert_eq!((due.held.clone(), due.attempt), (Held { epoch: 2, ..held(11, None) }, 1));
    assert_eq!(store.claim_due(), Ok(None));
    store.postpone(eleven, 1, 0).unwrap();
    store.postpone(eleven, 2, 55).unwrap();
    assert_eq!(database.number("SELECT count(*) FROM orders WHERE lease_until > now() + interval '50 seconds'"), 1);
    assert_eq!(store.decide(&settlement(&due.held, &Verdict::PaymentUnavailable, DecidedBy::Sweep)), Ok(true));
}

fn purging(store: &PgStore<Psql>, database: &Psql) {
    assert_eq!(store.purge(10), Ok(0));
    database
        .script("UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key IN ('k', 'k5')")
        .unwrap();
    assert_eq!(store.find_key(Uuid::from_u128(7), "k", &[1; 32]), Ok(None), "too old counts as free");
    assert_eq!(store.place(&placement(12, Some("k"))), Ok(Placed::Ours));
    assert_eq!(store.find_key(Uuid::from_u128(7), "k", &[1; 32]).unwrap().unwrap().answer, None);
    database.script("UPDATE outbox SET published_at = now() - interval '25 hours' WHERE id <= 3").unwrap();
    assert_eq!(store.purge(2), Ok(3), "one key, two events: bounded");
    assert_eq!(store.purge(2), Ok(1));
    assert_eq!(store.purge(2), Ok(0));
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE published_at IS NULL"), 5);
}

const RACERS: u128 = 8;

fn race<T: Send + 'static>(database: &Psql, run: impl Fn(PgStore<Psql>, u128) -> T + Send + Clone + 'static) -> Vec<T> {
    let racers = (0..RACERS).map(|number| {
        let (store, run) = (PgStore(database.clone()), run.clone());
        std::thread::spawn(move || run(store, number))
    });
    racers.collect::<Vec<_>>().into_iter().map(|racer| racer.join().unwrap()).collect()
}

fn races(database: &Psql) {
    for round in 0..3_u128 {
        let base = 1000 * (round + 1);
        let key = format!("race{round}");
        let placed = race(database, move |store, number| store.place(&placement(base + number, Some(&key))).unwrap());
        assert_eq!(placed.iter().filter(|placed| **placed == Placed::Ours).count(), 1, "{placed:?}");
        let id = Uuid::from_u128(base + placed.iter().position(|placed| *placed == Placed::Ours).unwrap() as u128);
        database.script(&format!("UPDATE orders SET lease_yielded = true WHERE id = '{id}'")).unwrap();
        let taken = race(database, move |store, _| store.take_lease(id, 1).unwrap());
        assert_eq!(taken.iter().flatten().count(), 1, "{taken:?}");
        let decided = race(database, move |store, number| {
            let now = store.read(id).unwrap().unwrap();
            let verdict = if number % 2 == 0 { paid() } else { Verdict::PaymentUnavailable };
            now.order.state == State::Pending && store.decide(&settlement(&now, &verdict, DecidedBy::Request)).unwrap()
        });
        assert_eq!(decided.iter().filter(|decided| **decided).count(), 1);
        assert_eq!(database.number(&format!("SELECT count(*) FROM outbox WHERE key = '{id}'")), 1);
    }
    let store = PgStore(database.clone());
    for number in 0..RACERS {
        store.place(&placement(9000 + number, None)).unwrap();
    }
    database.script("UPDATE orders SET lease_until = now() - interval '1 hour' WHERE state = 'PENDING'").unwrap();
    let pending = database.number("SELECT count(*) FROM orders WHERE state = 'PENDING'");
    let mut claimed: Vec<_> = (0..3)
        .flat_map(|_| race(database, |store, _| store.claim_due().unwrap()))
        .flatten()
        .map(|due| due.held.order.id)
        .collect();
    claimed.sort();
    let all = claimed.len();
    claimed.dedup();
    assert_eq!((claimed.len(), i64::try_from(all).unwrap()), (all, pending), "each once");
}

/// On a table with many decided orders the sweep and the list read by index.
fn plans(database: &Psql) {
    database
        .script(
            "INSERT INTO orders (id, user_id, state, currency, total_amount, payment_method, created_at, traceparent, decided_at, payment_id)
             SELECT gen_random_uuid(), gen_random_uuid(), 'CONFIRMED', 'USD', 100, 'pm', now(), '', now(), 'pi' FROM generate_series(1, 20000);
             INSERT INTO idempotency_keys (user_id, route, key, fingerprint, order_id)
             SELECT user_id, 'POST /orders', id::text, '', id FROM orders;
             INSERT INTO outbox (event_id, topic, key, payload, published_at)
             SELECT id, 't', id::text, '{}', now() FROM orders;
             INSERT INTO inbox (consumer, event_id) SELECT 'order', id FROM orders ON CONFLICT DO NOTHING;
             ANALYZE;",
        )
        .unwrap();
    let plan = |name: &str, sql: &str, params: &str| {
        let script =
            format!("SET plan_cache_mode = force_generic_plan; PREPARE p AS {sql}; EXPLAIN EXECUTE p({params});");
        let plan = database.script(&script).unwrap();
        for table in ["orders", "idempotency_keys", "outbox", "inbox"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{name}: {plan}");
        }
        // Reading a whole index, or the partial one of what is pending, is reading too much as well.
        if ["place", "decide"].contains(&name) {
            let lines: Vec<&str> = plan.lines().collect();
            let scan = |line: &str| line.contains("Index Scan using") || line.contains("Index Only Scan using");
            for (scan, next) in lines.iter().zip(lines.iter().skip(1)).filter(|(line, _)| scan(line)) {
                assert!(next.contains("Index Cond") && !scan.contains("by_lease"), "{name}: {plan}");
            }
        }
    };
    let (id, user) = ("'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000007'");
    plan("claim", store::CLAIM_DUE, "5::float8, 30::float8");
    plan("read", store::READ, id);
    plan("get", store::GET, &format!("{id}, {user}"));
    plan("list", store::LIST, &format!("{user}, now(), {id}, NULL, 20"));
    plan("find", store::FIND_KEY, &format!("{user}, 'POST /orders', 'k', '\\x00', 1::float8"));
    plan("lease", store::TAKE_LEASE, &format!("{id}, 1, 30::float8"));
    let null = |count: usize| vec!["NULL"; count].join(", ");
    plan("place", store::PLACE, &null(15));
    plan("decide", store::DECIDE, &null(19));
    plan("reverse", store::REVERSE, &format!("{id}, 1, {}", null(11)));
    plan("refund", store::REFUND, &format!("{id}, 1, {}", null(4)));
    plan("purge inbox", store::PURGE_INBOX, "86400::float8, 100");
    plan("purge keys", store::PURGE_KEYS, "86400::float8, 100");
    plan("purge outbox", store::PURGE_OUTBOX, "86400::float8, 100");
}
