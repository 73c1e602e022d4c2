//! Orders, verdicts and decisions as values; no I/O, no clock. Invariant: PENDING -> CONFIRMED | FAILED is the only transition made here,
//! and each one makes the version grow by one.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use swiftcart_domain::event::{self, OrderConfirmed, OrderFailed, OrderFailure, OrderPayment, PaymentStatus};
use swiftcart_domain::money::Currency;
use swiftcart_domain::outbox::{self, DecidedBy, OutboxEvent};
use swiftcart_domain::seal;
use uuid::Uuid;

/// The route part of an idempotency key's scope.
pub const CREATE_ROUTE: &str = "POST /orders";
/// How long a run may work on an order before another may take over, in seconds. Longer than the deadline of a request (10 s).
pub const LEASE_SECONDS: u32 = 30;
/// How long the sweep waits after a lease has ended, in seconds, so that a client that tries again goes first.
pub const SWEEP_GRACE_SECONDS: u32 = 5;
/// How long an idempotency key is kept, in seconds.
pub const KEY_RETENTION_SECONDS: u32 = 24 * 3600;
/// How long a published outbox row is kept, in seconds.
pub const OUTBOX_RETENTION_SECONDS: u32 = 24 * 3600;
/// An order that is PENDING for longer raises an alarm; microseconds.
pub const ALARM_AFTER_MICROS: i64 = 5 * 60 * 1_000_000;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum State {
    /// Not decided.
    Pending,
    /// Paid for.
    Confirmed,
    /// Came to nothing.
    Failed,
    /// Taken back by the buyer.
    Cancelled,
}

impl State {
    /// Its text in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// From its text in the database.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Confirmed, Self::Failed, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The product.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// Minor units.
    pub unit_price: u64,
}

/// Why an order failed, as the buyer sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// snake_case.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// What becomes of the money of an order that was paid for and then taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    /// How far it is.
    pub state: RefundState,
    /// Minor units.
    pub amount: u64,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    /// Asked for.
    Pending,
    /// Given.
    Succeeded,
    /// Refused.
    Failed,
}

impl RefundState {
    /// From its text in the database.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "pending" => Some(Self::Pending),
            "succeeded" => Some(Self::Succeeded),
            "failed" => Some(Self::Failed),
            _ => None,
        }
    }
}

/// An order as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// UUIDv7.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// Where it stands.
    pub state: State,
    /// In the order of the request.
    pub lines: Vec<Line>,
    /// Minor units.
    pub total_amount: u64,
    /// ISO 4217.
    pub currency: Currency,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// Grows with every change.
    pub version: u64,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What becomes of the money.
    pub refund: Option<Refund>,
}

/// The W3C trace context of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<String>,
}

impl Trace {
    /// 32 hex digits, or empty.
    #[must_use]
    pub fn id(&self) -> String {
        outbox::trace_id(&self.parent).to_owned()
    }
}

/// An order with what a run needs to go on with it, and the epoch of the lease under which it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The order.
    pub order: Order,
    /// The PSP's name of the payment method.
    pub payment_method: String,
    /// The idempotency key of the create.
    pub key: Option<String>,
    /// The buyer's sealed mail address.
    pub sealed_email: Option<Vec<u8>>,
    /// The trace of the create.
    pub trace: Trace,
    /// Grows with each holder; the first run has 1.
    pub epoch: i64,
}

impl Held {
    /// Whether an earlier run may have reserved or charged.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.epoch > 1
    }
}

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// `(sku, quantity)`.
    pub lines: Vec<(String, u32)>,
    /// ISO 4217, as it was sent.
    pub currency: String,
    /// The PSP's name of the payment method.
    pub payment_method: String,
}

impl Request {
    /// SHA-256 of the route and the parsed request, so that white space and the order of members do not matter.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        // A tuple of strings and numbers always has a JSON text.
        let canonical = serde_json::to_vec(&(CREATE_ROUTE, self)).unwrap_or_default();
        Sha256::digest(canonical).to_vec()
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The buyer.
    pub user_id: Uuid,
    /// In clear only here and while it is sealed.
    pub email: Option<String>,
}

/// A payment as the PSP knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// `stripe`.
    pub provider: String,
    /// The PSP's id.
    pub payment_id: String,
}

