//! What is to become of an order, by what inventory and payment said. Invariant: only a payment confirms.

use serde::{Deserialize, Serialize};
use swiftcart_domain::event::PaymentStatus;

use super::Failure;
use super::order::PAYMENT_UNAVAILABLE;

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

    pub(super) fn failure(&self) -> Option<Failure> {
        let (code, message) = match self {
            Self::Confirmed(_) => return None,
            Self::Declined(decline, _) => ("payment_declined", decline.message.as_str()),
            Self::OutOfStock(_) => ("out_of_stock", "There is not enough stock for this order."),
            Self::PaymentUnavailable => (PAYMENT_UNAVAILABLE, "The payment could not be made. Nothing was charged."),
        };
        Some(Failure { code: code.to_owned(), message: message.to_owned() })
    }

    pub(super) fn payment(&self) -> Option<(&Payment, PaymentStatus)> {
        match self {
            Self::Confirmed(payment) => Some((payment, PaymentStatus::Succeeded)),
            Self::Declined(_, Some(payment)) => Some((payment, PaymentStatus::Failed)),
            _ => None,
        }
    }
}
