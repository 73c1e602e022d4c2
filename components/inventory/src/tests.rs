//! Goal: nothing is sold that is not there, everything is counted once, and a crash between any two steps, followed by the same call again, converges.
//! Method: the use cases over stores in memory; for every use case each step is made to fail in turn, before and after it took effect.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod drift;
mod saga;

use serde_json::Value;
use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{Item, Order, OrderConfirmed, OrderFailed, OrderFailure, OrderPayment, PaymentStatus};
use uuid::Uuid;

use crate::error::{CatalogError, Error, QuoteError, ReserveError};
use crate::fake::{Audit, Fail, Meanwhile, World};
use crate::model::{AdjustmentKey, Line, Reason, Shortage};

const ORDER: Uuid = Uuid::from_u128(1);

fn lines(lines: &[(&str, u32)]) -> Vec<Line> {
    lines.iter().map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }).collect()
}

fn order(order_id: Uuid, items: &[(&str, u32)]) -> Order {
    let items = items.iter().map(|(sku, qty)| Item { sku: (*sku).to_owned(), qty: *qty, unit_price: 1299 }).collect();
    Order { order_id, user_id: Uuid::nil(), items, total_amount: 1299, currency: "USD".parse().unwrap() }
}

fn confirmed(order_id: Uuid, items: &[(&str, u32)]) -> Vec<u8> {
    let payment =
        OrderPayment { provider: "stripe".to_owned(), payment_id: "pi_1".to_owned(), status: PaymentStatus::Succeeded };
    serde_json::to_vec(&OrderConfirmed::new(0, order(order_id, items), payment)).unwrap()
}

fn failed(order_id: Uuid) -> Vec<u8> {
    serde_json::to_vec(&OrderFailed::new(
        0,
        order(order_id, &[("A", 1)]),
        None,
        OrderFailure { code: "out_of_stock".to_owned() },
    ))
    .unwrap()
}

fn counter(world: &World, sku: &str) -> Option<i64> {
    world.counters.borrow().get(sku).copied()
}

fn available(world: &World, sku: &str) -> u64 {
    world.inventory().get(sku).unwrap().available_stock
}

/// Every place where one run of `act` can fail, tried one by one: `between` holds then, and `act` again must bring `check` about.
fn at_every_step<T>(
    between: Audit,
    setup: impl Fn() -> World,
    act: impl Fn(&World) -> Result<T, bool>,
    check: impl Fn(&World),
) {
    let world = setup();
    let before = world.steps.get();
    assert!(act(&world).is_ok());
    check(&world);
    let steps = world.steps.get() - before;
    assert!(steps > 0);
    for step in 0..steps {
        for fail in [Fail::Before, Fail::After] {
            let world = setup();
            world.fuse.set(Some((world.steps.get() + step, fail)));
            let _ = act(&world);
            world.fuse.set(None);
            world.audit(between);
            assert!(act(&world).is_ok(), "again after {fail:?} at step {step}");
            check(&world);
        }
    }
}

#[test]
fn a_quote_reads_the_cache_and_fills_it() {
    let world = World::stocked(&[("A", 5), ("B", 5)]);
    let inventory = world.inventory();
    assert_eq!(inventory.quote(lines(&[("A", 2), ("B", 1)]), "USD").unwrap().total, 3897);
    world.products.borrow_mut().clear();
    assert_eq!(inventory.quote(lines(&[("A", 2)]), "USD").unwrap().total, 2598);
    assert_eq!(inventory.quote(lines(&[("A", 2), ("X", 1)]), "USD"), Err(QuoteError::UnknownSku(vec!["X".to_owned()])));
    assert_eq!(inventory.quote(lines(&[("A", 2)]), "EUR"), Err(QuoteError::CurrencyMismatch(vec!["A".to_owned()])));
}

#[test]
fn reserve_takes_all_lines_or_none_and_is_idempotent() {
    let world = World::stocked(&[("A", 5), ("B", 1)]);
    let inventory = world.inventory();
    for _ in 0..2 {
        assert_eq!(inventory.reserve("1", &lines(&[("A", 2), ("B", 1)])), Ok(()));
        assert_eq!((counter(&world, "A"), counter(&world, "B")), (Some(3), Some(0)));
    }
    let shortage = |sku: &str, requested, available| Shortage { sku: sku.to_owned(), requested, available };
    let short = Err(ReserveError::OutOfStock(vec![shortage("A", 4, 3), shortage("B", 1, 0)]));
    assert_eq!(inventory.reserve("2", &lines(&[("A", 4), ("B", 1)])), short);
    assert_eq!(
        inventory.reserve("2", &lines(&[("A", 1), ("X", 1)])),
        Err(ReserveError::OutOfStock(vec![shortage("X", 1, 0)]))
    );
    assert!(matches!(
        inventory.reserve("3", &lines(&[("A", 1), ("A", 1)])),
        Err(ReserveError::Failed(Error::Internal(_)))
    ));
    assert_eq!(counter(&world, "A"), Some(3));
    world.audit(Audit::Exact);
}

