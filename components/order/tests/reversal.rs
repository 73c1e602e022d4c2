//! Goal: each outcome of a cancellation and of the events about a confirmed order, told again and in any order. Method: the use cases over a
//! world in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod world;

use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{self, OrderCancelled, OrderFailed, PaymentStatus};
use swiftcart_order::error::CancelError;
use swiftcart_order::model::{Caller, Decision, Order, Refund, RefundState, State};
use uuid::Uuid;
use world::*;

const REJECTED: &str = "inventory.rejected.v1";
const REFUNDED: &str = "payments.refunded.v1";
const REFUND_FAILED: &str = "payments.refund-failed.v1";

fn confirmed() -> World {
    let world = world();
    world.create(Some("k"), "ok").unwrap();
    world.pass(10);
    world
}

fn refund(state: RefundState) -> Option<Refund> {
    Some(Refund { state, amount: 300 })
}

#[test]
fn a_confirmed_order_is_cancelled_once() {
    let world = confirmed();
    let before = world.only_order();
    let cancelled = world.cancel().unwrap();
    let expected =
        Order { state: State::Cancelled, version: 3, refund: refund(RefundState::Pending), ..before.clone() };
    assert_eq!(cancelled, expected);
    assert_eq!(world.only_order(), expected);
    assert_eq!(world.topics(), ["orders.confirmed.v1", "orders.cancelled.v1"]);
    {
        let outbox = world.outbox.borrow();
        let event: OrderCancelled = event::decode(outbox[1].payload.as_bytes()).unwrap();
        assert_eq!((event.order.order_id, event.order.total_amount, event.order.items.len()), (before.id, 300, 2));
        let payment = event.payment.unwrap();
        assert_eq!((payment.payment_id.as_str(), payment.status), ("pi_1", PaymentStatus::Succeeded));
        assert_eq!(outbox[1].key, before.id.to_string());
        assert_eq!(outbox[1].headers["swiftcart-decided-by"], "request");
        assert_eq!(outbox[1].headers["swiftcart-sealed-email"], outbox[0].headers["swiftcart-sealed-email"]);
        assert_ne!(outbox[1].headers["traceparent"], outbox[0].headers["traceparent"], "the trace of the cancellation");
    }
    assert_eq!(world.cancel(), Ok(expected), "again");
    assert_eq!(world.outbox.borrow().len(), 2);
    // A replay of the create tells what it told before.
    let replay = world.create(Some("k"), "ok").unwrap();
    assert!(replay.replayed && replay.decision == Decision::Confirmed { order: before });
}

#[test]
fn only_its_owner_can_cancel_an_order_and_only_when_it_is_confirmed() {
    let world = confirmed();
    let id = world.only_order().id.to_string();
    let stranger = Caller { user_id: Uuid::from_u128(8), email: None };
    assert_eq!(world.orders().cancel(&stranger, &id), Err(CancelError::NotFound));
    for none in ["", "x", "67e55044-10b1-426f-9247-bb680e5fe0c8"] {
        assert_eq!(world.orders().cancel(&caller(), none), Err(CancelError::NotFound));
    }
    assert_eq!(world.only_order().state, State::Confirmed);

    let failed = world::world();
    failed.create(None, "declined").unwrap();
    assert_eq!(failed.cancel(), Err(CancelError::OrderFailed(Box::new(failed.only_order()))));
    assert_eq!(failed.topics(), ["orders.failed.v1"]);

    let pending = world::world();
    pending.create(None, "unknown-charged").unwrap();
    assert_eq!(pending.cancel(), Err(CancelError::NotSettled(5)));
    while pending.only_order().state == State::Pending {
        pending.pass(6);
        pending.orders().tick("order-sweep").unwrap();
    }
    assert_eq!(pending.cancel().unwrap().state, State::Cancelled);
}

