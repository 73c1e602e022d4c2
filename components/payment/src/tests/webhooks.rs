//! Goal: the PSP's events are believed only as hints: signed, once per id, in any order, and what they bring about is what the PSP says when it is asked.
//! Method: signed bodies into the use case, with the PSP's state set as each case needs it.

use serde_json::{Value, json};

use super::refunds::{cancelled, charged};
use crate::error::WebhookError;
use crate::fake::{Fault, ORDER, Scene};
use crate::model::Outcome;
use crate::refund::RefundState;
use crate::signature::sign;

const NOW: i64 = 1_759_235_696;
const SECRETS: [&str; 2] = ["whsec_old", "whsec_new"];

fn send(scene: &Scene, id: &str, kind: &str, object: &Value) -> Result<(), WebhookError> {
    let body = json!({"id": id, "type": kind, "data": {"object": object}}).to_string();
    scene.payments().receive(&sign("whsec_new", NOW, body.as_bytes()), body.as_bytes(), &SECRETS)
}

fn intent(id: &str) -> Value {
    json!({"id": id, "object": "payment_intent", "status": "requires_payment_method", "metadata": {"order_id": ORDER.to_string()}})
}

fn refunded(id: &str) -> Value {
    json!({"id": "ch_1", "object": "charge", "payment_intent": id})
}

#[test]
fn only_what_the_psp_signed_is_read() {
    let scene = charged();
    let body =
        json!({"id": "evt_1", "type": "payment_intent.succeeded", "data": {"object": intent("pi_1")}}).to_string();
    let receive = |signature: &str, body: &str| scene.payments().receive(signature, body.as_bytes(), &SECRETS);
    for bad in
        ["", "t=1,v1=00", &sign("whsec_other", NOW, body.as_bytes()), &sign("whsec_new", NOW - 301, body.as_bytes())]
    {
        assert_eq!(receive(bad, &body), Err(WebhookError::BadSignature));
    }
    assert_eq!(receive(&sign("whsec_old", NOW, body.as_bytes()), &body), Ok(()));
    for bad in ["", "{", "[]", r#"{"id":"evt_1"}"#, r#"{"id":"","type":"x","data":{"object":{}}}"#] {
        assert!(
            matches!(receive(&sign("whsec_new", NOW, bad.as_bytes()), bad), Err(WebhookError::Invalid(_))),
            "{bad}"
        );
    }
}

#[test]
fn an_open_charge_is_settled_by_what_the_psp_says_not_the_event() {
    let scene = Scene::with(&[Fault::LostAfter, Fault::LostBefore]);
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)));
    // The event is of an earlier moment and says otherwise.
    for _ in 0..2 {
        send(&scene, "evt_1", "payment_intent.payment_failed", &intent("pi_1")).unwrap();
    }
    assert_eq!(scene.settle(), Outcome::Succeeded("pi_1".to_owned()));
    assert_eq!((scene.psp.charges(), scene.topics()), (1, vec!["payments.succeeded.v1"]));
    assert_eq!(scene.rows.heard.borrow().len(), 1);
}

#[test]
fn what_cannot_be_settled_now_is_delivered_again() {
    let scene = Scene::with(&[Fault::LostAfter, Fault::LostBefore, Fault::LostBefore, Fault::LostBefore]);
    scene.charge("pm_card_visa");
    let result = send(&scene, "evt_1", "payment_intent.succeeded", &intent("pi_1"));
    assert!(matches!(result, Err(WebhookError::Unavailable(_))));
    assert!(scene.rows.heard.borrow().is_empty());
    send(&scene, "evt_1", "payment_intent.succeeded", &intent("pi_1")).unwrap();
    assert_eq!(scene.topics(), ["payments.succeeded.v1"]);
    scene.rows.fail_after.set(Some(0));
    let result = send(&scene, "evt_2", "payment_intent.succeeded", &intent("pi_1"));
    assert!(matches!(result, Err(WebhookError::Uncertain(_))));
}

#[test]
fn strangers_events_and_unknown_types_are_fine_and_change_nothing() {
    let scene = Scene::default();
    send(&scene, "evt_1", "payment_intent.succeeded", &intent("pi_9")).unwrap();
    send(&scene, "evt_2", "payment_intent.succeeded", &json!({"id": "pi_9"})).unwrap();
    send(&scene, "evt_3", "charge.refunded", &refunded("pi_9")).unwrap();
    send(&scene, "evt_4", "charge.refunded", &json!({"id": "ch_1", "payment_intent": null})).unwrap();
    send(&scene, "evt_5", "customer.created", &json!({"id": "cus_1"})).unwrap();
    assert!(scene.rows.rows.borrow().is_empty(), "no tombstone for an order that is not there");
    assert_eq!(scene.psp.requests.get(), 0);
}

