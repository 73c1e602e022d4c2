//! Goal: a create survives an end, a refusal or a lost answer at any of its steps, and any two of them. Method: every effect of a run has a
//! number; each is hit with each fault; then the buyer asks again with the same key, or nobody does and the sweep comes. Afterwards the
//! books are audited: charged once at most and if and only if confirmed, one event for each decided order, no stock lost.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod world;

use swiftcart_order::error::CreateError;
use swiftcart_order::model::*;
use swiftcart_order::ports::Stock as _;
use world::*;

/// More effects than any run has here.
const EFFECTS: u32 = 14;

fn audit(world: &World, label: &str) {
    world.faults.borrow_mut().clear();
    // The consumer of `orders.failed.v1`: gives back again.
    for event in world.outbox.borrow().iter().filter(|event| event.topic == "orders.failed.v1") {
        world.release(event.key.parse().unwrap()).unwrap();
    }
    let orders = world.orders.borrow();
    let outbox = world.outbox.borrow();
    let mut sold = 0;
    for (order_id, row) in orders.iter() {
        let order = &row.held.order;
        let charged = world.money_taken.borrow().get(order_id).copied().unwrap_or_default();
        assert!(charged <= 1, "{label}: charged {charged} times");
        assert_ne!(order.state, State::Pending, "{label}: still pending");
        assert_eq!(charged == 1, order.state == State::Confirmed, "{label}: {:?} but charged {charged}", order.state);
        let topics: Vec<_> =
            outbox.iter().filter(|event| event.key == order_id.to_string()).map(|event| event.topic).collect();
        let expected = if order.state == State::Confirmed { "orders.confirmed.v1" } else { "orders.failed.v1" };
        assert_eq!(topics, [expected], "{label}");
        assert_eq!(order.version, 2, "{label}");
        sold += if order.state == State::Confirmed { 2 } else { 0 };
    }
    assert_eq!(outbox.len(), orders.len(), "{label}: an event without its order");
    assert_eq!(world.stock.borrow()["A"] + sold, 10, "{label}: stock");
}

/// The buyer asks with the same key until there is an answer that is decided.
fn insist(world: &World, method: &str, label: &str) -> Option<Creation> {
    for _ in 0..40 {
        match world.survive(|world| world.create(Some("k"), method)) {
            None => world.pass(1),
            Some(Err(CreateError::KeyInFlight(seconds))) => world.pass(seconds.into()),
            Some(Err(CreateError::Unavailable(_))) => world.pass(1),
            Some(Ok(Creation { decision: Decision::Pending { .. }, .. })) => {
                world.pass(6);
                let _ = world.survive(|world| world.orders().tick("order-sweep"));
            }
            Some(Ok(creation)) => return Some(creation),
            // Down for good: the buyer gives up.
            Some(Err(CreateError::PaymentUnavailable(_))) => return None,
            Some(Err(error)) => panic!("{label}: {error}"),
        }
    }
    panic!("{label}: no answer")
}

/// Time passes and only the sweep works.
fn settle(world: &World, label: &str) {
    for _ in 0..60 {
        if world.orders.borrow().values().all(|row| row.held.order.state != State::Pending) {
            return;
        }
        world.pass(10);
        let _ = world.survive(|world| world.orders().tick("order-sweep"));
    }
    panic!("{label}: never settled")
}

const METHODS: [&str; 5] = ["ok", "declined", "down", "unknown-charged", "unknown-not"];

#[test]
fn every_step_may_fail_and_the_same_key_brings_it_to_an_end() {
    for method in METHODS {
        for step in 1..=EFFECTS {
            for fault in FAULTS {
                let label = format!("{method}, {fault:?} at {step}");
                let world = world();
                world.faults.borrow_mut().insert(step, fault);
                let answer = insist(&world, method, &label);
                settle(&world, &label);
                if method == "ok" || method == "unknown-charged" {
                    let confirmed =
                        world.orders.borrow().values().filter(|row| row.held.order.state == State::Confirmed).count();
                    // A charge that the link lost on its way is never made: the order fails, and its key tells so.
                    let lost =
                        matches!(fault, Fault::Refused | Fault::UncertainNot) && world.money_taken.borrow().is_empty();
                    assert_eq!(confirmed, usize::from(!lost), "{label}: {answer:?}");
                    assert!(!lost || step == 4, "{label}");
                    let again = insist(&world, method, &label).unwrap();
                    match answer {
                        Some(answer) => {
                            assert_eq!(again.decision, answer.decision, "{label}");
                            assert!(again.replayed, "{label}");
                        }
                        // Payment was not asked: the first order failed and freed its key, and the same request made another.
                        None => assert!(fault == Fault::Refused && lost && !again.replayed, "{label}"),
                    }
                }
                audit(&world, &label);
            }
        }
    }
}

#[test]
fn any_two_steps_may_fail() {
    for method in METHODS {
        for first in 1..=EFFECTS {
            for second in first + 1..=EFFECTS + 6 {
                for one in FAULTS {
                    for two in FAULTS {
                        let label = format!("{method}, {one:?} at {first}, {two:?} at {second}");
                        let world = world();
                        world.faults.borrow_mut().extend([(first, one), (second, two)]);
                        insist(&world, method, &label);
                        settle(&world, &label);
                        audit(&world, &label);
                    }
                }
            }
        }
    }
}

#[test]
fn every_step_may_fail_and_the_sweep_alone_brings_it_to_an_end() {
    for key in [None, Some("k")] {
        for method in METHODS {
            for first in 1..=EFFECTS {
                for second in first + 1..=EFFECTS + 4 {
                    for one in FAULTS {
                        for two in FAULTS {
                            let label = format!("{key:?} {method}, {one:?} at {first}, {two:?} at {second}");
                            let world = world();
                            world.faults.borrow_mut().extend([(first, one), (second, two)]);
                            let answer = world.survive(|world| world.create(key, method));
                            settle(&world, &label);
                            // What was told is what is: 201 and 202 name an order that exists, 201 one that is confirmed.
                            if let Some(Ok(creation)) = answer {
                                let told = match creation.decision {
                                    Decision::Confirmed { order } => Some((order.id, true)),
                                    Decision::Pending { order } => Some((order.id, false)),
                                    _ => None,
                                };
                                if let Some((order_id, confirmed)) = told {
                                    let state = world.orders.borrow()[&order_id].held.order.state;
                                    assert!(!confirmed || state == State::Confirmed, "{label}");
                                }
                            }
                            audit(&world, &label);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn buyers_who_insist_while_the_sweep_runs_are_charged_once() {
    for method in METHODS {
        for step in 1..=EFFECTS {
            for fault in FAULTS {
                let label = format!("{method}, {fault:?} at {step}, sweep between");
                let world = world();
                world.faults.borrow_mut().insert(step, fault);
                let _ = world.survive(|world| world.create(Some("k"), method));
                for _ in 0..30 {
                    world.pass(7);
                    let _ = world.survive(|world| world.orders().tick("order-sweep"));
                    let _ = world.survive(|world| world.create(Some("k"), method));
                }
                settle(&world, &label);
                let taken: u32 = world.money_taken.borrow().values().sum();
                assert!(taken <= 1, "{label}");
                audit(&world, &label);
            }
        }
    }
}
