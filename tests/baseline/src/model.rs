//! Orders, verdicts and what is written about them, as values. Invariant: an order leaves PENDING once, with its event and its stored answer; no
//! I/O, no clock.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use swiftcart_domain::event::{self, OrderConfirmed, OrderFailed, OrderFailure, OrderPayment, PaymentStatus};
use swiftcart_domain::money::Currency;
use swiftcart_domain::outbox::{self, DecidedBy, OutboxEvent};
use swiftcart_domain::seal;
use uuid::Uuid;

/// The route part of an idempotency key's scope.
pub(crate) const CREATE_ROUTE: &str = "POST /orders";
/// How long a run may work on an order before another may take over, in seconds.
pub(crate) const LEASE_SECONDS: f64 = 30.0;
/// How long an idempotency key is kept, in seconds.
pub(crate) const KEY_RETENTION_SECONDS: f64 = 24.0 * 3600.0;
/// The PSP's name in answers and events.
pub(crate) const PROVIDER: &str = "stripe";

/// What a buyer asks for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    /// `(sku, quantity)`.
    pub(crate) lines: Vec<(String, u32)>,
    pub(crate) currency: String,
    pub(crate) payment_method: String,
}

impl Request {
    /// SHA-256 of the route and the parsed request, so that white space and the order of members do not matter.
    pub(crate) fn fingerprint(&self) -> Vec<u8> {
        // Strings and numbers always have a JSON text.
        Sha256::digest(serde_json::to_vec(&(CREATE_ROUTE, self)).unwrap_or_default()).to_vec()
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user_id: Uuid,
    pub(crate) email: Option<String>,
}

/// The W3C trace context of a call.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub(crate) parent: String,
    pub(crate) state: Option<String>,
}

impl Trace {
    /// 32 hex digits.
    pub(crate) fn id(&self) -> &str {
        outbox::trace_id(&self.parent)
    }
}

/// Where an order stands. Nothing is cancelled here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum State {
    Pending,
    Confirmed,
    Failed,
}

impl State {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Pending, "PENDING"), (Self::Confirmed, "CONFIRMED"), (Self::Failed, "FAILED")];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, text)| text)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(state, _)| *state)
    }
}

/// One line of an order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: u32,
    pub(crate) unit_price: u64,
}

/// Why an order failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// An order as its owner sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) state: State,
    pub(crate) lines: Vec<Line>,
    pub(crate) total_amount: u64,
    pub(crate) currency: Currency,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub(crate) created_at: i64,
    pub(crate) version: i64,
    pub(crate) failure: Option<Failure>,
}

impl Order {
    fn body(&self) -> event::Order {
        let item = |line: &Line| event::Item { sku: line.sku.clone(), qty: line.quantity, unit_price: line.unit_price };
        event::Order {
            order_id: self.id,
            user_id: self.user_id,
            items: self.lines.iter().map(item).collect(),
            total_amount: self.total_amount,
            currency: self.currency,
        }
    }
}

/// An order under the lease of the run that works on it.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) order: Order,
    pub(crate) payment_method: String,
    pub(crate) key: Option<String>,
    pub(crate) sealed_email: Option<Vec<u8>>,
    pub(crate) trace: Trace,
    /// Grows with each holder; the first run has 1.
    pub(crate) epoch: i64,
    /// The buyer was told 202.
    pub(crate) answered_pending: bool,
}

impl Held {
    /// Whether an earlier run may have reserved or charged.
    pub(crate) fn is_resumed(&self) -> bool {
        self.epoch > 1
    }
}

/// A new order with its idempotency key.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    pub(crate) held: Held,
    pub(crate) fingerprint: Vec<u8>,
}

/// What is known under an idempotency key.
#[derive(Clone, Debug)]
pub(crate) struct KeyRecord {
    pub(crate) fingerprint: Vec<u8>,
    /// The stored answer and its trace id.
    pub(crate) answer: Option<(Decision, String)>,
    /// Reading it was the first telling of the answer.
    pub(crate) first_told: bool,
    pub(crate) held: Held,
    /// Another run works on it for so many seconds at most; 0: nobody does.
    pub(crate) busy_seconds: i64,
}

/// The PSP's no, as it may be shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Decline {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// A line that is short.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Shortage {
    pub(crate) sku: String,
    pub(crate) requested: u32,
    pub(crate) available: u64,
}

/// What is to become of a PENDING order. Only a payment confirms.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Charged, with the PSP's id.
    Confirmed(String),
    /// Declined, with the PSP's id if it gave one.
    Declined(Decline, Option<String>),
    OutOfStock(Vec<Shortage>),
    /// Surely not charged, and never will be.
    PaymentUnavailable,
}

