//! Goal: one charge per order whatever the PSP, the network and the database do, and every answer is true. Method: the use cases over a store and a
//! PSP in memory, with faults before or after what they do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod refunds;
mod webhooks;

use serde_json::{Value, json};

use crate::fake::{Fault, ORDER, Scene};
use crate::model::{Charge, Decision, Outcome};
use crate::ports::Store as _;

fn succeeded(id: &str) -> Outcome {
    Outcome::Succeeded(id.to_owned())
}

fn declined(code: &str, id: Option<&str>) -> Outcome {
    Outcome::Declined { code: code.to_owned(), payment_id: id.map(str::to_owned) }
}

#[test]
fn charges_once_however_often_it_is_asked() {
    let scene = Scene::default();
    for _ in 0..3 {
        assert_eq!(scene.charge("pm_card_visa"), succeeded("pi_1"));
        assert_eq!(scene.settle(), succeeded("pi_1"));
    }
    assert_eq!((scene.psp.charges(), scene.psp.requests.get()), (1, 1));
    assert_eq!(scene.topics(), ["payments.succeeded.v1"]);
    let event: Value = serde_json::from_str(&scene.rows.outbox.borrow()[0].payload).unwrap();
    assert_eq!(
        event["payment"],
        json!({"provider": "stripe", "paymentId": "pi_1", "status": "succeeded", "amount": 2598, "currency": "USD"})
    );
}

#[test]
fn declines_show_what_may_be_shown() {
    for (method, outcome, psp_code) in [
        ("pm_poor", declined("insufficient_funds", Some("pi_1")), Some("insufficient_funds")),
        ("pm_stolen", declined("card_declined", Some("pi_1")), Some("stolen_card")),
        ("pm_expired", declined("expired_card", Some("pi_1")), Some("expired_card")),
        ("pm_nonsense", declined("invalid_payment_method", None), None),
    ] {
        let scene = Scene::default();
        assert_eq!(scene.charge(method), outcome);
        assert_eq!(scene.charge(method), outcome);
        assert_eq!(scene.topics(), ["payments.failed.v1"]);
        let event: Value = serde_json::from_str(&scene.rows.outbox.borrow()[0].payload).unwrap();
        assert_eq!(event["payment"]["declineCode"].as_str(), psp_code);
    }
}

#[test]
fn what_needs_the_buyer_is_cancelled_and_declined() {
    let scene = Scene::default();
    assert_eq!(scene.charge("pm_secure"), declined("authentication_required", Some("pi_1")));
    assert_eq!(scene.psp.intents.borrow()[0].1["status"], "canceled");
    // The cancellation is lost on its way: unknown until it is certain.
    for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Refused, Fault::Answer(500, json!({}))] {
        let scene = Scene::default();
        scene
            .psp
            .faults
            .borrow_mut()
            .extend([Fault::Answer(200, json!({"id": "pi_1", "status": "requires_action"})), fault]);
        scene.psp.intents.borrow_mut().push(("pi_1".to_owned(), json!({"id": "pi_1", "status": "requires_action"})));
        assert!(matches!(scene.charge("pm_secure"), Outcome::Unknown(_)));
        assert_eq!(scene.settle(), declined("authentication_required", Some("pi_1")));
    }
}

#[test]
fn surely_not_sent_is_unavailable_for_good() {
    for fault in
        [Fault::Refused, Fault::Answer(429, json!({"error": {"type": "invalid_request_error", "code": "rate_limit"}}))]
    {
        let scene = Scene::with(&[fault]);
        assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unavailable(_)));
        assert!(matches!(scene.charge("pm_card_visa"), Outcome::NotCharged(_)), "and stays so");
        assert_eq!((scene.psp.charges(), scene.psp.requests.get()), (0, 1));
        assert_eq!(scene.topics(), ["payments.failed.v1"]);
        assert!(scene.world.errors.borrow().is_empty());
    }
}

#[test]
fn our_own_mistakes_are_unavailable_and_logged() {
    for status in [400, 401, 403, 404] {
        let scene = Scene::with(&[Fault::Answer(status, json!({"error": {"type": "invalid_request_error"}}))]);
        assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unavailable(_)), "{status}");
        assert_eq!(scene.world.errors.borrow().len(), 1);
    }
}

#[test]
fn inconclusive_answers_are_asked_again_under_the_same_key() {
    for fault in [
        Fault::LostBefore,
        Fault::LostAfter,
        Fault::Answer(500, json!({})),
        Fault::Answer(502, json!("<html>")),
        Fault::Answer(503, json!({})),
        Fault::Answer(409, json!({"error": {"type": "idempotency_error", "code": "idempotency_key_in_use"}})),
        Fault::Answer(429, json!({"error": {"type": "invalid_request_error", "code": "lock_timeout"}})),
        Fault::Answer(200, json!("no intent")),
    ] {
        let scene = Scene::with(std::slice::from_ref(&fault));
        assert_eq!(scene.charge("pm_card_visa"), succeeded("pi_1"), "{fault:?}");
        assert_eq!(scene.psp.charges(), 1);
    }
}

