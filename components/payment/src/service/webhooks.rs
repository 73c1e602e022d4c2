//! What the PSP tells by itself. Invariant: an event is only ever a hint. It may come twice, late, or before what happened earlier, so its state is
//! not looked at: the PSP is asked how things stand, and the row decides whether that is news.

use serde::Deserialize;
use swiftcart_domain::ids;

use super::Payments;
use crate::error::{Error, WebhookError};
use crate::model::{Outcome, Record, State};
use crate::ports::{Http, Store, Surroundings};
use crate::psp::Verdict;
use crate::refund::{self, PspRefund, PspRefundStatus, RefundEnd, RefundState, Sum};
use crate::signature;

const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Deserialize)]
struct Envelope {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

/// As much of an intent, a charge or a refund as we look at.
#[derive(Deserialize)]
struct Object {
    id: Option<String>,
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    order_id: Option<String>,
}

impl<S: Store, H: Http, O: Surroundings> Payments<S, H, O> {
    /// Handles one event of the PSP, once per event id. What means nothing to us is fine.
    ///
    /// # Errors
    /// [`WebhookError`]; after all but `BadSignature` and `Invalid` the PSP should deliver it again.
    pub fn receive(&self, signature: &str, body: &[u8], secrets: &[&str]) -> Result<(), WebhookError> {
        let now_seconds = self.surroundings.now_micros().div_euclid(MICROS_PER_SECOND);
        if !signature::holds(signature, body, secrets, now_seconds) {
            return Err(WebhookError::BadSignature);
        }
        let event: Envelope =
            serde_json::from_slice(body).map_err(|error| WebhookError::Invalid(format!("not an event: {error}")))?;
        if event.id.is_empty() || event.id.len() > 255 {
            return Err(WebhookError::Invalid("the event has no id".to_owned()));
        }
        let object = event.data.object;
        match event.kind.as_str() {
            "payment_intent.succeeded" | "payment_intent.payment_failed" | "payment_intent.canceled" => {
                let Some(payment_id) = object.id else {
                    return Err(WebhookError::Invalid("the intent has no id".to_owned()));
                };
                let order_id = object.metadata.and_then(|metadata| metadata.order_id);
                if !self.store.webhook_seen(&event.id)? {
                    self.intent_changed(&payment_id, order_id.as_deref())?;
                    self.store.note_webhook(&event.id, &event.kind)?;
                }
            }
            "charge.refunded" | "charge.refund.updated" | "refund.created" | "refund.updated" | "refund.failed" => {
                // Charges that were not made through an intent are not ours.
                let Some(payment_id) = object.payment_intent else { return Ok(()) };
                if !self.store.webhook_seen(&event.id)? {
                    self.refunds_changed(&payment_id)?;
                    self.store.note_webhook(&event.id, &event.kind)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// An intent may have been decided.
    fn intent_changed(&self, payment_id: &str, order_id: Option<&str>) -> Result<(), WebhookError> {
        let record = match (self.store.find_by_payment(payment_id)?, order_id.and_then(ids::parse_order_id)) {
            (Some(record), _) => Some(record),
            // The row may not know its intent yet.
            (None, Some(order_id)) => self.store.find(order_id)?,
            (None, None) => None,
        };
        // Another shop's on the same account. No tombstone: an event must not decide orders that are not there.
        let Some(record) = record else { return Ok(()) };
        match record.state {
            State::Started | State::Unknown => match self.settle(&record.order_id.to_string()) {
                Outcome::Unknown(reason) => Err(WebhookError::Unavailable(reason)),
                _ => Ok(()),
            },
            State::Succeeded if record.payment_id.as_deref() == Some(payment_id) => Ok(()),
            State::Succeeded | State::Declined | State::Unavailable => self.not_expected(&record, payment_id),
        }
    }

    /// An intent that our books hold for not charged. If the PSP did charge it, the money goes back, and a person is told.
    fn not_expected(&self, record: &Record, payment_id: &str) -> Result<(), WebhookError> {
        let order_id = record.order_id;
        match self.psp.read(payment_id, self.patience.request_timeout_ms) {
            Verdict::Succeeded { .. } if record.state == State::Succeeded => {
                let known = record.payment_id.as_deref().unwrap_or_default();
                let text =
                    format!("order {order_id} was charged twice: {known} and {payment_id}; give the second back");
                self.surroundings.log_error(&text);
                Ok(())
            }
            Verdict::Succeeded { .. } => {
                let text =
                    format!("order {order_id} was charged by {payment_id} after it was given up; it is given back");
                self.surroundings.log_error(&text);
                self.store.want_refund_of(order_id, payment_id)?;
                match self.store.take_refund(order_id)? {
                    Some(refund) => Ok(self.pursue(&refund)?),
                    None => Ok(()),
                }
            }
            Verdict::Unknown { reason, payment_id: None } | Verdict::Refused { reason, .. } => {
                Err(WebhookError::Unavailable(reason))
            }
            _ => Ok(()),
        }
    }

    /// The refunds of an intent may have changed.
    fn refunds_changed(&self, payment_id: &str) -> Result<(), WebhookError> {
        let Some(record) = self.store.find_by_payment(payment_id)? else { return Ok(()) };
        let found =
            self.psp.refunds_of(payment_id, self.patience.request_timeout_ms).map_err(WebhookError::Unavailable)?;
        let known = self.store.find_refund(record.order_id)?;
        match known {
            None => Ok(self.by_hand(&record, payment_id, &found)?),
            Some(known) if matches!(known.state, RefundState::Pending | RefundState::Failed) => {
                match refund::sum(&found) {
                    Sum::GivenBack(refund_id, amount) if amount >= record.owed() => {
                        Ok(self.end(&record, payment_id, &RefundEnd::Succeeded { refund_id, amount }, known.state)?)
                    }
                    Sum::Failed(refund_id, reason) if known.refund_id.as_ref() == Some(&refund_id) => {
                        let end = RefundEnd::Failed { refund_id: Some(refund_id), reason };
                        Ok(self.end(&record, payment_id, &end, known.state)?)
                    }
                    // The sweep asks for what is missing.
                    _ => Ok(()),
                }
            }
            // What we held for given back has come back: the buyer's bank refused it.
            Some(known) => {
                let ours = found.iter().find(|refund| known.refund_id.as_ref() == Some(&refund.id));
                match ours.filter(|refund| refund.status == PspRefundStatus::Failed) {
                    Some(failed) if !given_back(&record, &found) => {
                        let reason = failed.failure_reason.clone().unwrap_or_else(|| "no reason given".to_owned());
                        let end = RefundEnd::Failed { refund_id: Some(failed.id.clone()), reason };
                        Ok(self.end(&record, payment_id, &end, known.state)?)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// A refund that no event of ours wanted: somebody made it in the PSP's own console. A whole one is told to the order; part of one is only told
    /// to a person, for the order can have one refund and may need it for the rest.
    fn by_hand(&self, record: &Record, payment_id: &str, found: &[PspRefund]) -> Result<(), Error> {
        let Sum::GivenBack(refund_id, amount) = refund::sum(found) else { return Ok(()) };
        let order_id = record.order_id;
        self.surroundings.log_error(&format!("{amount} of the charge of order {order_id} were given back by hand"));
        if record.state == State::Succeeded && amount >= record.owed() {
            self.store.want_refund_of(order_id, payment_id)?;
            let end = RefundEnd::Succeeded { refund_id, amount };
            self.end(record, payment_id, &end, RefundState::Pending)?;
        }
        Ok(())
    }
}

fn given_back(record: &Record, found: &[PspRefund]) -> bool {
    matches!(refund::sum(found), Sum::GivenBack(_, amount) if amount >= record.owed())
}