#[test]
fn release_gives_back_once_and_bars_a_later_reservation() {
    let world = World::stocked(&[("A", 5)]);
    let inventory = world.inventory();
    inventory.reserve("1", &lines(&[("A", 2)])).unwrap();
    for _ in 0..2 {
        inventory.release("1").unwrap();
        assert_eq!(counter(&world, "A"), Some(5));
    }
    assert_eq!(inventory.reserve("1", &lines(&[("A", 2)])), Err(ReserveError::Closed));
    inventory.release("2").unwrap();
    assert_eq!(inventory.reserve("2", &lines(&[("A", 2)])), Err(ReserveError::Closed));
    world.audit(Audit::Exact);
}

#[test]
fn reserve_and_release_converge_after_a_failure_at_any_step() {
    let reserve = |world: &World| world.inventory().reserve("1", &lines(&[("A", 2), ("B", 1)])).map_err(|_| true);
    at_every_step(
        Audit::NeverTooHigh,
        || World::stocked(&[("A", 5), ("B", 1)]),
        reserve,
        |world| {
            assert_eq!((counter(world, "A"), counter(world, "B")), (Some(3), Some(0)));
            world.audit(Audit::Exact);
        },
    );
    let reserved = || {
        let world = World::stocked(&[("A", 5)]);
        world.inventory().reserve("1", &lines(&[("A", 2)])).unwrap();
        world
    };
    at_every_step(
        Audit::NeverTooHigh,
        reserved,
        |world| world.inventory().release("1").map_err(|_| true),
        |world| {
            assert_eq!(counter(world, "A"), Some(5));
        },
    );
}

#[test]
fn a_confirmed_order_is_applied_once_wherever_it_fails() {
    let consume = |world: &World| {
        world.inventory().consume("orders.confirmed.v1", &confirmed(ORDER, &[("A", 2), ("B", 1)])).map_err(|_| true)
    };
    let check = |world: &World| {
        world.audit(Audit::Exact);
        assert_eq!((available(world, "A"), available(world, "B")), (3, 0));
        assert_eq!(world.products.borrow()["A"].1, 3);
        assert_eq!(world.movements.borrow().iter().filter(|movement| movement.1 == "confirmed").count(), 2);
        assert!(matches!(
            world.inventory().reserve(&ORDER.to_string(), &lines(&[("A", 1)])),
            Err(ReserveError::Closed)
        ));
        world.inventory().release(&ORDER.to_string()).unwrap();
        assert_eq!(available(world, "A"), 3, "a confirmed order's stock is not touched");
    };
    let stocked = || World::stocked(&[("A", 5), ("B", 1)]);
    let reserved = || {
        let world = stocked();
        world.inventory().reserve(&ORDER.to_string(), &lines(&[("A", 2), ("B", 1)])).unwrap();
        world
    };
    at_every_step(Audit::NeverTooHigh, reserved, consume, check);
    // Redis knows nothing of it, with and without counters.
    at_every_step(Audit::NeverTooHigh, stocked, consume, check);
    let counted = || {
        let world = stocked();
        assert_eq!((available(&world, "A"), available(&world, "B")), (5, 1));
        world
    };
    at_every_step(Audit::Ignored, counted, consume, check);
    // Its reservation has lapsed before.
    let lapsed = || {
        let world = reserved();
        world.now.set(900_000);
        assert_eq!(world.inventory().tick("inventory-sweep"), Ok(1));
        assert_eq!(available(&world, "A"), 5);
        world
    };
    at_every_step(Audit::Ignored, lapsed, consume, check);
}

#[test]
fn an_order_that_cannot_be_honoured_is_rejected_once_wherever_it_fails() {
    let setup = || {
        let world = World::stocked(&[("A", 1), ("B", 9)]);
        assert_eq!(available(&world, "A"), 1);
        world
    };
    let consume = |world: &World| {
        world.inventory().consume("orders.confirmed.v1", &confirmed(ORDER, &[("A", 2), ("B", 1)])).map_err(|_| true)
    };
    at_every_step(Audit::NeverTooHigh, setup, consume, |world| {
        world.audit(Audit::Exact);
        let outbox = world.outbox.borrow();
        assert_eq!(outbox.len(), 1);
        assert_eq!(outbox[0].topic, "inventory.rejected.v1");
        let event: Value = serde_json::from_str(&outbox[0].payload).unwrap();
        assert_eq!(event["lines"], serde_json::json!([{"sku": "A", "requested": 2, "available": 1}]));
        assert_eq!((available(world, "A"), available(world, "B")), (1, 9));
    });
}