#[test]
fn after_an_inconclusive_try_nothing_proves_that_nothing_was_charged() {
    for second in [
        Fault::Refused,
        Fault::LostBefore,
        Fault::Answer(429, json!({})),
        Fault::Answer(401, json!({})),
        Fault::Answer(503, json!({})),
    ] {
        let scene = Scene::with(&[Fault::LostAfter, second.clone()]);
        assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)), "{second:?}");
        assert!(scene.topics().is_empty());
        assert_eq!(scene.settle(), succeeded("pi_1"));
        assert_eq!((scene.psp.charges(), scene.topics()), (1, vec!["payments.succeeded.v1"]));
    }
}

#[test]
fn a_kept_500_is_looked_up_and_nothing_found_counts_only_after_the_lag() {
    let scene = Scene::with(&[Fault::Broken]);
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)));
    assert!(matches!(scene.settle(), Outcome::Unknown(_)));
    scene.age(60_000);
    assert!(matches!(scene.settle(), Outcome::Unavailable(_)));
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::NotCharged(_)));
    assert_eq!((scene.psp.charges(), scene.topics()), (0, vec!["payments.failed.v1"]));
    // The same, but the charge had been made before the PSP broke.
    let scene = Scene::with(&[Fault::Broken]);
    scene.psp.intents.borrow_mut().push(("pi_9".to_owned(), json!({"id": "pi_9", "status": "succeeded"})));
    assert_eq!(scene.charge("pm_card_visa"), succeeded("pi_9"));
}

#[test]
fn settle_without_a_charge_bars_a_later_one() {
    let scene = Scene::default();
    assert!(matches!(scene.settle(), Outcome::NotCharged(_)));
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::NotCharged(_)), "the zombie's charge");
    assert_eq!(scene.psp.requests.get(), 0);
    assert!(scene.topics().is_empty(), "no charge was tried, so there is nothing to tell");
}

#[test]
fn a_crash_after_the_row_or_after_the_psp_converges() {
    // The row is there, the PSP was never asked: the charge is made when it is settled, once.
    let scene = Scene::default();
    (&&scene.rows)
        .begin(&Charge {
            order_id: ORDER,
            amount: 2598,
            currency: "USD".parse().unwrap(),
            method: "pm_card_visa".to_owned(),
        })
        .unwrap();
    assert_eq!(scene.settle(), succeeded("pi_1"));
    // The PSP charged, the outcome could not be written.
    let scene = Scene::default();
    scene.rows.fail_after.set(Some(1));
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)));
    assert!(scene.topics().is_empty());
    assert_eq!(scene.settle(), succeeded("pi_1"));
    assert_eq!((scene.psp.charges(), scene.topics()), (1, vec!["payments.succeeded.v1"]));
    // The database is down before anything: another call may be under way, so nothing is claimed, and nothing was sent.
    let scene = Scene::default();
    scene.rows.fail_after.set(Some(0));
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)));
    assert_eq!(scene.psp.requests.get(), 0);
}

#[test]
fn unavailable_is_not_written_while_another_call_may_be_charging() {
    let scene = Scene::with(&[Fault::Refused]);
    let charge =
        Charge { order_id: ORDER, amount: 2598, currency: "USD".parse().unwrap(), method: "pm_card_visa".to_owned() };
    let record = (&&scene.rows).begin(&charge).unwrap();
    // A second call has set out since.
    (&&scene.rows).begin_settle(ORDER).unwrap();
    let decision = Decision::Unavailable { reason: "refused".to_owned(), only_attempt: Some(record.attempts) };
    let event = decision.event(&charge, 0, &(String::new(), None)).unwrap();
    assert_eq!((&&scene.rows).decide(ORDER, &decision, &event).unwrap().outcome(), None);
}

#[test]
fn an_intent_in_progress_is_read_back_by_its_id() {
    let scene = Scene::default();
    assert!(matches!(scene.charge("pm_slow"), Outcome::Unknown(_)));
    assert!(matches!(scene.settle(), Outcome::Unknown(_)));
    scene.psp.faults.borrow_mut().push_back(Fault::Refused);
    assert!(matches!(scene.settle(), Outcome::Unknown(_)), "not read is not charged");
    scene.psp.change("pi_1", "succeeded");
    assert_eq!(scene.settle(), succeeded("pi_1"));
}

#[test]
fn a_charge_older_than_stripes_memory_is_not_sent_again() {
    let scene = Scene::with(&[Fault::LostBefore, Fault::LostBefore]);
    assert!(matches!(scene.charge("pm_card_visa"), Outcome::Unknown(_)));
    scene.age(13 * 60 * 60 * 1000);
    assert!(matches!(scene.settle(), Outcome::Unavailable(_)));
    assert_eq!(scene.psp.charges(), 0);
}