#[test]
fn what_inventory_rejects_fails_and_is_owed_its_money() {
    let world = confirmed();
    let before = world.only_order();
    for _ in 0..2 {
        assert_eq!(world.orders().consume(REJECTED, &world.rejection()), Ok(()));
    }
    let after = world.only_order();
    assert_eq!((after.state, after.version, after.refund.clone()), (State::Failed, 3, refund(RefundState::Pending)));
    assert_eq!(after.failure.clone().unwrap().code, "out_of_stock_after_payment");
    assert_eq!(world.topics(), ["orders.confirmed.v1", "orders.failed.v1"]);
    {
        let outbox = world.outbox.borrow();
        let event: OrderFailed = event::decode(outbox[1].payload.as_bytes()).unwrap();
        assert_eq!(event.failure.code, "out_of_stock_after_payment");
        assert_eq!(event.payment.unwrap().status, PaymentStatus::Succeeded);
        assert_eq!(outbox[1].headers["swiftcart-decided-by"], "saga");
        assert!(outbox[1].headers.contains_key("swiftcart-sealed-email"));
    }
    assert_eq!(world.inbox.borrow().len(), 1);
    assert_eq!(world.cancel(), Err(CancelError::OrderFailed(Box::new(after))));
    let replay = world.create(Some("k"), "ok").unwrap();
    assert!(replay.replayed && replay.decision == Decision::Confirmed { order: before });
}

#[test]
fn a_rejection_of_what_is_not_confirmed_changes_nothing() {
    let world = confirmed();
    world.cancel().unwrap();
    assert_eq!(world.orders().consume(REJECTED, &world.rejection()), Ok(()));
    assert_eq!((world.only_order().state, world.inbox.borrow().len()), (State::Cancelled, 1));
    let pending = world::world();
    pending.create(None, "unknown-charged").unwrap();
    assert!(matches!(pending.orders().consume(REJECTED, &pending.rejection()), Err(Failure::Retry(_))));
    assert_eq!((pending.only_order().version, pending.inbox.borrow().len()), (1, 0));
}

#[test]
fn a_refund_is_shown_once() {
    for saga in [false, true] {
        let world = confirmed();
        let told = world.refund_told();
        assert!(matches!(world.orders().consume(REFUNDED, &told), Err(Failure::Retry(_))), "nobody asked for it yet");
        if saga {
            world.orders().consume(REJECTED, &world.rejection()).unwrap();
        } else {
            world.cancel().unwrap();
        }
        for _ in 0..3 {
            assert_eq!(world.orders().consume(REFUNDED, &told), Ok(()));
        }
        let order = world.only_order();
        assert_eq!((order.version, order.refund.clone()), (4, refund(RefundState::Succeeded)));
        assert_eq!(world.orders.borrow()[&order.id].held.refund_id.as_deref(), Some("re_1"));
        assert_eq!(world.inbox.borrow().len(), if saga { 2 } else { 1 });
        assert_eq!(world.outbox.borrow().len(), 2);
        if !saga {
            assert_eq!(world.cancel(), Ok(order), "cancelled again, it is told as it is now");
        }
    }
}

/// Goal: the buyer sees how it stands, whichever topic is read first. Method: the events of refunds in every order in which they can be heard.
#[test]
fn a_refund_that_failed_is_shown_until_another_succeeds() {
    use RefundState::{Failed, Succeeded};
    // Refused before the PSP made any refund; then by hand.
    let (none, first) = (None, Some("re_1"));
    // Each story: what is heard (a failure of this refund, or the success of `re_1`), and what is shown after it.
    let failed = |refund_id: Option<&'static str>| Heard::Failure(refund_id);
    for (story, version) in [
        (vec![(failed(none), Failed), (failed(none), Failed), (Heard::Success, Succeeded)], 5),
        // The same, heard the other way round.
        (vec![(Heard::Success, Succeeded), (failed(none), Succeeded)], 4),
        // It came back.
        (vec![(Heard::Success, Succeeded), (failed(first), Failed), (Heard::Success, Failed)], 5),
        // It came back, and that was heard first.
        (vec![(failed(first), Failed), (Heard::Success, Failed)], 4),
        // Another one had failed before this one succeeded.
        (vec![(Heard::Success, Succeeded), (failed(Some("re_0")), Succeeded)], 4),
        (vec![(failed(Some("re_0")), Failed), (Heard::Success, Succeeded)], 5),
    ] {
        let world = confirmed();
        world.cancel().unwrap();
        for (heard, shown) in &story {
            let (topic, told) = match heard {
                Heard::Success => (REFUNDED, world.refund_told()),
                Heard::Failure(refund_id) => (REFUND_FAILED, world.refund_failure_told(*refund_id)),
            };
            assert_eq!(world.orders().consume(topic, &told), Ok(()));
            assert_eq!(world.only_order().refund, refund(*shown), "{story:?}");
        }
        assert_eq!(world.only_order().version, version, "{story:?}");
    }
    let world = confirmed();
    let told = world.refund_failure_told(None);
    assert!(matches!(world.orders().consume(REFUND_FAILED, &told), Err(Failure::Retry(_))), "not owed yet");
}