/// The PSP's no, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// The decline code.
    pub code: String,
    /// A sentence.
    pub message: String,
}

/// A line that is short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    /// The product.
    pub sku: String,
    /// How many were asked for.
    pub requested: u32,
    /// How many there are.
    pub available: u64,
}

/// What is to become of a PENDING order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Charged.
    Confirmed(Payment),
    /// The PSP said no.
    Declined(Decline, Option<Payment>),
    /// Nothing reserved, nothing charged.
    OutOfStock(Vec<Shortage>),
    /// Surely not charged, and never will be.
    PaymentUnavailable,
}

impl Verdict {
    /// Whether the PSP has heard of the order, so that a failed write leaves something to settle.
    #[must_use]
    pub fn after_charge(&self) -> bool {
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

    fn payment(&self) -> Option<(&Payment, PaymentStatus)> {
        match self {
            Self::Confirmed(payment) => Some((payment, PaymentStatus::Succeeded)),
            Self::Declined(_, Some(payment)) => Some((payment, PaymentStatus::Failed)),
            _ => None,
        }
    }
}

/// What was decided, as it is stored under the idempotency key and told again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// 201.
    Confirmed {
        /// The order as it was then.
        order: Order,
    },
    /// 402.
    Declined {
        /// The order as it was then.
        order: Order,
        /// Why.
        decline: Decline,
    },
    /// 409 `out-of-stock`.
    OutOfStock {
        /// The order as it was then.
        order: Order,
        /// What is short.
        shortages: Vec<Shortage>,
    },
    /// 409 `order-failed`.
    Failed {
        /// The order as it was then.
        order: Order,
    },
    /// 202.
    Pending {
        /// The order.
        order: Order,
    },
}

/// The answer to a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// What was decided.
    pub decision: Decision,
    /// Told before under this key.
    pub replayed: bool,
    /// Of the request that was decided; 32 hex digits.
    pub trace_id: String,
}

/// What happens to the idempotency key when its order is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// There is no key.
    None,
    /// The answer is stored.
    Answer {
        /// JSON of a [`Decision`].
        decision: String,
        /// Of the request that was decided.
        trace_id: String,
        /// The deciding request tells it itself.
        told: bool,
    },
    /// The key is free again.
    Remove,
}

/// Everything that is written when an order is decided: one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The order as it will be.
    pub order: Order,
    /// Only the holder of this epoch may write it.
    pub epoch: i64,
    /// Who decided.
    pub by: DecidedBy,
    /// The payment, if the PSP gave an id.
    pub payment: Option<Payment>,
    /// The idempotency key of the create.
    pub key: Option<String>,
    /// What happens to the key.
    pub key_change: KeyChange,
    /// The event.
    pub event: OutboxEvent,
    /// What the buyer is told. None: `payment-unavailable`, the same key may try again.
    pub decision: Option<Decision>,
}

/// An order cannot be decided twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// It is not PENDING.
    #[error("the order is {0:?}, not PENDING")]
    NotPending(State),
    /// The event or the answer has no JSON text.
    #[error("no JSON: {0}")]
    Json(String),
}

/// The transition out of PENDING, with its event and its stored answer.
///
/// `trace` is the trace of the request that is decided; `now` counts microseconds since 1970-01-01T00:00:00Z.
///
/// # Errors
/// When the order is not PENDING.
pub fn settle(
    held: &Held,
    verdict: &Verdict,
    by: DecidedBy,
    trace: &Trace,
    now: i64,
) -> Result<Settlement, SettleError> {
    if held.order.state != State::Pending {
        return Err(SettleError::NotPending(held.order.state));
    }
    let failure = verdict.failure();
    let state = if failure.is_none() { State::Confirmed } else { State::Failed };
    let order = Order { state, failure, version: held.order.version + 1, ..held.order.clone() };
    let decision = match verdict {
        Verdict::Confirmed(_) => Some(Decision::Confirmed { order: order.clone() }),
        Verdict::Declined(decline, _) => Some(Decision::Declined { order: order.clone(), decline: decline.clone() }),
        Verdict::OutOfStock(shortages) => {
            Some(Decision::OutOfStock { order: order.clone(), shortages: shortages.clone() })
        }
        // The request that meets this tells 503 and frees its key; once nobody waits the key keeps the failure.
        Verdict::PaymentUnavailable if by == DecidedBy::Request => None,
        Verdict::PaymentUnavailable => Some(Decision::Failed { order: order.clone() }),
    };
    let key_change = match (&held.key, &decision) {
        (None, _) => KeyChange::None,
        (Some(_), None) => KeyChange::Remove,
        (Some(_), Some(decision)) => KeyChange::Answer {
            decision: serde_json::to_string(decision).map_err(|error| SettleError::Json(error.to_string()))?,
            trace_id: trace.id(),
            told: by == DecidedBy::Request,
        },
    };
    let event =
        event_of(held, &order, verdict, by, trace, now).map_err(|error| SettleError::Json(error.to_string()))?;
    let payment = verdict.payment().map(|(payment, _)| payment.clone());
    Ok(Settlement { order, epoch: held.epoch, by, payment, key: held.key.clone(), key_change, event, decision })
}

