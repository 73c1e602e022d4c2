//! The transition out of PENDING with all that is written along with it. Invariant: it is made once, from PENDING only, and makes the
//! version grow by one.

use serde::{Deserialize, Serialize};
use swiftcart_domain::event::{OrderConfirmed, OrderFailed, OrderFailure, OrderPayment};
use swiftcart_domain::outbox::{self, DecidedBy, OutboxEvent};

use super::{Decline, Held, Order, Payment, Shortage, State, Trace, Verdict};

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
    /// What the buyer is told. None: `payment-unavailable` if anybody still waits; the same key may try again.
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
        // Surely not charged: the key is free for another try, unless the buyer was told 202 about this very order.
        Verdict::PaymentUnavailable if !held.answered_pending => None,
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
    let body = order.body();
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
    Ok(held.addressed(event))
}
