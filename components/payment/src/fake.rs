//! The store and the PSP in memory. Invariant: the store does what the SQL does, which is itself checked against a real server; the PSP keeps Stripe's
//! promises about idempotency keys, and faults are put before or after its work.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Value, json};
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, Decision, Outcome, Record, State, shown_code};
use crate::ports::{Http, NoAnswer, Request, Response, Store, Surroundings};
use crate::psp::Stripe;
use crate::refund::{Refund, RefundEnd, RefundNote, RefundState};
use crate::service::{Patience, Payments};

pub(crate) const ORDER: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

/// The table, and whether it can be reached.
#[derive(Default)]
pub(crate) struct Rows {
    pub(crate) rows: RefCell<BTreeMap<Uuid, Record>>,
    pub(crate) outbox: RefCell<Vec<OutboxEvent>>,
    pub(crate) inbox: RefCell<BTreeSet<Uuid>>,
    /// With the amount given back, and whether it is due.
    pub(crate) refunds: RefCell<BTreeMap<Uuid, (Refund, u64, bool)>>,
    pub(crate) heard: RefCell<BTreeSet<String>>,
    pub(crate) forgotten: Cell<Option<Uuid>>,
    /// So many of the next calls work, then one fails.
    pub(crate) fail_after: Cell<Option<u32>>,
    /// Whether the one that fails has written before.
    pub(crate) fail_late: Cell<bool>,
    pub(crate) calls: Cell<u32>,
}

