//! Goal: each outcome of a create, its replay, and what the sweep makes of what is left. Method: the use cases over a world in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, reason = "tests")]

mod world;

use swiftcart_domain::event::{self, OrderConfirmed, OrderFailed};
use swiftcart_order::error::{CreateError, QueryError, TickError};
use swiftcart_order::model::*;
use swiftcart_order::ports::{Level, Stock as _};
use uuid::Uuid;
use world::*;

fn order_of(creation: &Creation) -> &Order {
    match &creation.decision {
        Decision::Confirmed { order }
        | Decision::Declined { order, .. }
        | Decision::OutOfStock { order, .. }
        | Decision::Failed { order }
        | Decision::Pending { order } => order,
    }
}

#[test]
fn confirmed_and_replayed() {
    let world = world();
    let first = world.create(Some("k"), "ok").unwrap();
    assert!(
        matches!(&first.decision, Decision::Confirmed { order } if order.state == State::Confirmed && order.version == 2)
    );
    assert!(!first.replayed);
    assert_eq!(order_of(&first).total_amount, 300);
    assert_eq!(world.topics(), ["orders.confirmed.v1"]);
    world.pass(100);
    for _ in 0..2 {
        let again = world.create(Some("k"), "ok").unwrap();
        assert!(again.replayed);
        assert_eq!((&again.decision, &again.trace_id), (&first.decision, &first.trace_id));
    }
    assert_eq!(world.orders.borrow().len(), 1);
    assert_eq!(world.money_taken.borrow().values().sum::<u32>(), 1);
}

#[test]
fn the_event_has_the_order_and_the_sealed_address() {
    let world = world();
    let created = world.create(Some("k"), "ok").unwrap();
    let outbox = world.outbox.borrow();
    let event: OrderConfirmed = event::decode(outbox[0].payload.as_bytes()).unwrap();
    assert_eq!(event.order.order_id, order_of(&created).id);
    assert_eq!(event.order.user_id, USER);
    assert_eq!(event.payment.payment_id, "pi_1");
    assert_eq!(outbox[0].headers["swiftcart-decided-by"], "request");
    assert!(outbox[0].headers["traceparent"].contains(&created.trace_id));
    let everything = format!("{:?} {:?} {:?}", world.orders.borrow(), world.keys.borrow(), outbox);
    assert!(!everything.contains("buyer@"), "the address is nowhere in clear");
    assert!(outbox[0].headers.contains_key("swiftcart-sealed-email"));
}

#[test]
fn declined_and_short_give_the_stock_back() {
    let world = world();
    let declined = world.create(Some("k1"), "declined").unwrap();
    assert!(matches!(&declined.decision, Decision::Declined { decline, .. } if decline.code == "card_declined"));
    assert_eq!(order_of(&declined).failure.as_ref().unwrap().code, "payment_declined");
    assert_eq!(world.stock.borrow()["A"], 10);
    world.stock.borrow_mut().insert("B".into(), 0);
    let short = world.create(Some("k2"), "ok").unwrap();
    assert!(
        matches!(&short.decision, Decision::OutOfStock { shortages, .. } if shortages[0].sku == "B" && shortages.len() == 1)
    );
    assert_eq!(world.stock.borrow()["A"], 10);
    assert!(world.charges.borrow().len() == 1, "what is short is not charged");
    assert_eq!(world.topics(), ["orders.failed.v1", "orders.failed.v1"]);
    let events = world.outbox.borrow();
    let failed: OrderFailed = event::decode(events[0].payload.as_bytes()).unwrap();
    assert_eq!((failed.failure.code.as_str(), failed.payment.is_some()), ("payment_declined", true));
    let failed: OrderFailed = event::decode(events[1].payload.as_bytes()).unwrap();
    assert_eq!((failed.failure.code.as_str(), failed.payment.is_some()), ("out_of_stock", false));
    drop(events);
    for key in ["k1", "k2"] {
        let method = if key == "k1" { "declined" } else { "ok" };
        assert!(world.create(Some(key), method).unwrap().replayed);
    }
}