#[test]
fn a_failed_order_is_released() {
    let world = World::stocked(&[("A", 5)]);
    let inventory = world.inventory();
    inventory.reserve(&ORDER.to_string(), &lines(&[("A", 2)])).unwrap();
    for _ in 0..2 {
        assert_eq!(inventory.consume("orders.failed.v1", &failed(ORDER)), Ok(()));
        assert_eq!(counter(&world, "A"), Some(5));
    }
}

#[test]
fn poison_is_rejected_and_trouble_is_classed() {
    let world = World::stocked(&[("A", 5)]);
    let inventory = world.inventory();
    for payload in [
        b"{".to_vec(),
        failed(ORDER),
        confirmed(ORDER, &[]),
        confirmed(ORDER, &[("A", 0)]),
        confirmed(ORDER, &[("A", 1), ("A", 1)]),
        confirmed(ORDER, &[("A", 1), ("X", 1)]),
    ] {
        assert!(matches!(inventory.consume("orders.confirmed.v1", &payload), Err(Failure::Reject(_))));
    }
    assert!(matches!(inventory.consume("other", b""), Err(Failure::Reject(_))));
    assert!(world.inbox.borrow().is_empty());
    for (step, fail, down) in
        [(0, Fail::Before, true), (1, Fail::Before, true), (0, Fail::After, false), (1, Fail::After, false)]
    {
        let world = World::stocked(&[("A", 5)]);
        world.fuse.set(Some((step, fail)));
        let error = world.inventory().consume("orders.confirmed.v1", &confirmed(ORDER, &[("A", 1)])).unwrap_err();
        assert_eq!(matches!(error, Failure::DependencyDown(_)), down, "{error}");
        assert_eq!(matches!(error, Failure::Retry(_)), !down, "{error}");
    }
}

#[test]
fn the_sweep_gives_back_what_lapsed_and_keeps_what_was_applied() {
    let world = World::stocked(&[("A", 9)]);
    let inventory = world.inventory();
    inventory.reserve(&ORDER.to_string(), &lines(&[("A", 2)])).unwrap();
    inventory.reserve("2", &lines(&[("A", 3)])).unwrap();
    // Applied in PostgreSQL, but Redis was not told.
    world.fuse.set(Some((world.steps.get() + 1, Fail::Before)));
    inventory.consume("orders.confirmed.v1", &confirmed(ORDER, &[("A", 2)])).unwrap_err();
    world.fuse.set(None);
    assert_eq!(inventory.tick("inventory-sweep"), Ok(0));
    world.now.set(900_000);
    assert_eq!(inventory.reserve("2", &lines(&[("A", 3)])), Err(ReserveError::Closed), "lapsed, though not swept yet");
    assert_eq!(inventory.tick("inventory-sweep"), Ok(2));
    assert_eq!(inventory.tick("inventory-sweep"), Ok(0));
    assert_eq!(counter(&world, "A"), Some(7));
    world.audit(Audit::Exact);
    assert!(inventory.tick("other").is_err());
    assert_eq!(inventory.tick("inventory-retention"), Ok(5));
}

#[test]
fn a_lost_redis_is_worked_out_again_while_orders_flow() {
    let world = World::stocked(&[("A", 9)]);
    let inventory = world.inventory();
    inventory.reserve("1", &lines(&[("A", 2)])).unwrap();
    world.counters.borrow_mut().clear();
    assert_eq!(available(&world, "A"), 7, "open reservations that Redis still knows count");
    world.counters.borrow_mut().clear();
    world.reservations.borrow_mut().clear();
    inventory.reserve("2", &lines(&[("A", 9)])).unwrap();
    assert_eq!(counter(&world, "A"), Some(0));
}

