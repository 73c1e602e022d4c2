//! The transition out of CONFIRMED with all that is written along with it, and the refund that follows. Invariant: it is made from CONFIRMED
//! only; the whole amount is to be given back from then on; the version grows by one.

use swiftcart_domain::event::{OrderCancelled, OrderFailed, OrderFailure, OrderPayment, PaymentStatus};
use swiftcart_domain::outbox::{self, DecidedBy, OutboxEvent};
use uuid::Uuid;

use super::{Failure, Held, Order, Refund, RefundState, State, Trace};

/// Why a confirmed order is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The buyer cancels it.
    Cancelled,
    /// Inventory cannot honour it.
    OutOfStock,
}

impl Cause {
    /// Who decides it.
    #[must_use]
    pub fn decided_by(self) -> DecidedBy {
        match self {
            Self::Cancelled => DecidedBy::Request,
            Self::OutOfStock => DecidedBy::Saga,
        }
    }

    fn failure(self) -> Option<Failure> {
        match self {
            Self::Cancelled => None,
            Self::OutOfStock => Some(Failure {
                code: "out_of_stock_after_payment".to_owned(),
                message: "Something in this order turned out to be out of stock. You get back what you paid."
                    .to_owned(),
            }),
        }
    }
}

/// Everything that is written when a confirmed order is taken back: one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reversal {
    /// The order as it will be.
    pub order: Order,
    /// Who decided.
    pub by: DecidedBy,
    /// The event.
    pub event: OutboxEvent,
}

/// Only a confirmed order can be taken back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReverseError {
    /// It is not CONFIRMED.
    #[error("the order is {0:?}, not CONFIRMED")]
    NotConfirmed(State),
    /// The event has no JSON text.
    #[error("no JSON: {0}")]
    Json(String),
}

/// The transition out of CONFIRMED with its event. `now` counts microseconds since 1970-01-01T00:00:00Z.
///
/// # Errors
/// When the order is not CONFIRMED.
pub fn reverse(held: &Held, cause: Cause, trace: &Trace, now: i64) -> Result<Reversal, ReverseError> {
    if held.order.state != State::Confirmed {
        return Err(ReverseError::NotConfirmed(held.order.state));
    }
    let failure = cause.failure();
    let state = if failure.is_none() { State::Cancelled } else { State::Failed };
    let refund = Some(Refund { state: RefundState::Pending, amount: held.order.total_amount });
    let order = Order { state, failure, refund, version: held.order.version + 1, ..held.order.clone() };
    // It says what became of the charge; what becomes of the refund is told by payment's own event.
    let payment = held.payment.clone().map(|payment| OrderPayment {
        provider: payment.provider,
        payment_id: payment.payment_id,
        status: PaymentStatus::Succeeded,
    });
    let (parent, trace_state) = (trace.parent.as_str(), trace.state.as_deref());
    let event = match &order.failure {
        None => OutboxEvent::new(&OrderCancelled::new(now, order.body(), payment), parent, trace_state),
        Some(failure) => {
            let failure = OrderFailure { code: failure.code.clone() };
            OutboxEvent::new(&OrderFailed::new(now, order.body(), payment, failure), parent, trace_state)
        }
    };
    let by = cause.decided_by();
    let event =
        event.map_err(|error| ReverseError::Json(error.to_string()))?.with_header(outbox::DECIDED_BY, by.as_str());
    Ok(Reversal { order, by, event: held.addressed(event) })
}

/// What payment gave back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refunded {
    /// Of which order.
    pub order_id: Uuid,
    /// The PSP's id.
    pub refund_id: String,
    /// Minor units; not 0.
    pub amount: u64,
}

/// What payment could not give back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundFailed {
    /// Of which order.
    pub order_id: Uuid,
    /// The PSP's id, if it ever made a refund of it.
    pub refund_id: Option<String>,
    /// What is owed, in minor units; not 0.
    pub amount: u64,
}
