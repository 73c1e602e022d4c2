//! Confirmed orders that are taken back, their refunds, and the inbox.

use swiftcart_domain::outbox::DecidedBy;
use swiftcart_order::model::*;
use swiftcart_order::ports::Store as _;
use swiftcart_order::store::PgStore;
use uuid::Uuid;

use crate::psql::Psql;
use crate::{held, paid, placement, race, settlement};

/// A confirmed order.
fn confirmed(store: &PgStore<Psql>, number: u128) -> Held {
    store.place(&placement(number, None)).unwrap();
    assert_eq!(store.decide(&settlement(&held(number, None), &paid(), DecidedBy::Request)), Ok(true));
    store.read(Uuid::from_u128(number)).unwrap().unwrap()
}

fn reversal(held: &Held, cause: Cause) -> Reversal {
    reverse(held, cause, &held.trace, 1_759_235_698_000_000).unwrap()
}

pub(crate) fn reversing(store: &PgStore<Psql>, database: &Psql) {
    let event = Uuid::from_u128;
    let mut order = confirmed(store, 20_001);
    assert_eq!(order.payment, Some(Payment { provider: "stripe".into(), payment_id: "pi_1".into() }));
    let cancel = reversal(&order, Cause::Cancelled);
    order.order.version += 1;
    assert_eq!(store.reverse(&reversal(&order, Cause::Cancelled), None), Ok(false), "another version");
    let refunded = |number: u128| Refunded { order_id: event(number), refund_id: "re_1".into(), amount: 2_000_000_050 };
    assert_eq!(store.refund(&refunded(20_001), 2, event(1)), Ok(false), "a confirmed order is owed nothing");
    assert_eq!(store.reverse(&cancel, None), Ok(true));
    assert_eq!(store.reverse(&cancel, None), Ok(false), "once");
    let after = store.read(event(20_001)).unwrap().unwrap();
    assert_eq!(after.order, cancel.order, "state, version and refund");
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE topic = 'orders.cancelled.v1' AND headers->>'swiftcart-decided-by' = 'request'"), 1);
    assert_eq!(database.number("SELECT count(*) FROM inbox"), 0);
    assert_eq!(store.refund(&refunded(20_001), 2, event(1)), Ok(false), "another version");
    assert_eq!(store.refund(&refunded(20_001), 3, event(1)), Ok(true));
    assert_eq!(store.refund(&refunded(20_001), 4, event(2)), Ok(false), "given back once");
    let after = store.read(event(20_001)).unwrap().unwrap().order;
    assert_eq!((after.version, after.refund.unwrap().state), (4, RefundState::Succeeded));
    assert_eq!(
        database.number("SELECT count(*) FROM orders WHERE refund_id = 're_1' AND refund_amount = 2000000050"),
        1
    );
    assert_eq!(database.number("SELECT count(*) FROM inbox WHERE consumer = 'order'"), 1);
    // It came back, and another one is made by hand.
    let failed = |refund_id: Option<&str>| RefundFailed {
        order_id: event(20_001),
        refund_id: refund_id.map(str::to_owned),
        amount: 7,
    };
    assert_eq!(store.fail_refund(&failed(Some("re_1")), 3, event(2)), Ok(false), "another version");
    assert_eq!(store.fail_refund(&failed(Some("re_1")), 4, event(2)), Ok(true));
    assert_eq!(store.fail_refund(&failed(None), 5, event(6)), Ok(false), "told once");
    let after = store.read(event(20_001)).unwrap().unwrap();
    assert_eq!((after.order.version, after.refund_id.as_deref()), (5, Some("re_1")));
    let shown = after.order.refund.unwrap();
    assert_eq!((shown.state, shown.amount), (RefundState::Failed, 2_000_000_050), "what is owed stays");
    assert_eq!(store.refund(&Refunded { refund_id: "re_2".into(), ..refunded(20_001) }, 5, event(7)), Ok(true));
    assert_eq!(store.read(event(20_001)).unwrap().unwrap().refund_id.as_deref(), Some("re_2"));
    database.script("DELETE FROM inbox WHERE event_id::text NOT LIKE '%-000000000001'").unwrap();

    let order = confirmed(store, 20_002);
    let rejected = reversal(&order, Cause::OutOfStock);
    assert_eq!(store.reverse(&rejected, Some(event(3))), Ok(true));
    assert_eq!(store.reverse(&rejected, Some(event(3))), Ok(false));
    assert_eq!(store.read(event(20_002)).unwrap().unwrap().order, rejected.order);
    store.note_event(event(3)).unwrap();
    store.note_event(event(4)).unwrap();
    assert_eq!(database.number("SELECT count(*) FROM inbox"), 3, "each event once");
    assert_eq!(
        database.number("SELECT count(*) FROM orders WHERE decided_by = 'saga' AND decided_at < reversed_at"),
        1
    );
    let unknown = reversal(&Held { order: Order { id: event(99), ..order.order.clone() }, ..order }, Cause::Cancelled);
    assert_eq!(store.reverse(&unknown, Some(event(5))), Ok(false));
    assert_eq!(database.number("SELECT count(*) FROM outbox WHERE topic IN ('orders.cancelled.v1', 'orders.failed.v1') AND key LIKE '%4e2_'"), 2);
    assert_eq!(database.number("SELECT count(*) FROM inbox"), 3, "no effect, no inbox row");
    let refused = database.script("UPDATE orders SET state = 'CANCELLED' WHERE state = 'CONFIRMED'");
    assert!(refused.is_err_and(|error| error.contains("orders_cancelled")), "a cancelled order says since when");
}

/// The buyer cancels from several places at once while inventory rejects the order.
pub(crate) fn races(database: &Psql) {
    for round in 0..3_u128 {
        let order = confirmed(&PgStore(database.clone()), 30_000 + round);
        let reversed = race(database, move |store, number| {
            let cause = if number % 2 == 0 { Cause::Cancelled } else { Cause::OutOfStock };
            let event = (cause == Cause::OutOfStock).then(|| Uuid::from_u128(30_000 + round));
            store.reverse(&reversal(&order, cause), event).unwrap()
        });
        assert_eq!(reversed.iter().filter(|reversed| **reversed).count(), 1, "{reversed:?}");
        let id = Uuid::from_u128(30_000 + round);
        assert_eq!(database.number(&format!("SELECT count(*) FROM outbox WHERE key = '{id}'")), 2);
        let refunded = race(database, move |store, number| {
            let refunded = Refunded { order_id: id, refund_id: format!("re_{number}"), amount: 1 };
            store.refund(&refunded, 3, Uuid::from_u128(40_000 + round)).unwrap()
        });
        assert_eq!(refunded.iter().filter(|refunded| **refunded).count(), 1, "{refunded:?}");
    }
}

pub(crate) fn inbox_retention(store: &PgStore<Psql>, database: &Psql) {
    while store.purge(1000).unwrap() > 0 {}
    let kept = database.number("SELECT count(*) FROM inbox");
    database.script("UPDATE inbox SET received_at = now() - interval '13 days'").unwrap();
    assert_eq!(store.purge(2), Ok(0));
    database.script("UPDATE inbox SET received_at = now() - interval '15 days' WHERE event_id::text LIKE '%-000000000003' OR event_id::text LIKE '%-000000000004'").unwrap();
    assert_eq!((store.purge(1), store.purge(1), store.purge(1)), (Ok(1), Ok(1), Ok(0)), "bounded");
    assert_eq!(database.number("SELECT count(*) FROM inbox"), kept - 2);
}
