//! Stripe's protocol: PaymentIntents in one step. Invariant: an answer is classed by what it proves about *this request*; what an earlier request
//! under the same key may have done is the caller's to remember.
//!
//! Facts used (<https://docs.stripe.com/api/idempotent_requests>, <https://docs.stripe.com/api/errors>): for a key Stripe keeps status and body of
//! the first request that began to execute, also of a 402 or 500, for at least 24 hours, and replays them with `Idempotent-Replayed: true`. Nothing is
//! kept of requests that failed validation or met a concurrent request with the same key (409). Search lags behind writes, by a minute at most usually.

pub mod refunds;

use std::fmt::Write as _;

use serde::Deserialize;
use uuid::Uuid;

use crate::model::{AUTHENTICATION_REQUIRED, Charge, GENERIC_DECLINE, INVALID_METHOD};
use crate::ports::{Http, NoAnswer, Request, Response};

/// What an answer proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Charged.
    Succeeded {
        /// The PSP's id.
        payment_id: String,
    },
    /// Declined for good.
    Declined {
        /// As the PSP says it.
        psp_code: String,
        /// If the PSP gave one.
        payment_id: Option<String>,
    },
    /// The bank wants the buyer; the intent is open.
    RequiresAction {
        /// The intent.
        payment_id: String,
    },
    /// This request charged nothing.
    Refused {
        /// For people.
        reason: String,
        /// Our configuration or request is wrong: a person must look.
        ours: bool,
    },
    /// This request may or may not have charged.
    Unknown {
        /// For people.
        reason: String,
        /// The intent, if one was made.
        payment_id: Option<String>,
    },
    /// The request under this key is over, broke inside the PSP, and will never be executed again; a charge may have been made.
    Broken {
        /// For people.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    last_payment_error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    payment_intent: Option<Box<Intent>>,
}

#[derive(Deserialize)]
struct ErrorEnvelope {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct SearchResult {
    data: Vec<Intent>,
}

/// The PSP over HTTP.
pub struct Stripe<H> {
    /// The way there.
    pub http: H,
}

impl<H: Http> Stripe<H> {
    /// Charges, or reads back what an earlier request under the same key came to.
    pub fn pay(&self, charge: &Charge, timeout_ms: u64) -> Verdict {
        let mut form = String::new();
        let amount = charge.amount.to_string();
        let order_id = charge.order_id.to_string();
        for (name, value) in [
            ("amount", amount.as_str()),
            ("currency", &charge.currency.as_str().to_ascii_lowercase()),
            ("payment_method", &charge.method),
            ("payment_method_types[]", "card"),
            ("confirm", "true"),
            ("metadata[order_id]", &order_id),
        ] {
            append_pair(&mut form, name, value);
        }
        let request = Request {
            form: Some(form),
            path: "/v1/payment_intents".to_owned(),
            idempotency_key: Some(format!("order-{order_id}-charge")),
            timeout_ms,
        };
        self.answer(&request)
    }

    /// Reads an intent back.
    pub fn read(&self, payment_id: &str, timeout_ms: u64) -> Verdict {
        let path = format!("/v1/payment_intents/{}", encoded(payment_id));
        self.answer(&Request { form: None, path, idempotency_key: None, timeout_ms })
    }

    /// Cancels an intent that waits for the buyer: nobody will come.
    pub fn cancel(&self, order_id: Uuid, payment_id: &str, timeout_ms: u64) -> Verdict {
        let path = format!("/v1/payment_intents/{}/cancel", encoded(payment_id));
        let idempotency_key = Some(format!("order-{order_id}-cancel"));
        self.answer(&Request { form: Some(String::new()), path, idempotency_key, timeout_ms })
    }

    /// Looks for an order's intent; `None` when there is none that search has seen.
    pub fn find(&self, order_id: Uuid, timeout_ms: u64) -> Option<Verdict> {
        let mut query = String::new();
        append_pair(&mut query, "query", &format!("metadata['order_id']:'{order_id}'"));
        let request = Request {
            form: None,
            path: format!("/v1/payment_intents/search?{query}"),
            idempotency_key: None,
            timeout_ms,
        };
        let unknown = |reason: String| Some(Verdict::Unknown { reason, payment_id: None });
        match self.http.send(&request) {
            Ok(response) if response.status == 200 => match serde_json::from_slice::<SearchResult>(&response.body) {
                // Our one key makes at most one intent; were there more, one that charged decides.
                Ok(found) => {
                    let charged = found.data.iter().find(|intent| intent.status == "succeeded");
                    charged.or(found.data.first()).map(of_intent)
                }
                Err(error) => unknown(format!("the PSP's search result is not as documented: {error}")),
            },
            Ok(response) => unknown(format!("the PSP's search answered {}", response.status)),
            Err(NoAnswer::NotSent(reason) | NoAnswer::Uncertain(reason)) => unknown(reason),
        }
    }