#[test]
fn a_refill_starts_again_when_the_stock_changed_under_it() {
    let setup = || {
        let world = World::stocked(&[("A", 9)]);
        world.inventory().reserve("1", &lines(&[("A", 2)])).unwrap();
        world.inventory().reserve(&ORDER.to_string(), &lines(&[("A", 3)])).unwrap();
        world.counters.borrow_mut().clear();
        world
    };
    let meanwhile: [(Meanwhile, u64); 5] = [
        (|world| world.inventory().release("1").unwrap(), 6),
        (|world| drop(world.inventory().adjust("A", 5, Reason::Restock, None).unwrap()), 9),
        (|world| drop(world.inventory().adjust("A", -1, Reason::Correction, None).unwrap()), 3),
        (|world| world.inventory().consume("orders.confirmed.v1", &confirmed(ORDER, &[("A", 3)])).unwrap(), 4),
        (
            |world| {
                world.inventory().consume("orders.confirmed.v1", &confirmed(Uuid::from_u128(9), &[("A", 3)])).unwrap()
            },
            1,
        ),
    ];
    for (index, (act, expected)) in meanwhile.into_iter().enumerate() {
        let world = setup();
        world.meanwhile.set(Some(act));
        assert_eq!(available(&world, "A"), expected, "case {index}");
        world.audit(Audit::Exact);
    }
}

#[test]
fn adjustments_count_once_per_key_wherever_they_fail() {
    let key = |name: &str| Some(AdjustmentKey { user_id: Uuid::nil(), key: name.to_owned() });
    for (delta, reason, left) in [(5, Reason::Restock, 14), (-4, Reason::Correction, 5), (4, Reason::Correction, 13)] {
        let setup = || {
            let world = World::stocked(&[("A", 9)]);
            world.inventory().reserve("1", &lines(&[("A", 1)])).unwrap();
            world
        };
        let adjust = |world: &World| world.inventory().adjust("A", delta, reason, key("k")).map_err(|_| true);
        at_every_step(Audit::NeverTooHigh, setup, adjust, |world| {
            assert_eq!(world.products.borrow()["A"].1, left);
            world.audit(Audit::NeverTooHigh);
            // What a lost step left held lapses.
            world.now.set(900_000);
            while world.inventory().tick("inventory-sweep").unwrap() > 0 {}
            assert_eq!(available(world, "A"), u64::try_from(left).unwrap());
            world.audit(Audit::Exact);
        });
    }
    let world = World::stocked(&[("A", 9)]);
    let inventory = world.inventory();
    let first = inventory.adjust("A", 5, Reason::Restock, key("k")).unwrap();
    inventory.reserve("1", &lines(&[("A", 9)])).unwrap();
    let again = inventory.adjust("A", 5, Reason::Restock, key("k")).unwrap();
    assert_eq!((first.1, again.1), (false, true));
    assert_eq!((first.0.available_stock, &first.0), (14, &again.0));
    assert_eq!(inventory.adjust("A", 6, Reason::Restock, key("k")), Err(CatalogError::KeyReused));
    assert_eq!(inventory.adjust("B", 5, Reason::Restock, None), Err(CatalogError::NotFound));
    assert!(matches!(inventory.adjust("A", -5, Reason::Restock, None), Err(CatalogError::Failed(Error::Internal(_)))));
    world.audit(Audit::Exact);
}

#[test]
fn a_correction_never_takes_what_is_reserved() {
    let world = World::stocked(&[("A", 9)]);
    let inventory = world.inventory();
    inventory.reserve("1", &lines(&[("A", 4)])).unwrap();
    assert_eq!(inventory.adjust("A", -6, Reason::Correction, None), Err(CatalogError::StockBelowZero(5)));
    assert_eq!(inventory.adjust("A", -5, Reason::Correction, None).unwrap().0.available_stock, 0);
    assert_eq!((counter(&world, "A"), world.products.borrow()["A"].1), (Some(0), 4));
    world.audit(Audit::Exact);
}

#[test]
fn the_catalogue_pages_by_sku_and_a_change_is_seen_at_once() {
    let world = World::stocked(&[("A", 1), ("B", 2), ("C", 3)]);
    let inventory = world.inventory();
    let first = inventory.list(None, 2).unwrap();
    assert_eq!(
        first.items.iter().map(|offer| (offer.product.sku.as_str(), offer.available_stock)).collect::<Vec<_>>(),
        [("A", 1), ("B", 2)]
    );
    let rest = inventory.list(first.next_cursor.as_deref(), 2).unwrap();
    assert_eq!((rest.items.len(), rest.next_cursor), (1, None));
    for bad in ["!", "QQ==", "w4Q", ""] {
        assert_eq!(inventory.list(Some(bad), 2), Err(CatalogError::BadCursor), "{bad}");
    }
    inventory.quote(lines(&[("A", 1)]), "USD").unwrap();
    let (offer, created) = inventory.put("A", "New name", 5, "EUR").unwrap();
    assert_eq!((offer.product.unit_price, offer.available_stock, created), (5, 1, false));
    assert_eq!(inventory.get("A").unwrap(), offer);
    assert!(inventory.put("D", "D", 5, "EUR").unwrap().1);
    assert_eq!(inventory.get("E"), Err(CatalogError::NotFound));
}
