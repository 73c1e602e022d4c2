//! Goal: an order that comes to nothing gets its money back exactly once, whatever asks for it and wherever it fails, and an order that was not charged
//! gets none. Method: real events into the consumer, every call of the database made to fail in turn (before and after it wrote), faults at the PSP.

use serde_json::{Value, json};
use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{Item, Order, OrderCancelled, OrderFailed, OrderFailure};

use crate::fake::{Fault, ORDER, Scene};
use crate::model::{Charge, Outcome};
use crate::ports::Store as _;
use crate::refund::RefundState;

fn order() -> Order {
    Order {
        order_id: ORDER,
        user_id: uuid::Uuid::nil(),
        items: vec![Item { sku: "A".to_owned(), qty: 2, unit_price: 1299 }],
        total_amount: 2598,
        currency: "USD".parse().unwrap(),
    }
}

pub(super) fn cancelled(scene: &Scene) -> Result<(), Failure> {
    let payload = serde_json::to_vec(&OrderCancelled::new(0, order(), None)).unwrap();
    scene.payments().consume("orders.cancelled.v1", &payload)
}

fn failed(scene: &Scene) -> Result<(), Failure> {
    let failure = OrderFailure { code: "out_of_stock_after_payment".to_owned() };
    let payload = serde_json::to_vec(&OrderFailed::new(0, order(), None, failure)).unwrap();
    scene.payments().consume("orders.failed.v1", &payload)
}

pub(super) fn charged() -> Scene {
    let scene = Scene::default();
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Succeeded(_)));
    scene
}

/// A charge that was begun, and nobody knows what came of it; the PSP has carried it out or not.
fn open(carried_out: bool) -> Scene {
    let fault = if carried_out { Fault::LostAfter } else { Fault::LostBefore };
    let scene = Scene::with(&[fault, Fault::LostBefore]);
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)));
    scene
}

fn given_back_once(scene: &Scene) {
    assert_eq!((scene.psp.charges(), scene.psp.given_back()), (1, 1));
    assert_eq!(scene.refund(), Some((RefundState::Succeeded, 2598)));
    assert_eq!(scene.topics(), ["payments.succeeded.v1", "payments.refunded.v1"]);
}

#[test]
fn whichever_events_come_and_however_often_money_goes_back_once() {
    let scene = charged();
    for _ in 0..2 {
        cancelled(&scene).unwrap();
        failed(&scene).unwrap();
    }
    given_back_once(&scene);
    assert_eq!(scene.sweep(), Ok(0));
    assert_eq!(scene.rows.inbox.borrow().len(), 2);
    let outbox = scene.rows.outbox.borrow();
    let event: Value = serde_json::from_str(&outbox[1].payload).unwrap();
    assert_eq!(event["refund"], json!({"refundId": "re_1", "amount": 2598}));
    assert_eq!(
        event["payment"],
        json!({"provider": "stripe", "paymentId": "pi_1", "status": "succeeded", "amount": 2598, "currency": "USD"})
    );
    assert!(scene.world.errors.borrow().is_empty());
}

#[test]
fn an_order_that_was_not_charged_gets_nothing() {
    let declined = Scene::default();
    declined.charge("pm_stolen");
    let unavailable = Scene::with(&[Fault::Refused]);
    unavailable.charge("pm_card_visa");
    let never = Scene::default();
    for scene in [declined, unavailable, never] {
        let before = scene.psp.requests.get();
        failed(&scene).unwrap();
        assert_eq!((scene.refund(), scene.psp.requests.get()), (None, before));
        assert_eq!(scene.rows.inbox.borrow().len(), 1, "it was handled");
    }
}

#[test]
fn a_failure_at_any_call_of_the_database_converges() {
    let calls = {
        let scene = charged();
        let before = scene.rows.calls.get();
        failed(&scene).unwrap();
        scene.rows.calls.get() - before
    };
    assert!(calls >= 4);
    for call in 0..calls {
        for late in [false, true] {
            let scene = charged();
            scene.rows.fail_after.set(Some(call));
            scene.rows.fail_late.set(late);
            assert!(matches!(failed(&scene), Err(Failure::DependencyDown(_))), "call {call}");
            // Delivered again, and the sweep comes by; the other event comes too.
            failed(&scene).unwrap();
            scene.sweep().unwrap();
            cancelled(&scene).unwrap();
            given_back_once(&scene);
        }
    }
}