fn event_of(
    held: &Held,
    order: &Order,
    verdict: &Verdict,
    by: DecidedBy,
    trace: &Trace,
    now: i64,
) -> Result<OutboxEvent, serde_json::Error> {
    let items = order
        .lines
        .iter()
        .map(|line| event::Item { sku: line.sku.clone(), qty: line.quantity, unit_price: line.unit_price })
        .collect();
    let body = event::Order {
        order_id: order.id,
        user_id: order.user_id,
        items,
        total_amount: order.total_amount,
        currency: order.currency,
    };
    let payment = verdict.payment().map(|(payment, status)| OrderPayment {
        provider: payment.provider.clone(),
        payment_id: payment.payment_id.clone(),
        status,
    });
    let event = match (&order.failure, payment) {
        (None, Some(payment)) => {
            OutboxEvent::new(&OrderConfirmed::new(now, body, payment), &trace.parent, trace.state.as_deref())
        }
        (failure, payment) => {
            let code = failure.as_ref().map(|failure| failure.code.clone()).unwrap_or_default();
            OutboxEvent::new(
                &OrderFailed::new(now, body, payment, OrderFailure { code }),
                &trace.parent,
                trace.state.as_deref(),
            )
        }
    }?
    .with_header(outbox::DECIDED_BY, by.as_str());
    Ok(match &held.sealed_email {
        Some(sealed) => event.with_header(seal::HEADER, seal::to_header(sealed)),
        None => event,
    })
}

/// How long to leave an order alone whose payment is still unknown, in seconds, after the sweep's n-th look (from 1); the grace comes on top.
#[must_use]
pub fn postpone_seconds(attempt: u32) -> u32 {
    const LONGEST: u32 = 55;
    let doublings = attempt.saturating_sub(1).min(4);
    ((SWEEP_GRACE_SECONDS << doublings) - SWEEP_GRACE_SECONDS).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn request() -> Request {
        Request {
            lines: vec![("A".into(), 1), ("B".into(), 2)],
            currency: "USD".into(),
            payment_method: "pm_card_visa".into(),
        }
    }

    #[test]
    fn a_fingerprint_tells_requests_apart() {
        let base = request().fingerprint();
        assert_eq!(base.len(), 32);
        assert_eq!(base, request().fingerprint());
        for other in [
            Request { currency: "EUR".into(), ..request() },
            Request { payment_method: "pm".into(), ..request() },
            Request { lines: vec![("A".into(), 1)], ..request() },
            Request { lines: vec![("A".into(), 2), ("B".into(), 1)], ..request() },
            Request { lines: vec![("B".into(), 2), ("A".into(), 1)], ..request() },
        ] {
            assert_ne!(base, other.fingerprint(), "{other:?}");
        }
    }

    #[test]
    fn the_sweep_comes_back_less_and_less_often() {
        let waits: Vec<_> = (0..8).map(postpone_seconds).collect();
        assert_eq!(waits, [0, 0, 5, 15, 35, 55, 55, 55]);
        assert_eq!(postpone_seconds(u32::MAX), 55);
    }

    #[test]
    fn states_have_one_text() {
        for state in [State::Pending, State::Confirmed, State::Failed, State::Cancelled] {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("pending"), None);
    }
}