impl Rows {
    fn reach(&self) -> Result<(), Error> {
        self.calls.set(self.calls.get() + 1);
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

    /// One atomic step, which may be the one that fails: before, or after it has written.
    fn step<T>(&self, effect: impl FnOnce() -> T) -> Result<T, Error> {
        let reached = self.reach();
        if reached.is_ok() || self.fail_late.get() {
            let done = effect();
            return reached.map(|()| done);
        }
        reached.map(|()| unreachable!())
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

pub(crate) fn record(state: State, charge: Option<Charge>) -> Record {
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

fn pending(order_id: Uuid, payment_id: Option<String>) -> Refund {
    Refund { order_id, state: RefundState::Pending, payment_id, refund_id: None, key_number: 1, attempts: 0 }
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
    fn find(&self, order_id: Uuid) -> Result<Option<Record>, Error> {
        self.step(|| self.rows.borrow().get(&order_id).cloned())
    }
    fn find_by_payment(&self, payment_id: &str) -> Result<Option<Record>, Error> {
        self.step(|| self.rows.borrow().values().find(|row| row.payment_id.as_deref() == Some(payment_id)).cloned())
    }
    fn take_forgotten(&self) -> Result<Option<Uuid>, Error> {
        self.step(|| self.forgotten.take())
    }
    fn want_refund(&self, order_id: Uuid, event_id: Uuid) -> Result<(), Error> {
        self.step(|| {
            self.inbox.borrow_mut().insert(event_id);
            let rows = self.rows.borrow();
            let charged = rows.get(&order_id).filter(|row| !matches!(row.state, State::Declined | State::Unavailable));
            if let Some(row) = charged {
                let payment_id = row.payment_id.clone().filter(|_| row.state == State::Succeeded);
                let refund = pending(order_id, payment_id);
                self.refunds.borrow_mut().entry(order_id).or_insert((refund, 0, true));
            }
        })
    }
    fn want_refund_of(&self, order_id: Uuid, payment_id: &str) -> Result<(), Error> {
        self.step(|| {
            let mut refunds = self.refunds.borrow_mut();
            if refunds.get(&order_id).is_none_or(|(known, ..)| known.state == RefundState::Void) {
                refunds.insert(order_id, (pending(order_id, Some(payment_id.to_owned())), 0, true));
            }
        })
    }
    fn take_refund(&self, order_id: Uuid) -> Result<Option<Refund>, Error> {
        self.step(|| {
            let mut refunds = self.refunds.borrow_mut();
            let (refund, _, due) = refunds.get_mut(&order_id)?;
            if refund.state != RefundState::Pending || !*due {
                return None;
            }
            (refund.attempts, *due) = (refund.attempts + 1, false);
            Some(refund.clone())
        })
    }
    fn take_due_refund(&self) -> Result<Option<Refund>, Error> {
        self.take_refund(ORDER)
    }
    fn find_refund(&self, order_id: Uuid) -> Result<Option<Refund>, Error> {
        self.step(|| self.refunds.borrow().get(&order_id).map(|known| known.0.clone()))
    }
    fn note_refund(&self, order_id: Uuid, note: &RefundNote) -> Result<(), Error> {
        self.step(|| {
            let mut refunds = self.refunds.borrow_mut();
            let (refund, ..) = refunds.get_mut(&order_id).unwrap();
            if refund.state == RefundState::Pending {
                refund.refund_id = note.refund_id.clone().or(refund.refund_id.take());
                refund.key_number = note.key_number;
            }
        })
    }
    fn end_refund(&self, order_id: Uuid, end: &RefundEnd, event: Option<&OutboxEvent>) -> Result<bool, Error> {
        self.step(|| {
            let mut refunds = self.refunds.borrow_mut();
            let (refund, given_back, _) = refunds.get_mut(&order_id).unwrap();
            let (from, to): (&[RefundState], _) = match end {
                RefundEnd::Succeeded { .. } => (&[RefundState::Pending, RefundState::Failed], RefundState::Succeeded),
                RefundEnd::Failed { .. } => (&[RefundState::Pending, RefundState::Succeeded], RefundState::Failed),
                RefundEnd::Void { .. } => (&[RefundState::Pending], RefundState::Void),
            };
            if !from.contains(&refund.state) {
                return false;
            }
            refund.state = to;
            match end {
                RefundEnd::Succeeded { refund_id, amount } => {
                    (refund.refund_id, *given_back) = (Some(refund_id.clone()), *amount);
                }
                RefundEnd::Failed { refund_id, .. } => {
                    refund.refund_id = refund_id.clone().or(refund.refund_id.take());
                }
                RefundEnd::Void { .. } => {}
            }
            let mut outbox = self.outbox.borrow_mut();
            if let Some(event) = event.filter(|event| outbox.iter().all(|known| known.event_id != event.event_id)) {
                outbox.push(event.clone());
            }
            true
        })
    }
    fn webhook_seen(&self, event_id: &str) -> Result<bool, Error> {
        self.step(|| self.heard.borrow().contains(event_id))
    }
    fn note_webhook(&self, event_id: &str, _: &str) -> Result<(), Error> {
        self.step(|| {
            self.heard.borrow_mut().insert(event_id.to_owned());
        })
    }
    fn prune(&self) -> Result<u64, Error> {
        Ok(0)
    }
}

/// What befalls the next requests.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
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
pub(crate) struct FakePsp {
    pub(crate) faults: RefCell<VecDeque<Fault>>,
    pub(crate) intents: RefCell<Vec<(String, Value)>>,
    /// Newest first.
    pub(crate) refunds: RefCell<Vec<Value>>,
    /// The status of a refund when it is made.
    pub(crate) refund_status: Cell<Option<&'static str>>,
    pub(crate) kept: RefCell<BTreeMap<String, (u16, Value)>>,
    pub(crate) requests: Cell<u32>,
}

impl FakePsp {
    /// How often money was given back.
    pub(crate) fn given_back(&self) -> usize {
        self.refunds.borrow().iter().filter(|refund| refund["status"] == "succeeded").count()
    }

    fn refund(&self, form: &str) -> (u16, Value) {
        let id = form.split('&').find_map(|pair| pair.strip_prefix("payment_intent=")).unwrap();
        let intents = self.intents.borrow();
        if !intents.iter().any(|(known, intent)| known == id && intent["status"] == "succeeded") {
            return (404, json!({"error": {"type": "invalid_request_error", "code": "resource_missing"}}));
        }
        let mut refunds = self.refunds.borrow_mut();
        if refunds.iter().any(|refund| refund["payment_intent"] == id && refund["status"] != "failed") {
            return (400, json!({"error": {"type": "invalid_request_error", "code": "charge_already_refunded"}}));
        }
        let (number, status) = (refunds.len() + 1, self.refund_status.get().unwrap_or("succeeded"));
        let refund = json!({"id": format!("re_{number}"), "status": status, "amount": 2598, "payment_intent": id});
        refunds.insert(0, refund.clone());
        (200, refund)
    }

    /// Changes the status of a refund.
    pub(crate) fn decide_refund(&self, id: &str, status: &str) {
        let mut refunds = self.refunds.borrow_mut();
        refunds.iter_mut().find(|refund| refund["id"] == id).unwrap()["status"] = json!(status);
    }

    pub(crate) fn charges(&self) -> usize {
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

    pub(crate) fn change(&self, id: &str, status: &str) -> Value {
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
            if let Some(query) = request.path.strip_prefix("/v1/refunds?") {
                let id = query.split('&').find_map(|pair| pair.strip_prefix("payment_intent=")).unwrap();
                let all = self.refunds.borrow();
                let data: Vec<Value> = all.iter().filter(|refund| refund["payment_intent"] == id).cloned().collect();
                return answer((200, json!({ "data": data })), false);
            }
            let id = request.path.rsplit('/').next().unwrap();
            if request.path.starts_with("/v1/refunds/") {
                let all = self.refunds.borrow();
                return answer((200, all.iter().find(|refund| refund["id"] == id).unwrap().clone()), false);
            }
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
            _ if request.path == "/v1/refunds" => self.refund(form),
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
pub(crate) struct World {
    pub(crate) clock: Cell<u64>,
    pub(crate) errors: RefCell<Vec<String>>,
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
pub(crate) struct Scene {
    pub(crate) rows: Rows,
    pub(crate) psp: FakePsp,
    pub(crate) world: World,
}

impl Scene {
    pub(crate) fn with(faults: &[Fault]) -> Self {
        let scene = Self::default();
        scene.psp.faults.borrow_mut().extend(faults.iter().cloned());
        scene
    }
    pub(crate) fn payments(&self) -> Payments<&Rows, &FakePsp, &World> {
        let patience = Patience { request_timeout_ms: 1000, budget_ms: 3000, search_lag_ms: 60_000 };
        Payments { store: &self.rows, psp: Stripe { http: &self.psp }, surroundings: &self.world, patience }
    }
    pub(crate) fn charge(&self, method: &str) -> Outcome {
        self.payments().charge(&Charge {
            order_id: ORDER,
            amount: 2598,
            currency: "USD".parse().unwrap(),
            method: method.to_owned(),
        })
    }
    pub(crate) fn settle(&self) -> Outcome {
        self.payments().settle(&ORDER.to_string())
    }
    pub(crate) fn topics(&self) -> Vec<&'static str> {
        self.rows.outbox.borrow().iter().map(|event| event.topic).collect()
    }
    /// The refund's row: its state, and what was given back.
    pub(crate) fn refund(&self) -> Option<(RefundState, u64)> {
        self.rows.refunds.borrow().get(&ORDER).map(|(refund, amount, _)| (refund.state, *amount))
    }
    /// Time goes by until the sweep may take it up again, and it does.
    pub(crate) fn sweep(&self) -> Result<u32, Error> {
        if let Some((_, _, due)) = self.rows.refunds.borrow_mut().get_mut(&ORDER) {
            *due = true;
        }
        self.payments().tick("payment-sweep")
    }
    pub(crate) fn age(&self, ms: u64) {
        self.rows.rows.borrow_mut().get_mut(&ORDER).unwrap().age_ms = ms;
    }
}