#[test]
fn payment_unavailable_frees_the_key() {
    let world = world();
    let Err(CreateError::PaymentUnavailable(Some(first))) = world.create(Some("k"), "down") else {
        panic!("expected payment-unavailable")
    };
    assert_eq!(world.only_order().failure.unwrap().code, "payment_unavailable");
    assert!(world.keys.borrow().is_empty());
    assert_eq!(world.topics(), ["orders.failed.v1"]);
    let Err(CreateError::PaymentUnavailable(Some(second))) = world.create(Some("k"), "down") else {
        panic!("expected payment-unavailable")
    };
    assert_ne!(first, second);
}

/// Goal: a link that does not call payment (an open breaker) means "nothing charged" only to the run that is the first; to a later one, and to the
/// sweep, it means nothing, for an earlier run may have charged. Method: refuse the charge of a first run; let a run die after its charge, then
/// refuse its successor's charge and the sweep's question.
#[test]
fn a_link_that_refuses_decides_only_the_first_run() {
    let world = world();
    world.faults.borrow_mut().insert(4, Fault::Refused);
    let Err(CreateError::PaymentUnavailable(Some(first))) = world.create(Some("k"), "ok") else {
        panic!("expected payment-unavailable")
    };
    assert!(world.money_taken.borrow().is_empty() && world.keys.borrow().is_empty());
    assert_eq!((world.only_order().id, world.only_order().state), (first, State::Failed));

    let world = self::world();
    world.faults.borrow_mut().insert(4, Fault::DieAfter);
    assert!(world.survive(|world| world.create(Some("k"), "ok")).is_none());
    world.pass(31);
    world.refuse_payments.set(true);
    let resumed = world.create(Some("k"), "ok").unwrap();
    assert!(matches!(resumed.decision, Decision::Pending { .. }), "{resumed:?}");
    world.pass(6);
    world.orders().tick("order-sweep").unwrap();
    assert_eq!(world.only_order().state, State::Pending, "the sweep was told nothing either");
    world.refuse_payments.set(false);
    world.pass(60);
    world.orders().tick("order-sweep").unwrap();
    assert_eq!(world.only_order().state, State::Confirmed);
    assert_eq!(world.money_taken.borrow().values().sum::<u32>(), 1);
}

/// Goal: while the link to payment refuses, a new order does not even begin, and what a key has led to is told all the same. Method: a decided order
/// under one key, then a refusing link: its answer again, another request under it, another key, no key; then the link is well.
#[test]
fn while_payment_refuses_nothing_begins() {
    let world = world();
    let first = world.create(Some("decided"), "ok").unwrap();
    world.refuse_payments.set(true);
    let again = world.create(Some("decided"), "ok").unwrap();
    assert_eq!((again.replayed, &again.decision), (true, &first.decision));
    assert_eq!(world.create(Some("decided"), "declined"), Err(CreateError::KeyReused));
    for key in [Some("new"), None] {
        assert_eq!(world.create(key, "ok"), Err(CreateError::PaymentUnavailable(None)));
    }
    assert_eq!((world.orders.borrow().len(), world.keys.borrow().len(), world.topics().len()), (1, 1, 1));
    world.refuse_payments.set(false);
    let second = world.create(Some("new"), "ok").unwrap();
    assert!(matches!(&second.decision, Decision::Confirmed { .. }) && !second.replayed, "{second:?}");
}

#[test]
fn what_is_refused_before_a_row_leaves_nothing() {
    let world = world();
    let unknown = Request { lines: vec![("X".into(), 1)], ..request("ok") };
    assert_eq!(world.orders().create(&caller(), Some("k"), &unknown), Err(CreateError::UnknownSku(vec!["X".into()])));
    assert!(world.orders.borrow().is_empty() && world.keys.borrow().is_empty());
    world.seal_key_missing.set(true);
    let Err(CreateError::Internal(text)) = world.create(Some("k"), "ok") else { panic!("expected internal") };
    assert!(text.contains("mail_seal_public_key"), "{text}");
    let nobody = Caller { email: None, ..caller() };
    assert!(world.orders().create(&nobody, Some("k"), &request("ok")).is_ok());
}

