//! Goal: an order's end is final whatever comes first, and its stock comes back exactly once. Method: the events of one order in every order and twice,
//! every step made to fail in turn.

use swiftcart_domain::event::{OrderCancelled, OrderFailed, OrderFailure};
use uuid::Uuid;

use super::{ORDER, at_every_step, available, confirmed, counter, lines, order};
use crate::fake::{Audit, World};

const CONFIRMED: &str = "orders.confirmed.v1";

fn cancelled(order_id: Uuid) -> Vec<u8> {
    serde_json::to_vec(&OrderCancelled::new(0, order(order_id, &[("A", 2), ("B", 1)]), None)).unwrap()
}

fn failed_after_payment(order_id: Uuid) -> Vec<u8> {
    let failure = OrderFailure { code: "out_of_stock_after_payment".to_owned() };
    serde_json::to_vec(&OrderFailed::new(0, order(order_id, &[("A", 2), ("B", 1)]), None, failure)).unwrap()
}

fn confirm(world: &World) {
    world.inventory().consume(CONFIRMED, &confirmed(ORDER, &[("A", 2), ("B", 1)])).unwrap();
}

fn reserved() -> World {
    let world = World::stocked(&[("A", 5), ("B", 1)]);
    world.inventory().reserve(&ORDER.to_string(), &lines(&[("A", 2), ("B", 1)])).unwrap();
    world
}

fn applied() -> World {
    let world = reserved();
    confirm(&world);
    world
}

fn kinds(world: &World) -> Vec<String> {
    let of_order = ORDER.to_string();
    world.movements.borrow().iter().filter(|row| row.3 == of_order).map(|row| row.1.clone()).collect()
}

fn as_before(world: &World) {
    world.audit(Audit::Exact);
    assert_eq!((available(world, "A"), available(world, "B")), (5, 1));
    assert_eq!((world.products.borrow()["A"].1, world.products.borrow()["B"].1), (5, 1));
}

#[test]
fn a_cancelled_orders_stock_comes_back_once_wherever_it_fails() {
    for (topic, event) in [("orders.cancelled.v1", cancelled(ORDER)), ("orders.failed.v1", failed_after_payment(ORDER))]
    {
        let consume = |world: &World| world.inventory().consume(topic, &event).map_err(|_| true);
        at_every_step(Audit::NeverTooHigh, applied, consume, |world| {
            as_before(world);
            assert_eq!(kinds(world), ["confirmed", "confirmed", "return", "return"]);
        });
        // Redis has lost the counters and the reservation.
        let forgotten = || {
            let world = applied();
            world.counters.borrow_mut().clear();
            world.reservations.borrow_mut().clear();
            world
        };
        at_every_step(Audit::NeverTooHigh, forgotten, consume, as_before);
    }
}

#[test]
fn an_end_that_is_heard_first_bars_the_confirmation() {
    for (topic, event) in [("orders.cancelled.v1", cancelled(ORDER)), ("orders.failed.v1", failed_after_payment(ORDER))]
    {
        let consume = |world: &World| world.inventory().consume(topic, &event).map_err(|_| true);
        at_every_step(Audit::NeverTooHigh, reserved, consume, |world| {
            as_before(world);
            confirm(world);
            confirm(world);
            as_before(world);
            assert!(kinds(world).is_empty());
            assert!(world.outbox.borrow().is_empty(), "nothing is rejected that was taken back");
        });
    }
}

#[test]
fn the_confirmation_that_died_half_way_does_not_take_again_what_was_put_back() {
    // Applied in PostgreSQL, and Redis was not told; then the order is cancelled, and the confirmation is delivered again. All ways to interleave.
    for late_first in [false, true] {
        let world = reserved();
        world.fuse.set(Some((world.steps.get() + 1, crate::fake::Fail::Before)));
        let event = confirmed(ORDER, &[("A", 2), ("B", 1)]);
        world.inventory().consume(CONFIRMED, &event).unwrap_err();
        if late_first {
            // The end is written, but Redis does not hear of it until it is delivered again; the counter is worked out meanwhile.
            world.fuse.set(Some((world.steps.get() + 1, crate::fake::Fail::Before)));
            world.inventory().consume("orders.cancelled.v1", &cancelled(ORDER)).unwrap_err();
            world.counters.borrow_mut().clear();
            assert_eq!(available(&world, "A"), 5);
            confirm(&world);
            world.audit(Audit::Exact);
        }
        world.inventory().consume("orders.cancelled.v1", &cancelled(ORDER)).unwrap();
        confirm(&world);
        as_before(&world);
        world.now.set(900_000);
        while world.inventory().tick("inventory-sweep").unwrap() > 0 {}
        as_before(&world);
    }
}

#[test]
fn a_rejected_order_stays_rejected_and_nothing_comes_back_for_it() {
    let world = World::stocked(&[("A", 1), ("B", 1)]);
    confirm(&world);
    assert_eq!(world.outbox.borrow().len(), 1);
    // Stock comes in, and everything is delivered again.
    world.inventory().adjust("A", 9, crate::model::Reason::Restock, None).unwrap();
    confirm(&world);
    world.inventory().consume("orders.failed.v1", &failed_after_payment(ORDER)).unwrap();
    world.inventory().consume("orders.cancelled.v1", &cancelled(ORDER)).unwrap();
    confirm(&world);
    assert_eq!((kinds(&world).len(), world.outbox.borrow().len()), (0, 1));
    assert_eq!((available(&world, "A"), available(&world, "B")), (10, 1));
    assert_eq!(world.ended.borrow().get(&ORDER.to_string()), Some(&"rejected"));
    world.audit(Audit::Exact);
}

#[test]
fn an_order_that_failed_before_it_was_confirmed_costs_no_query() {
    let world = reserved();
    let before = world.steps.get();
    world.inventory().consume("orders.failed.v1", &super::failed(ORDER)).unwrap();
    assert_eq!(world.steps.get() - before, 1);
    assert_eq!((counter(&world, "A"), world.inbox.borrow().len()), (Some(5), 0));
}

#[test]
fn other_orders_reservations_stand_while_one_comes_back() {
    let world = applied();
    world.inventory().reserve("7", &lines(&[("A", 3)])).unwrap();
    assert_eq!(counter(&world, "A"), Some(0));
    world.inventory().consume("orders.cancelled.v1", &cancelled(ORDER)).unwrap();
    assert_eq!(available(&world, "A"), 2);
    world.audit(Audit::Exact);
}