    fn answer(&self, request: &Request) -> Verdict {
        match self.http.send(request) {
            Ok(response) => classify(&response),
            Err(NoAnswer::NotSent(reason)) => Verdict::Refused { reason, ours: false },
            Err(NoAnswer::Uncertain(reason)) => Verdict::Unknown { reason, payment_id: None },
        }
    }
}

/// What a response proves.
fn classify(response: &Response) -> Verdict {
    let status = response.status;
    if (200..300).contains(&status) {
        return match serde_json::from_slice::<Intent>(&response.body) {
            Ok(intent) => of_intent(&intent),
            Err(error) => {
                Verdict::Unknown { reason: format!("the PSP's answer is not as documented: {error}"), payment_id: None }
            }
        };
    }
    let error = serde_json::from_slice::<ErrorEnvelope>(&response.body).ok().map(|envelope| envelope.error);
    let code = error.as_ref().and_then(|error| error.code.as_deref()).unwrap_or("-");
    let kind = error.as_ref().and_then(|error| error.kind.as_deref()).unwrap_or("-");
    let param = error.as_ref().and_then(|error| error.param.as_deref()).unwrap_or("-");
    let reason = format!("the PSP answered {status}, type {kind}, code {code}, parameter {param}");
    match status {
        402 => of_card_error(error.as_ref(), reason),
        // Not of a payment but of a cancel that came too late: the intent tells how it stands.
        400 if code == "payment_intent_unexpected_state" => {
            match error.as_ref().and_then(|error| error.payment_intent.as_deref()) {
                Some(intent) => of_intent(intent),
                None => Verdict::Unknown { reason, payment_id: None },
            }
        }
        // The key was used with other parameters: an earlier request may have charged those.
        400 if kind == "idempotency_error" => Verdict::Unknown { reason, payment_id: None },
        400 if param == "payment_method" => Verdict::Declined { psp_code: INVALID_METHOD.to_owned(), payment_id: None },
        // 429 is a rate limit, except for this code: another request holds the object.
        429 if code == "lock_timeout" => Verdict::Unknown { reason, payment_id: None },
        429 => Verdict::Refused { reason, ours: false },
        // Another request under the same key is running.
        409 => Verdict::Unknown { reason, payment_id: None },
        400..=499 => Verdict::Refused { reason, ours: true },
        // A 5xx tells nothing: a proxy may have sent it after the PSP had the request. A replayed one tells that the execution is over.
        _ if response.replayed => Verdict::Broken { reason },
        _ => Verdict::Unknown { reason, payment_id: None },
    }
}

/// A 402. The intent goes back to `requires_payment_method`, and nobody will give it another method.
fn of_card_error(error: Option<&ErrorBody>, reason: String) -> Verdict {
    let Some(error) = error.filter(|error| error.kind.as_deref() == Some("card_error")) else {
        return Verdict::Unknown { reason, payment_id: None };
    };
    let payment_id = error.payment_intent.as_ref().map(|intent| intent.id.clone());
    Verdict::Declined { psp_code: decline_code(error), payment_id }
}

/// The more exact of the two codes: `decline_code` tells why when `code` is only `card_declined`.
fn decline_code(error: &ErrorBody) -> String {
    match (error.code.as_deref(), error.decline_code.as_deref()) {
        (None | Some(GENERIC_DECLINE), Some(decline_code)) => decline_code.to_owned(),
        (Some(code), _) => code.to_owned(),
        (None, None) => GENERIC_DECLINE.to_owned(),
    }
}

/// How an intent stands (<https://docs.stripe.com/payments/paymentintents/lifecycle>).
fn of_intent(intent: &Intent) -> Verdict {
    let payment_id = intent.id.clone();
    match intent.status.as_str() {
        "succeeded" => Verdict::Succeeded { payment_id },
        "requires_action" | "requires_confirmation" => Verdict::RequiresAction { payment_id },
        // Only we cancel, and only what would have needed the buyer.
        "canceled" => Verdict::Declined { psp_code: AUTHENTICATION_REQUIRED.to_owned(), payment_id: Some(payment_id) },
        "requires_payment_method" => {
            let psp_code = intent.last_payment_error.as_ref().map_or_else(|| GENERIC_DECLINE.to_owned(), decline_code);
            Verdict::Declined { psp_code, payment_id: Some(payment_id) }
        }
        status => {
            Verdict::Unknown { reason: format!("the payment is in status {status}"), payment_id: Some(payment_id) }
        }
    }
}

fn append_pair(form: &mut String, name: &str, value: &str) {
    if !form.is_empty() {
        form.push('&');
    }
    form.push_str(&encoded(name));
    form.push('=');
    form.push_str(&encoded(value));
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