#[test]
fn another_request_with_the_key_is_refused_also_while_the_first_runs() {
    let world = world();
    world.create(Some("k"), "ok").unwrap();
    assert_eq!(world.create(Some("k"), "declined"), Err(CreateError::KeyReused));
    // A product that is gone since then does not hide it.
    let other = Request { lines: vec![("X".into(), 1)], ..request("ok") };
    assert_eq!(world.orders().create(&caller(), Some("k"), &other), Err(CreateError::KeyReused));
    world.stock.borrow_mut().remove("A");
    assert!(world.create(Some("k"), "ok").unwrap().replayed, "a replay needs no price");
    let someone = Caller { user_id: Uuid::from_u128(8), email: None };
    assert!(
        matches!(world.orders().create(&someone, Some("k"), &request("ok")), Err(CreateError::UnknownSku(_))),
        "scope is the user"
    );
}

#[test]
fn while_the_first_runs_the_second_waits() {
    let world = world();
    *world.during_reserve.borrow_mut() = Some(Box::new(|world| {
        world.pass(3);
        assert_eq!(world.create(Some("k"), "ok"), Err(CreateError::KeyInFlight(27)));
        assert_eq!(world.create(Some("k"), "declined"), Err(CreateError::KeyReused));
    }));
    assert!(matches!(world.create(Some("k"), "ok").unwrap().decision, Decision::Confirmed { .. }));
    assert_eq!(world.orders.borrow().len(), 1);
}

#[test]
fn an_old_key_is_free() {
    let world = world();
    let first = world.create(Some("k"), "ok").unwrap();
    world.pass(24 * 3600 + 1);
    let second = world.create(Some("k"), "ok").unwrap();
    assert!(!second.replayed);
    assert_ne!(order_of(&first).id, order_of(&second).id);
    world.pass(24 * 3600 + 1);
    assert_eq!(world.orders().tick("order-retention").unwrap(), 1);
}