impl Verdict {
    /// Whether the PSP has heard of the order.
    pub(crate) fn after_charge(&self) -> bool {
        matches!(self, Self::Confirmed(_) | Self::Declined(..))
    }

    fn failure(&self) -> Option<Failure> {
        let (code, message) = match self {
            Self::Confirmed(_) => return None,
            Self::Declined(decline, _) => ("payment_declined", decline.message.as_str()),
            Self::OutOfStock(_) => ("out_of_stock", "There is not enough stock for this order."),
            Self::PaymentUnavailable => ("payment_unavailable", "The payment could not be made. Nothing was charged."),
        };
        Some(Failure { code: code.to_owned(), message: message.to_owned() })
    }

    fn payment(&self) -> Option<(&str, PaymentStatus)> {
        match self {
            Self::Confirmed(id) => Some((id, PaymentStatus::Succeeded)),
            Self::Declined(_, Some(id)) => Some((id, PaymentStatus::Failed)),
            _ => None,
        }
    }
}

/// What was decided, as it is stored under the idempotency key and told again.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub(crate) enum Decision {
    /// 201.
    Confirmed { order: Order },
    /// 402.
    Declined { order: Order, decline: Decline },
    /// 409.
    OutOfStock { order: Order, shortages: Vec<Shortage> },
    /// 409, after a 202.
    Failed { order: Order },
    /// 202.
    Pending { order: Order },
}

/// The answer to a create.
#[derive(Clone, Debug)]
pub(crate) struct Creation {
    pub(crate) decision: Decision,
    /// Told before under this key.
    pub(crate) replayed: bool,
    /// Of the request that was decided.
    pub(crate) trace_id: String,
}

/// Everything that is written when an order is decided.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) order: Order,
    pub(crate) epoch: i64,
    pub(crate) payment_id: Option<String>,
    pub(crate) key: Option<String>,
    /// JSON of the answer; none frees the key.
    pub(crate) answer: Option<String>,
    pub(crate) trace_id: String,
    pub(crate) event: OutboxEvent,
    /// None: `payment-unavailable`.
    pub(crate) decision: Option<Decision>,
}

/// The transition out of PENDING with its event and its stored answer.
pub(crate) fn settle(
    held: &Held,
    verdict: &Verdict,
    trace: &Trace,
    now_micros: i64,
) -> Result<Settlement, serde_json::Error> {
    let failure = verdict.failure();
    let state = if failure.is_none() { State::Confirmed } else { State::Failed };
    let order = Order { state, failure, version: held.order.version + 1, ..held.order.clone() };
    let decision = match verdict {
        Verdict::Confirmed(_) => Some(Decision::Confirmed { order: order.clone() }),
        Verdict::Declined(decline, _) => Some(Decision::Declined { order: order.clone(), decline: decline.clone() }),
        Verdict::OutOfStock(shortages) => {
            Some(Decision::OutOfStock { order: order.clone(), shortages: shortages.clone() })
        }
        Verdict::PaymentUnavailable if !held.answered_pending => None,
        Verdict::PaymentUnavailable => Some(Decision::Failed { order: order.clone() }),
    };
    let answer = match (&held.key, &decision) {
        (Some(_), Some(decision)) => Some(serde_json::to_string(decision)?),
        _ => None,
    };
    Ok(Settlement {
        epoch: held.epoch,
        payment_id: verdict.payment().map(|(id, _)| id.to_owned()),
        key: held.key.clone(),
        answer,
        trace_id: trace.id().to_owned(),
        event: event_of(held, &order, verdict, trace, now_micros)?,
        order,
        decision,
    })
}

fn event_of(
    held: &Held,
    order: &Order,
    verdict: &Verdict,
    trace: &Trace,
    now_micros: i64,
) -> Result<OutboxEvent, serde_json::Error> {
    let payment = verdict.payment().map(|(id, status)| OrderPayment {
        provider: PROVIDER.to_owned(),
        payment_id: id.to_owned(),
        status,
    });
    let (parent, state) = (trace.parent.as_str(), trace.state.as_deref());
    let event = match (&order.failure, payment) {
        (None, Some(payment)) => {
            OutboxEvent::new(&OrderConfirmed::new(now_micros, order.body(), payment), parent, state)
        }
        (failure, payment) => {
            let code = failure.as_ref().map(|failure| failure.code.clone()).unwrap_or_default();
            let failed = OrderFailed::new(now_micros, order.body(), payment, OrderFailure { code });
            OutboxEvent::new(&failed, parent, state)
        }
    }?;
    let event = event.with_header(outbox::DECIDED_BY, DecidedBy::Request.as_str());
    Ok(match &held.sealed_email {
        Some(sealed) => event.with_header(seal::HEADER, seal::to_header(sealed)),
        None => event,
    })
}