/// What is heard of a refund.
#[derive(Clone, Copy, Debug)]
enum Heard {
    Success,
    Failure(Option<&'static str>),
}

#[test]
fn poison_is_rejected_and_a_database_that_is_away_is_nobodys_fault() {
    let world = confirmed();
    world.cancel().unwrap();
    let (rejection, told) = (world.rejection(), world.refund_told());
    let consume = |topic: &str, payload: &[u8]| world.orders().consume(topic, payload);
    let rejected = |answer: Result<(), Failure>| matches!(answer, Err(Failure::Reject(_)));
    let text = String::from_utf8(told.clone()).unwrap();
    assert!(rejected(consume(REJECTED, b"{")));
    assert!(rejected(consume(REJECTED, &told)));
    assert!(rejected(consume(REFUNDED, &rejection)));
    assert!(rejected(consume("orders.confirmed.v1", &told)));
    assert!(rejected(consume(REFUNDED, text.replace("\"USD\"", "\"EUR\"").as_bytes())));
    assert!(rejected(consume(REFUNDED, text.replace("300", "0").as_bytes())));
    let id = world.only_order().id.to_string();
    let unknown = text.replace(&id, "67e55044-10b1-426f-9247-bb680e5fe0c8");
    assert!(rejected(consume(REFUNDED, unknown.as_bytes())));
    assert!(world.inbox.borrow().is_empty());
    for step in 1..=2 {
        world.faults.borrow_mut().insert(world.effects.get() + step, Fault::Refused);
        assert!(matches!(consume(REFUNDED, &told), Err(Failure::DependencyDown(_))), "step {step}");
        world.faults.borrow_mut().clear();
    }
    assert_eq!(consume(REFUNDED, &told), Ok(()));
}

#[test]
fn who_comes_second_does_nothing() {
    // The saga is faster than the buyer.
    let world = confirmed();
    *world.before_reverse.borrow_mut() =
        Some(Box::new(|world| world.orders().consume(REJECTED, &world.rejection()).unwrap()));
    assert!(matches!(world.cancel(), Err(CancelError::OrderFailed(order)) if order.version == 3));
    assert_eq!(world.topics(), ["orders.confirmed.v1", "orders.failed.v1"]);
    // The buyer is faster than the saga.
    let world = confirmed();
    *world.before_reverse.borrow_mut() = Some(Box::new(|world| drop(world.cancel().unwrap())));
    assert_eq!(world.orders().consume(REJECTED, &world.rejection()), Ok(()));
    assert_eq!(world.topics(), ["orders.confirmed.v1", "orders.cancelled.v1"]);
    assert_eq!(world.inbox.borrow().len(), 1);
    // The buyer is faster than the buyer.
    let world = confirmed();
    *world.before_reverse.borrow_mut() = Some(Box::new(|world| drop(world.cancel().unwrap())));
    assert_eq!(world.cancel(), Ok(world.only_order()));
    assert_eq!(world.topics(), ["orders.confirmed.v1", "orders.cancelled.v1"]);
}

#[test]
fn a_cancellation_that_nobody_can_know_of_is_never_told_as_undone() {
    for (fault, expected) in [
        (Fault::Refused, CancelError::Unavailable("down".into())),
        (Fault::UncertainNot, CancelError::Uncertain("lost".into())),
        (Fault::UncertainDone, CancelError::Uncertain("lost".into())),
    ] {
        let world = confirmed();
        let write = world.effects.get() + 2;
        // The write, and whatever comes after it.
        world.faults.borrow_mut().insert(write, fault);
        world.faults.borrow_mut().extend((write + 1..write + 9).map(|step| (step, Fault::Refused)));
        assert_eq!(
            world.cancel(),
            Err(if fault == Fault::Refused { CancelError::Unavailable("down".into()) } else { expected })
        );
        world.faults.borrow_mut().clear();
        assert_eq!(world.cancel().unwrap().state, State::Cancelled);
        assert_eq!(world.outbox.borrow().len(), 2, "{fault:?}");
    }
}