#[test]
fn pending_is_told_until_it_is_decided_and_then_once_unmarked() {
    for (method, confirmed) in [("unknown-charged", true), ("unknown-not", false)] {
        let world = world();
        for _ in 0..2 {
            let pending = world.create(Some("k"), method).unwrap();
            assert!(matches!(&pending.decision, Decision::Pending { order } if order.state == State::Pending));
            assert!(!pending.replayed);
            world.pass(1);
        }
        let mut ticks = 0;
        while world.only_order().state == State::Pending {
            world.pass(6);
            world.orders().tick("order-sweep").unwrap();
            ticks += 1;
            assert!(ticks < 20);
        }
        let first = world.create(Some("k"), method).unwrap();
        let second = world.create(Some("k"), method).unwrap();
        assert_eq!((first.replayed, second.replayed), (false, true));
        assert_eq!((&first.decision, &first.trace_id), (&second.decision, &second.trace_id));
        assert_eq!(first.trace_id, format!("{:032x}", START / SECOND), "the trace of the request that was decided");
        match first.decision {
            Decision::Confirmed { .. } => assert!(confirmed),
            Decision::Failed { order } => {
                assert!(!confirmed);
                assert_eq!(order.failure.unwrap().code, "payment_unavailable");
                assert_eq!(world.stock.borrow()["A"], 10);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(world.outbox.borrow()[0].headers["swiftcart-decided-by"], "sweep");
        assert_eq!(world.outbox.borrow().len(), 1);
    }
}

#[test]
fn the_sweep_leaves_live_runs_alone_and_raises_an_alarm() {
    let world = world();
    *world.during_reserve.borrow_mut() = Some(Box::new(|world| {
        world.pass(29);
        assert_eq!(world.orders().tick("order-sweep"), Ok(0));
    }));
    world.create(None, "unknown-charged").unwrap();
    world
        .charges
        .borrow_mut()
        .values_mut()
        .for_each(|charge| *charge = Charge::Unknown { charged: true, questions: 1000 });
    let alarms = |world: &World| world.logs.borrow().iter().filter(|(level, _)| *level == Level::Error).count();
    let mut looks = 0;
    for _ in 0..240 {
        world.pass(1);
        looks += world.orders().tick("order-sweep").unwrap();
    }
    assert_eq!(alarms(&world), 0);
    assert!((4..=8).contains(&looks), "less and less often: {looks}");
    world.pass(120);
    world.orders().tick("order-sweep").unwrap();
    assert_eq!(alarms(&world), 1);
    assert!(world.logs.borrow().iter().any(|(_, text)| text.contains(&world.only_order().id.to_string())));
    assert_eq!(world.orders().tick("other"), Err(TickError::UnknownTimer("other".into())));
}

#[test]
fn a_run_that_was_overtaken_decides_nothing() {
    // The first run hears that stock is short and then sleeps past its lease; stock comes in and the second run confirms.
    let world = world();
    world.stock.borrow_mut().insert("A".into(), 0);
    *world.during_reserve.borrow_mut() = Some(Box::new(|world| {
        world.pass(31);
        world.stock.borrow_mut().insert("A".into(), 10);
        let second = world.create(Some("k"), "ok").unwrap();
        assert!(matches!(second.decision, Decision::Confirmed { .. }) && !second.replayed);
    }));
    let zombie = world.create(Some("k"), "ok").unwrap();
    assert!(matches!(zombie.decision, Decision::Confirmed { .. }), "{zombie:?}");
    assert_eq!(world.only_order().state, State::Confirmed);
    assert_eq!(world.outbox.borrow().len(), 1);
    assert_eq!(world.stock.borrow()["A"], 8);
}

#[test]
fn an_old_lease_decides_nothing_even_while_the_order_is_pending() {
    // As above, but the second run dies right after the charge: the order is PENDING and paid when the first run wants to fail it.
    let world = world();
    world.stock.borrow_mut().insert("A".into(), 0);
    *world.during_reserve.borrow_mut() = Some(Box::new(|world| {
        world.pass(31);
        world.stock.borrow_mut().insert("A".into(), 10);
        world.faults.borrow_mut().insert(world.effects.get() + 6, Fault::DieAfter);
        assert!(world.survive(|world| world.create(Some("k"), "ok")).is_none());
        assert_eq!(world.money_taken.borrow().len(), 1);
    }));
    let zombie = world.create(Some("k"), "ok").unwrap();
    assert!(matches!(zombie.decision, Decision::Pending { .. }), "{zombie:?}");
    world.pass(36);
    world.orders().tick("order-sweep").unwrap();
    assert_eq!(world.only_order().state, State::Confirmed);
    assert_eq!(world.topics(), ["orders.confirmed.v1"]);
}

#[test]
fn a_late_charge_after_the_sweep_is_barred() {
    let world = world();
    *world.during_reserve.borrow_mut() = Some(Box::new(|world| {
        world.pass(36);
        assert_eq!(world.orders().tick("order-sweep"), Ok(1));
    }));
    let late = world.create(Some("k"), "ok");
    assert_eq!(late, Err(CreateError::PaymentUnavailable(Some(world.only_order().id))));
    assert!(world.money_taken.borrow().is_empty());
    assert_eq!(world.stock.borrow()["A"], 10);
    assert!(matches!(world.create(Some("k"), "ok").unwrap().decision, Decision::Confirmed { .. }), "the key is free");
}

#[test]
fn an_uncharged_order_that_was_never_answered_frees_its_key_when_it_is_swept() {
    let world = world();
    // Dies before the charge; nobody comes back before the sweep.
    world.faults.borrow_mut().insert(4, Fault::DieBefore);
    assert!(world.survive(|world| world.create(Some("k"), "ok")).is_none());
    world.pass(36);
    assert_eq!(world.orders().tick("order-sweep"), Ok(1));
    let first = world.only_order();
    assert_eq!((first.state, first.is_payment_unavailable()), (State::Failed, true));
    assert!(world.keys.borrow().is_empty());
    assert_eq!(world.topics(), ["orders.failed.v1"]);
    assert_eq!(world.stock.borrow()["A"], 10);
    let second = world.create(Some("k"), "ok").unwrap();
    assert!(matches!(&second.decision, Decision::Confirmed { .. }) && !second.replayed, "{second:?}");
    assert_ne!(order_of(&second).id, first.id);
    assert_eq!(world.money_taken.borrow().values().sum::<u32>(), 1);
}

#[test]
fn an_uncharged_order_that_was_answered_202_keeps_its_key_when_it_is_swept() {
    let world = world();
    // The link loses the charge, so that nobody knows.
    world.faults.borrow_mut().insert(4, Fault::UncertainNot);
    let pending = world.create(Some("k"), "ok").unwrap();
    assert!(matches!(&pending.decision, Decision::Pending { .. }), "{pending:?}");
    world.pass(6);
    assert_eq!(world.orders().tick("order-sweep"), Ok(1));
    for replayed in [false, true] {
        let told = world.create(Some("k"), "ok").unwrap();
        assert!(matches!(&told.decision, Decision::Failed { order } if order.is_payment_unavailable()), "{told:?}");
        assert_eq!(told.replayed, replayed);
    }
    assert_eq!(world.orders.borrow().len(), 1);
    assert!(world.money_taken.borrow().is_empty());
}

#[test]
fn a_reservation_that_is_lost_after_a_charge_does_not_fail_the_order() {
    for left in [None, Some(Reservation::Closed)] {
        let world = world();
        // Dies after the charge; then Redis is lost and everything is sold, or the reservation expires.
        world.faults.borrow_mut().insert(4, Fault::DieAfter);
        assert!(world.survive(|world| world.create(Some("k"), "ok")).is_none());
        assert_eq!(world.money_taken.borrow().len(), 1);
        world.reservations.borrow_mut().clear();
        world.stock.borrow_mut().insert("A".into(), 0);
        if let Some(closed) = left {
            world.reservations.borrow_mut().insert(world.only_order().id, closed);
        }
        world.pass(31);
        let resumed = world.create(Some("k"), "ok").unwrap();
        assert!(matches!(resumed.decision, Decision::Confirmed { .. }), "{resumed:?}");
    }
}

#[test]
fn orders_are_listed_newest_first_and_only_to_their_owner() {
    let world = world();
    for index in 0..5 {
        world.pass(1);
        world.create(None, if index == 2 { "declined" } else { "ok" }).unwrap();
    }
    let orders = world.orders();
    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = orders.list_orders(&caller(), cursor.as_deref(), None, 2).unwrap();
        seen.extend(page.items.iter().map(|order| order.created_at));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.is_sorted_by(|left, right| left > right));
    assert_eq!(orders.list_orders(&caller(), None, Some(State::Failed), 0).unwrap().items.len(), 1);
    assert_eq!(orders.list_orders(&caller(), Some("x"), None, 2), Err(QueryError::BadCursor));
    let stranger = Caller { user_id: Uuid::from_u128(8), email: None };
    assert!(orders.list_orders(&stranger, None, None, 100).unwrap().items.is_empty());
    let id = world.orders.borrow().keys().next().unwrap().to_string();
    assert!(orders.get(&caller(), &id).is_ok());
    assert_eq!(orders.get(&stranger, &id), Err(QueryError::NotFound));
    assert_eq!(orders.get(&caller(), "x"), Err(QueryError::NotFound));
    assert!(world.release(Uuid::from_u128(1)).is_ok());
}
