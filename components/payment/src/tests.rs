//! Goal: one charge per order whatever the PSP, the network and the database do, and every answer is true. Method: the use cases over a store and a
//! PSP in memory. The PSP keeps Stripe's promises about idempotency keys; faults are put before or after its work.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, Decision, Outcome, Record, State, shown_code};
use crate::ports::{Http, NoAnswer, Request, Response, Store, Surroundings};
use crate::psp::Stripe;
use crate::service::{Patience, Payments};

const ORDER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

/// The table, and whether it can be reached.
#[derive(Default)]
struct Rows {
    rows: RefCell<BTreeMap<Uuid, Record>>,
    outbox: RefCell<Vec<OutboxEvent>>,
    /// So many of the next calls work, then one fails.
    fail_after: Cell<Option<u32>>,
}

impl Rows {
    fn reach(&self) -> Result<(), Error> {
        match self.fail_after.get() {
            Some(0) => {
                self.fail_after.set(None);
                Err(Error::Store("gone".to_owned()))
            }
            left => {
                self.fail_after.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }

    fn begin_with(&self, order_id: Uuid, new: Record) -> Result<Record, Error> {
        self.reach()?;
        let mut rows = self.rows.borrow_mut();
        if let Some(row) = rows.get_mut(&order_id) {
            row.attempts += i32::from(row.outcome().is_none());
            row.created = false;
            return Ok(row.clone());
        }
        rows.insert(order_id, new.clone());
        Ok(new)
    }
}

fn record(state: State, charge: Option<Charge>) -> Record {
    let (attempts, created) = (i32::from(charge.is_some()), charge.is_some());
    Record {
        order_id: ORDER,
        state,
        charge,
        payment_id: None,
        decline_code: None,
        reason: None,
        attempts,
        age_ms: 0,
        created,
    }
}

impl Store for &Rows {
    fn begin(&self, charge: &Charge) -> Result<Record, Error> {
        self.begin_with(charge.order_id, record(State::Started, Some(charge.clone())))
    }
    fn begin_settle(&self, order_id: Uuid) -> Result<Record, Error> {
        self.begin_with(order_id, record(State::Unavailable, None))
    }
    fn decide(&self, order_id: Uuid, decision: &Decision, event: &OutboxEvent) -> Result<Record, Error> {
        self.reach()?;
        let mut rows = self.rows.borrow_mut();
        let row = rows.get_mut(&order_id).unwrap();
        let fits = !matches!(decision, Decision::Unavailable { only_attempt: Some(attempts), .. } if *attempts != row.attempts);
        if row.outcome().is_none() && fits {
            row.state = decision.state();
            row.payment_id = decision.payment_id().map(str::to_owned).or(row.payment_id.take());
            if let Decision::Declined { psp_code, .. } = decision {
                row.decline_code = Some(shown_code(psp_code).to_owned());
            }
            self.outbox.borrow_mut().push(event.clone());
        }
        Ok(row.clone())
    }
    fn note_unknown(&self, order_id: Uuid, reason: &str, payment_id: Option<&str>) -> Result<(), Error> {
        self.reach()?;
        let mut rows = self.rows.borrow_mut();
        let row = rows.get_mut(&order_id).unwrap();
        if row.outcome().is_none() {
            row.state = State::Unknown;
            row.reason = Some(reason.to_owned());
            row.payment_id = payment_id.map(str::to_owned).or(row.payment_id.take());
        }
        Ok(())
    }
    fn prune(&self) -> Result<u64, Error> {
        Ok(0)
    }
}

/// What befalls the next requests.
#[derive(Clone, Debug)]
enum Fault {
    /// Never arrives, provably.
    Refused,
    /// Never arrives, but nobody can know.
    LostBefore,
    /// Is carried out; the answer is lost.
    LostAfter,
    /// Answered with this, without an effect and without being kept.
    Answer(u16, Value),
    /// 500 that is kept for the key, without an effect.
    Broken,
}

/// A PSP that keeps Stripe's promises.
#[derive(Default)]
struct FakePsp {
    faults: RefCell<VecDeque<Fault>>,
    intents: RefCell<Vec<(String, Value)>>,
    kept: RefCell<BTreeMap<String, (u16, Value)>>,
    requests: Cell<u32>,
}

impl FakePsp {
    fn charges(&self) -> usize {
        self.intents.borrow().iter().filter(|(_, intent)| intent["status"] == "succeeded").count()
    }

    fn pay(&self, form: &str) -> (u16, Value) {
        let id = format!("pi_{}", self.intents.borrow().len() + 1);
        let error =
            |code: &str, decline_code: &str| json!({"type": "card_error", "code": code, "decline_code": decline_code});
        let (status, state, error) = match form {
            form if form.contains("pm_card_visa") => (200, "succeeded", Value::Null),
            form if form.contains("pm_stolen") => {
                (402, "requires_payment_method", error("card_declined", "stolen_card"))
            }
            form if form.contains("pm_poor") => {
                (402, "requires_payment_method", error("card_declined", "insufficient_funds"))
            }
            form if form.contains("pm_expired") => {
                (402, "requires_payment_method", error("expired_card", "expired_card"))
            }
            form if form.contains("pm_secure") => (200, "requires_action", Value::Null),
            form if form.contains("pm_slow") => (200, "processing", Value::Null),
            _ => {
                return (
                    400,
                    json!({"error": {"type": "invalid_request_error", "code": "resource_missing", "param": "payment_method"}}),
                );
            }
        };
        let intent = json!({"id": id, "status": state, "last_payment_error": error});
        self.intents.borrow_mut().push((id, intent.clone()));
        if status == 402 {
            let mut error = error;
            error["payment_intent"] = intent;
            return (402, json!({ "error": error }));
        }
        (200, intent)
    }

    fn change(&self, id: &str, status: &str) -> Value {
        let mut intents = self.intents.borrow_mut();
        let (_, intent) = intents.iter_mut().find(|(known, _)| known == id).unwrap();
        intent["status"] = json!(status);
        intent.clone()
    }
}

impl Http for &FakePsp {
    fn send(&self, request: &Request) -> Result<Response, NoAnswer> {
        self.requests.set(self.requests.get() + 1);
        let fault = self.faults.borrow_mut().pop_front();
        let answer = |(status, body): (u16, Value), replayed| {
            Ok(Response { status, replayed, body: body.to_string().into_bytes() })
        };
        match &fault {
            Some(Fault::Refused) => return Err(NoAnswer::NotSent("refused".to_owned())),
            Some(Fault::LostBefore) => return Err(NoAnswer::Uncertain("lost".to_owned())),
            Some(Fault::Answer(status, body)) => return answer((*status, body.clone()), false),
            _ => {}
        }
        let Some(form) = &request.form else {
            if let Some(query) = request.path.strip_prefix("/v1/payment_intents/search?query=") {
                assert_eq!(query, format!("metadata%5B%27order_id%27%5D%3A%27{ORDER}%27"));
                let data: Vec<Value> = self.intents.borrow().iter().map(|(_, intent)| intent.clone()).collect();
                return answer((200, json!({ "data": data })), false);
            }
            let id = request.path.rsplit('/').next().unwrap();
            return answer(
                (200, self.intents.borrow().iter().find(|(known, _)| known == id).unwrap().1.clone()),
                false,
            );
        };
        let key = request.idempotency_key.clone().unwrap();
        if let Some(kept) = self.kept.borrow().get(&key) {
            return answer(kept.clone(), true);
        }
        let done = match fault {
            Some(Fault::Broken) => (500, json!({"error": {"type": "api_error"}})),
            _ if request.path.ends_with("/cancel") => {
                (200, self.change(request.path.split('/').nth(3).unwrap(), "canceled"))
            }
            _ => self.pay(form),
        };
        if done.0 != 400 {
            self.kept.borrow_mut().insert(key, done.clone());
        }
        if matches!(fault, Some(Fault::LostAfter)) {
            Err(NoAnswer::Uncertain("lost".to_owned()))
        } else {
            answer(done, false)
        }
    }
}

#[derive(Default)]
struct World {
    clock: Cell<u64>,
    errors: RefCell<Vec<String>>,
}

impl Surroundings for &World {
    fn now_micros(&self) -> i64 {
        1_759_235_696_000_000
    }
    fn monotonic_ms(&self) -> u64 {
        self.clock.set(self.clock.get() + 10);
        self.clock.get()
    }
    fn pause_ms(&self, ms: u64) {
        self.clock.set(self.clock.get() + ms);
    }
    fn trace(&self) -> (String, Option<String>) {
        ("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(), None)
    }
    fn log_error(&self, text: &str) {
        self.errors.borrow_mut().push(text.to_owned());
    }
}

#[derive(Default)]
struct Scene {
    rows: Rows,
    psp: FakePsp,
    world: World,
}

impl Scene {
    fn with(faults: &[Fault]) -> Self {
        let scene = Self::default();
        scene.psp.faults.borrow_mut().extend(faults.iter().cloned());
        scene
    }
    fn payments(&self) -> Payments<&Rows, &FakePsp, &World> {
        let patience = Patience { request_timeout_ms: 1000, budget_ms: 3000, search_lag_ms: 60_000 };
        Payments { store: &self.rows, psp: Stripe { http: &self.psp }, surroundings: &self.world, patience }
    }
    fn charge(&self, method: &str) -> Outcome {
        self.payments().charge(&Charge {
            order_id: ORDER,
            amount: 2598,
            currency: "USD".parse().unwrap(),
            method: method.to_owned(),
        })
    }
    fn settle(&self) -> Outcome {
        self.payments().settle(&ORDER.to_string())
    }
    fn topics(&self) -> Vec<&'static str> {
        self.rows.outbox.borrow().iter().map(|event| event.topic).collect()
    }
    fn age(&self, ms: u64) {
        self.rows.rows.borrow_mut().get_mut(&ORDER).unwrap().age_ms = ms;
    }
}

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