#[test]
fn a_charge_that_came_through_after_it_was_given_up_goes_back() {
    let scene = Scene::with(&[Fault::Refused]);
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unavailable(_)));
    // An event about an intent that the PSP does not hold for charged changes nothing.
    scene.psp.intents.borrow_mut().push(("pi_7".to_owned(), json!({"id": "pi_7", "status": "canceled"})));
    send(&scene, "evt_1", "payment_intent.succeeded", &intent("pi_7")).unwrap();
    assert_eq!((scene.refund(), scene.psp.given_back()), (None, 0));
    scene.psp.change("pi_7", "succeeded");
    send(&scene, "evt_2", "payment_intent.succeeded", &intent("pi_7")).unwrap();
    assert_eq!((scene.refund(), scene.psp.given_back()), (Some((RefundState::Succeeded, 2598)), 1));
    assert_eq!(scene.world.errors.borrow().len(), 1);
    send(&scene, "evt_3", "payment_intent.succeeded", &intent("pi_7")).unwrap();
    assert_eq!(scene.psp.given_back(), 1);
}

#[test]
fn a_second_charge_of_an_order_is_told() {
    let scene = charged();
    scene.psp.intents.borrow_mut().push(("pi_7".to_owned(), json!({"id": "pi_7", "status": "succeeded"})));
    send(&scene, "evt_1", "payment_intent.succeeded", &intent("pi_7")).unwrap();
    assert_eq!((scene.world.errors.borrow().len(), scene.psp.given_back()), (1, 0));
}

#[test]
fn a_refund_that_was_under_way_ends_with_the_event() {
    let scene = charged();
    scene.psp.faults.borrow_mut().push_back(Fault::LostAfter);
    cancelled(&scene).unwrap();
    assert_eq!(scene.refund(), Some((RefundState::Pending, 0)));
    send(&scene, "evt_1", "charge.refunded", &refunded("pi_1")).unwrap();
    send(&scene, "evt_2", "refund.created", &refunded("pi_1")).unwrap();
    assert_eq!((scene.refund(), scene.psp.given_back()), (Some((RefundState::Succeeded, 2598)), 1));
    assert_eq!(scene.topics(), ["payments.succeeded.v1", "payments.refunded.v1"]);
    // An event that the list does not bear out changes nothing.
    send(&scene, "evt_3", "refund.failed", &refunded("pi_1")).unwrap();
    assert_eq!(scene.refund(), Some((RefundState::Succeeded, 2598)));
}

#[test]
fn a_refund_that_came_back_is_a_persons_turn_and_ends_when_it_was_made_by_hand() {
    let scene = charged();
    cancelled(&scene).unwrap();
    scene.psp.decide_refund("re_1", "failed");
    send(&scene, "evt_1", "refund.failed", &refunded("pi_1")).unwrap();
    assert_eq!((scene.refund().unwrap().0, scene.world.errors.borrow().len()), (RefundState::Failed, 1));
    let by_hand = json!({"id": "re_9", "status": "succeeded", "amount": 2598, "payment_intent": "pi_1"});
    scene.psp.refunds.borrow_mut().insert(0, by_hand);
    send(&scene, "evt_2", "charge.refunded", &refunded("pi_1")).unwrap();
    assert_eq!(scene.refund(), Some((RefundState::Succeeded, 2598)));
    let told = ["payments.succeeded.v1", "payments.refunded.v1", "payments.refund-failed.v1", "payments.refunded.v1"];
    assert_eq!(scene.topics(), told, "each turn is told, once");
    send(&scene, "evt_3", "charge.refunded", &refunded("pi_1")).unwrap();
    assert_eq!(scene.topics(), told);
}

#[test]
fn a_whole_refund_by_hand_is_told_to_the_order_and_part_of_one_to_a_person() {
    for (amount, state) in [(2598, Some((RefundState::Succeeded, 2598))), (100, None)] {
        let scene = charged();
        let by_hand = json!({"id": "re_9", "status": "succeeded", "amount": amount, "payment_intent": "pi_1"});
        scene.psp.refunds.borrow_mut().push(by_hand);
        send(&scene, "evt_1", "charge.refunded", &refunded("pi_1")).unwrap();
        assert_eq!((scene.refund(), scene.world.errors.borrow().len()), (state, 1));
        cancelled(&scene).unwrap();
        assert_eq!(scene.psp.given_back(), 1);
    }
}
