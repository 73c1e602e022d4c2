//! Stripe's refunds. Invariant: a refund is always of all that is left of a charge, so that Stripe itself refuses a second one
//! (`charge_already_refunded`) whatever became of a key: asking once too often never gives money back twice.

use serde::Deserialize;
use uuid::Uuid;

use super::{ErrorEnvelope, Stripe, append_pair, encoded};
use crate::ports::{Http, NoAnswer, Request, Response};
use crate::refund::{PspRefund, PspRefundStatus};

/// What an answer proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundVerdict {
    /// There is a refund, in this state.
    Found(PspRefund),
    /// All of the charge was given back before: the list of refunds tells by which.
    AlreadyRefunded,
    /// The request under this key is over and will never be executed again; a refund may have been made.
    Broken(String),
    /// Refused, and asking again will not help.
    Refused(String),
    /// Not known, or not now.
    Unknown {
        /// For people.
        reason: String,
        /// Our configuration is wrong: a person must look.
        ours: bool,
    },
}

#[derive(Deserialize)]
struct RefundBody {
    id: String,
    status: Option<String>,
    amount: u64,
    failure_reason: Option<String>,
}

#[derive(Deserialize)]
struct RefundList {
    data: Vec<RefundBody>,
}

impl From<RefundBody> for PspRefund {
    fn from(body: RefundBody) -> Self {
        let status = match body.status.as_deref() {
            Some("succeeded") => PspRefundStatus::Succeeded,
            Some("failed" | "canceled") => PspRefundStatus::Failed,
            // `pending`, `requires_action`, and whatever Stripe may add: not decided.
            _ => PspRefundStatus::Pending,
        };
        Self { id: body.id, status, amount: body.amount, failure_reason: body.failure_reason }
    }
}

impl<H: Http> Stripe<H> {
    /// Gives back all that is left of an intent's charge, or reads back what an earlier request under the same key came to.
    pub fn refund(&self, order_id: Uuid, payment_id: &str, key_number: i32, timeout_ms: u64) -> RefundVerdict {
        let mut form = String::new();
        append_pair(&mut form, "payment_intent", payment_id);
        append_pair(&mut form, "metadata[order_id]", &order_id.to_string());
        self.refund_answer(&Request {
            form: Some(form),
            path: "/v1/refunds".to_owned(),
            idempotency_key: Some(format!("order-{order_id}-refund-{key_number}")),
            timeout_ms,
        })
    }

    /// Reads a refund back.
    pub fn read_refund(&self, refund_id: &str, timeout_ms: u64) -> RefundVerdict {
        let path = format!("/v1/refunds/{}", encoded(refund_id));
        self.refund_answer(&Request { form: None, path, idempotency_key: None, timeout_ms })
    }

    /// All refunds of an intent, newest first.
    ///
    /// # Errors
    /// Why they could not be read, for people.
    pub fn refunds_of(&self, payment_id: &str, timeout_ms: u64) -> Result<Vec<PspRefund>, String> {
        let mut query = String::new();
        append_pair(&mut query, "payment_intent", payment_id);
        append_pair(&mut query, "limit", "100");
        let request = Request { form: None, path: format!("/v1/refunds?{query}"), idempotency_key: None, timeout_ms };
        match self.http.send(&request) {
            Ok(response) if response.status == 200 => serde_json::from_slice::<RefundList>(&response.body)
                .map(|list| list.data.into_iter().map(PspRefund::from).collect())
                .map_err(|error| format!("the PSP's list of refunds is not as documented: {error}")),
            Ok(response) => Err(format!("the PSP's list of refunds answered {}", response.status)),
            Err(NoAnswer::NotSent(reason) | NoAnswer::Uncertain(reason)) => Err(reason),
        }
    }

    fn refund_answer(&self, request: &Request) -> RefundVerdict {
        match self.http.send(request) {
            Ok(response) => classify(&response),
            Err(NoAnswer::NotSent(reason) | NoAnswer::Uncertain(reason)) => {
                RefundVerdict::Unknown { reason, ours: false }
            }
        }
    }
}

fn classify(response: &Response) -> RefundVerdict {
    let status = response.status;
    if (200..300).contains(&status) {
        return match serde_json::from_slice::<RefundBody>(&response.body) {
            Ok(body) => RefundVerdict::Found(body.into()),
            Err(error) => {
                let reason = format!("the PSP's refund is not as documented: {error}");
                RefundVerdict::Unknown { reason, ours: false }
            }
        };
    }
    let error = serde_json::from_slice::<ErrorEnvelope>(&response.body).ok().map(|envelope| envelope.error);
    let code = error.as_ref().and_then(|error| error.code.as_deref()).unwrap_or("-");
    let kind = error.as_ref().and_then(|error| error.kind.as_deref()).unwrap_or("-");
    let reason = format!("the PSP answered a refund with {status}, type {kind}, code {code}");
    match status {
        400 if code == "charge_already_refunded" => RefundVerdict::AlreadyRefunded,
        // The key was used with other parameters, by an earlier version of us say: it will never do for these.
        400 if kind == "idempotency_error" => RefundVerdict::Broken(reason),
        // A wrong key of the API is put right by a person, and the refund is still owed.
        401 | 403 => RefundVerdict::Unknown { reason, ours: true },
        409 | 429 => RefundVerdict::Unknown { reason, ours: false },
        400..=499 => RefundVerdict::Refused(reason),
        _ if response.replayed => RefundVerdict::Broken(reason),
        _ => RefundVerdict::Unknown { reason, ours: false },
    }
}
