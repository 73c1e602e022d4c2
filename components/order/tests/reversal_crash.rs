//! Goal: a confirmed order is taken back once, whatever ends, is refused or loses its answer on the way, and any two of these. Method: as in
//! `crash.rs`; the buyer cancels until there is an answer, messages are delivered until they are handled, and the order is audited.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod world;

use swiftcart_capabilities::kafka::Failure;
use swiftcart_order::error::CancelError;
use swiftcart_order::model::{RefundState, State};
use world::*;

/// More effects than any of these runs has.
const EFFECTS: u32 = 9;

/// What happens to a confirmed order, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Cancel,
    Reject,
}

fn cancel(world: &World, label: &str) -> State {
    for _ in 0..20 {
        match world.survive(World::cancel) {
            Some(Ok(order)) => {
                assert_eq!(order, world.only_order(), "{label}: what is told is what is");
                return order.state;
            }
            Some(Err(CancelError::OrderFailed(order))) => return order.state,
            // Nothing was done: then the order is as it was. After `Uncertain` it may be either.
            Some(Err(CancelError::Unavailable(_) | CancelError::Uncertain(_))) | None => world.pass(1),
            Some(Err(error)) => panic!("{label}: {error}"),
        }
    }
    panic!("{label}: never answered")
}

fn deliver(world: &World, topic: &str, payload: &[u8], label: &str) {
    for _ in 0..20 {
        match world.survive(|world| world.orders().consume(topic, payload)) {
            Some(Ok(())) => return,
            Some(Err(Failure::Retry(_) | Failure::DependencyDown(_))) | None => world.pass(1),
            Some(Err(error)) => panic!("{label}: {error}"),
        }
    }
    panic!("{label}: never handled")
}

fn run(steps: &[Step], faults: &[(u32, Fault)], label: &str) {
    let world = world();
    world.create(Some("k"), "ok").unwrap();
    let before = world.effects.get();
    world.faults.borrow_mut().extend(faults.iter().map(|(step, fault)| (before + step, *fault)));
    for step in steps {
        match step {
            Step::Cancel => drop(cancel(&world, label)),
            Step::Reject => deliver(&world, "inventory.rejected.v1", &world.rejection(), label),
        }
    }
    deliver(&world, "payments.refunded.v1", &world.refund_told(), label);
    world.faults.borrow_mut().clear();
    // Once more, all of it.
    deliver(&world, "inventory.rejected.v1", &world.rejection(), label);
    deliver(&world, "payments.refunded.v1", &world.refund_told(), label);
    let order = world.only_order();
    let (state, topic) = match steps[0] {
        Step::Cancel => (State::Cancelled, "orders.cancelled.v1"),
        Step::Reject => (State::Failed, "orders.failed.v1"),
    };
    assert_eq!(order.state, state, "{label}");
    assert_eq!(world.topics(), ["orders.confirmed.v1", topic], "{label}: one event of each change");
    assert_eq!(order.version, 4, "{label}: taken back once, refunded once");
    assert_eq!(order.refund.unwrap().state, RefundState::Succeeded, "{label}");
    assert_eq!(world.inbox.borrow().len(), 2, "{label}");
    assert_eq!(cancel(&world, label), state, "{label}");
}

#[test]
fn any_two_effects_may_fail() {
    for steps in [&[Step::Cancel][..], &[Step::Reject], &[Step::Cancel, Step::Reject], &[Step::Reject, Step::Cancel]] {
        for first in 1..=EFFECTS {
            for second in first + 1..=EFFECTS + 4 {
                for one in FAULTS {
                    for two in FAULTS {
                        let label = format!("{steps:?}, {one:?} at {first}, {two:?} at {second}");
                        run(steps, &[(first, one), (second, two)], &label);
                    }
                }
            }
        }
    }
}

#[test]
fn a_refusal_leaves_the_order_as_it_was() {
    for fault in [Fault::DieBefore, Fault::Refused] {
        for effect in 1..=2 {
            let world = world();
            world.create(Some("k"), "ok").unwrap();
            world.faults.borrow_mut().insert(world.effects.get() + effect, fault);
            let answer = world.survive(World::cancel);
            assert!(matches!(answer, None | Some(Err(CancelError::Unavailable(_)))), "{answer:?}");
            assert_eq!((world.only_order().state, world.only_order().version), (State::Confirmed, 2));
            assert_eq!(world.topics(), ["orders.confirmed.v1"]);
        }
    }
}
