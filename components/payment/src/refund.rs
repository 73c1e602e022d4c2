//! A refund and its states. Invariant: no I/O, no clock; what the PSP's refunds of one charge come to is decided here and nowhere else.

use swiftcart_domain::event::{
    EventType, FailedRefund, Payment as EventPayment, PaymentRefundFailed, PaymentRefunded, PaymentStatus,
    Refund as EventRefund,
};
use swiftcart_domain::ids;
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, PROVIDER};

/// Where a refund stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundState {
    /// To be asked for, or asked for and not decided.
    Pending,
    /// Given back.
    Succeeded,
    /// The PSP will not give it back: a person must.
    Failed,
    /// Nothing had been charged.
    Void,
}

impl RefundState {
    /// Its text in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Void => "void",
        }
    }

    /// From its text in the table.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Succeeded, Self::Failed, Self::Void].into_iter().find(|state| state.as_str() == text)
    }
}

/// A row of the table `refunds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The order.
    pub order_id: Uuid,
    /// Where it stands.
    pub state: RefundState,
    /// The PSP's intent, if it is known to have charged.
    pub payment_id: Option<String>,
    /// The PSP's id of the refund, if it gave one.
    pub refund_id: Option<String>,
    /// Which of the order's refund keys is in use.
    pub key_number: i32,
    /// How often it was taken up, this time included.
    pub attempts: i32,
}

/// How a refund ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundEnd {
    /// Given back.
    Succeeded {
        /// The PSP's id.
        refund_id: String,
        /// Minor units.
        amount: u64,
    },
    /// Will not be given back by us.
    Failed {
        /// The PSP's id, if it gave one.
        refund_id: Option<String>,
        /// For people.
        reason: String,
    },
    /// There was nothing to give back.
    Void {
        /// For people.
        reason: String,
    },
}

/// What is remembered of a try that decided nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundNote {
    /// For people.
    pub reason: String,
    /// The PSP's id of the refund, if it gave one: it is read from then on, not asked for.
    pub refund_id: Option<String>,
    /// The key to use from now on.
    pub key_number: i32,
}

/// A refund as the PSP tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PspRefund {
    /// The PSP's id.
    pub id: String,
    /// Where it stands.
    pub status: PspRefundStatus,
    /// Minor units.
    pub amount: u64,
    /// The PSP's reason for a failure.
    pub failure_reason: Option<String>,
}

/// Where the PSP says that a refund stands (<https://docs.stripe.com/api/refunds/object#refund_object-status>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PspRefundStatus {
    /// Given back.
    Succeeded,
    /// On its way, or waiting for somebody.
    Pending,
    /// Came back or was called off.
    Failed,
}

/// What all refunds of one charge come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sum {
    /// A refund is on its way.
    Pending(String),
    /// This much was given back; the id of the newest refund.
    GivenBack(String, u64),
    /// The newest failed, and none succeeded or is on its way.
    Failed(String, String),
    /// There are none.
    Nothing,
}

/// Adds up the refunds of a charge, newest first as the PSP lists them. While one is on its way nothing is decided.
#[must_use]
pub fn sum(refunds: &[PspRefund]) -> Sum {
    let with = |status| refunds.iter().filter(move |refund| refund.status == status);
    if let Some(pending) = with(PspRefundStatus::Pending).next() {
        return Sum::Pending(pending.id.clone());
    }
    if let Some(newest) = with(PspRefundStatus::Succeeded).next() {
        let amount = with(PspRefundStatus::Succeeded).map(|refund| refund.amount).sum();
        return Sum::GivenBack(newest.id.clone(), amount);
    }
    refunds.first().map_or(Sum::Nothing, |failed| {
        Sum::Failed(failed.id.clone(), failed.failure_reason.clone().unwrap_or_else(|| "no reason given".to_owned()))
    })
}

/// The event that tells how a refund ended; none of one that was of nothing. `again`: it had failed before, and now another one succeeded.
///
/// # Errors
/// [`Error::Internal`] when it cannot be written as JSON, which does not happen.
pub fn event(
    charge: &Charge,
    payment_id: &str,
    end: &RefundEnd,
    again: bool,
    now_micros: i64,
    trace: &(String, Option<String>),
) -> Result<Option<OutboxEvent>, Error> {
    let order_id = charge.order_id;
    let payment = EventPayment {
        provider: PROVIDER.to_owned(),
        payment_id: payment_id.to_owned(),
        status: PaymentStatus::Succeeded,
        amount: charge.amount,
        currency: charge.currency,
        decline_code: None,
    };
    let (traceparent, tracestate) = (trace.0.as_str(), trace.1.as_deref());
    let told = match end {
        RefundEnd::Succeeded { refund_id, amount } => {
            let refund = EventRefund { refund_id: refund_id.clone(), amount: *amount };
            let mut event = PaymentRefunded::new(now_micros, order_id, payment, refund);
            if again {
                event.event_id = ids::refund_event_id(&order_id, EventType::PaymentRefunded.as_str(), refund_id);
            }
            OutboxEvent::new(&event, traceparent, tracestate)
        }
        RefundEnd::Failed { refund_id, reason } => {
            let refund = FailedRefund { refund_id: refund_id.clone(), amount: charge.amount, reason: reason.clone() };
            let mut event = PaymentRefundFailed::new(now_micros, order_id, payment, refund);
            if let Some(refund_id) = refund_id {
                event.event_id = ids::refund_event_id(&order_id, EventType::PaymentRefundFailed.as_str(), refund_id);
            }
            OutboxEvent::new(&event, traceparent, tracestate)
        }
        RefundEnd::Void { .. } => return Ok(None),
    };
    told.map(Some).map_err(|error| Error::Internal(error.to_string()))
}