#[test]
fn an_undecided_refund_is_asked_again_under_the_same_key_until_it_is_decided() {
    for fault in [
        Fault::Refused,
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::Answer(503, json!({})),
        Fault::Answer(429, json!({})),
        Fault::Answer(409, json!({"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}})),
        Fault::Answer(200, json!("no refund")),
    ] {
        let scene = charged();
        scene.psp.faults.borrow_mut().push_back(fault.clone());
        failed(&scene).unwrap();
        assert_eq!(scene.refund(), Some((RefundState::Pending, 0)), "{fault:?}");
        assert_eq!(scene.sweep(), Ok(1));
        given_back_once(&scene);
        assert_eq!(scene.rows.refunds.borrow()[&ORDER].0.key_number, 1);
    }
}

#[test]
fn a_refund_that_was_made_under_a_key_that_is_gone_is_read_back() {
    // Made, but the answer was lost, and the PSP has forgotten the key.
    let scene = charged();
    scene.psp.faults.borrow_mut().push_back(Fault::LostAfter);
    failed(&scene).unwrap();
    scene.psp.kept.borrow_mut().clear();
    scene.sweep().unwrap();
    given_back_once(&scene);
    // The PSP broke under the key without a refund: another key, but only after the list showed none.
    let scene = charged();
    scene.psp.faults.borrow_mut().push_back(Fault::Broken);
    failed(&scene).unwrap();
    scene.sweep().unwrap();
    assert_eq!(scene.psp.given_back(), 0, "the kept 500");
    scene.sweep().unwrap();
    given_back_once(&scene);
    assert_eq!(scene.rows.refunds.borrow()[&ORDER].0.key_number, 2);
    // The same, and the list has only part of the charge, given back by hand: the rest is still owed.
    let scene = charged();
    let part = json!({"id": "re_9", "status": "succeeded", "amount": 100, "payment_intent": "pi_1"});
    scene.psp.refunds.borrow_mut().push(part);
    let broken = || Fault::Answer(400, json!({"error": {"type": "idempotency_error"}}));
    scene.psp.faults.borrow_mut().push_back(broken());
    failed(&scene).unwrap();
    assert_eq!(scene.refund(), Some((RefundState::Pending, 0)));
    assert_eq!(scene.rows.refunds.borrow()[&ORDER].0.key_number, 2);
}

#[test]
fn a_refund_on_its_way_is_read_by_its_id() {
    for (status, state, errors) in [("succeeded", RefundState::Succeeded, 0), ("failed", RefundState::Failed, 1)] {
        let scene = charged();
        scene.psp.refund_status.set(Some("pending"));
        failed(&scene).unwrap();
        scene.sweep().unwrap();
        assert_eq!((scene.refund(), scene.psp.refunds.borrow().len()), (Some((RefundState::Pending, 0)), 1));
        scene.psp.decide_refund("re_1", status);
        scene.sweep().unwrap();
        assert_eq!(scene.refund().unwrap().0, state);
        assert_eq!(scene.world.errors.borrow().len(), errors);
        let told = if errors == 0 { "payments.refunded.v1" } else { "payments.refund-failed.v1" };
        assert_eq!(scene.topics(), ["payments.succeeded.v1", told]);
        assert_eq!(scene.sweep(), Ok(0));
    }
}

#[test]
fn what_the_psp_refuses_for_good_is_a_persons_turn_and_what_we_got_wrong_stays_owed() {
    let scene = charged();
    let refused = json!({"error": {"type": "invalid_request_error", "code": "charge_disputed"}});
    scene.psp.faults.borrow_mut().push_back(Fault::Answer(400, refused));
    failed(&scene).unwrap();
    assert_eq!((scene.refund().unwrap().0, scene.sweep()), (RefundState::Failed, Ok(0)));
    let told = vec!["payments.succeeded.v1", "payments.refund-failed.v1"];
    assert_eq!((scene.topics(), scene.world.errors.borrow().len()), (told, 1));
    let event: Value = serde_json::from_str(&scene.rows.outbox.borrow()[1].payload).unwrap();
    assert_eq!((&event["refund"]["amount"], &event["refund"]["refundId"]), (&json!(2598), &Value::Null));
    assert!(event["refund"]["reason"].as_str().unwrap().contains("charge_disputed"), "{event}");
    let scene = charged();
    scene.psp.faults.borrow_mut().push_back(Fault::Answer(401, json!({})));
    failed(&scene).unwrap();
    assert_eq!((scene.refund().unwrap().0, scene.world.errors.borrow().len()), (RefundState::Pending, 1));
    scene.sweep().unwrap();
    given_back_once(&scene);
}

#[test]
fn a_failed_order_whose_charge_is_open_is_settled_first() {
    let scene = open(true);
    failed(&scene).unwrap();
    given_back_once(&scene);
    // The PSP cannot say yet: owed, and the sweep goes on asking.
    let scene = open(true);
    scene.psp.faults.borrow_mut().extend([Fault::LostBefore, Fault::LostBefore]);
    failed(&scene).unwrap();
    assert_eq!(scene.refund(), Some((RefundState::Pending, 0)));
    scene.sweep().unwrap();
    given_back_once(&scene);
    // It was never carried out and is too old to be: nothing is owed.
    let scene = open(false);
    scene.age(13 * 60 * 60 * 1000);
    failed(&scene).unwrap();
    assert_eq!((scene.refund(), scene.psp.given_back()), (Some((RefundState::Void, 0)), 0));
    assert_eq!(scene.sweep(), Ok(0));
}

#[test]
fn a_charge_that_nobody_asks_about_is_settled_by_the_sweep() {
    let scene = open(true);
    scene.rows.forgotten.set(Some(ORDER));
    assert_eq!(scene.sweep(), Ok(1));
    assert_eq!(scene.topics(), ["payments.succeeded.v1"]);
    assert_eq!(scene.sweep(), Ok(0));
    let scene = open(true);
    scene.rows.forgotten.set(Some(ORDER));
    scene.psp.faults.borrow_mut().extend([Fault::LostBefore, Fault::LostBefore]);
    assert_eq!(scene.sweep(), Ok(1));
    assert_eq!(scene.world.errors.borrow().len(), 1);
}

#[test]
fn a_refund_that_stays_undecided_is_told() {
    let scene = charged();
    scene.psp.faults.borrow_mut().extend(std::iter::repeat_n(Fault::LostBefore, 8));
    failed(&scene).unwrap();
    for _ in 0..7 {
        assert!(scene.world.errors.borrow().is_empty());
        scene.sweep().unwrap();
    }
    assert_eq!(scene.world.errors.borrow().len(), 1);
}

#[test]
fn what_is_no_event_is_rejected() {
    let scene = charged();
    for (topic, payload) in
        [("orders.failed.v1", &b"{"[..]), ("orders.cancelled.v1", b"{}"), ("orders.confirmed.v1", b"{}")]
    {
        assert!(matches!(scene.payments().consume(topic, payload), Err(Failure::Reject(_))));
    }
    let wrong = serde_json::to_vec(&OrderCancelled::new(0, order(), None)).unwrap();
    assert!(matches!(scene.payments().consume("orders.failed.v1", &wrong), Err(Failure::Reject(_))));
    assert_eq!(scene.refund(), None);
}

#[test]
fn a_tombstone_bars_and_is_owed_nothing() {
    let scene = Scene::default();
    scene.settle();
    failed(&scene).unwrap();
    assert_eq!(scene.refund(), None);
    let charge =
        Charge { order_id: ORDER, amount: 2598, currency: "USD".parse().unwrap(), method: "pm_card_visa".to_owned() };
    assert!((&&scene.rows).begin(&charge).unwrap().outcome().is_some());
}
