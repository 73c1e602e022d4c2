//! An order as its owner sees it. Invariant: every text of a state that the database or an event holds is spelled here only.

use serde::{Deserialize, Serialize};
use swiftcart_domain::event;
use swiftcart_domain::money::Currency;
use uuid::Uuid;

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

/// The failure code of an order that could not be charged.
pub(super) const PAYMENT_UNAVAILABLE: &str = "payment_unavailable";

impl Order {
    /// It failed because it could not be charged, and surely was not.
    #[must_use]
    pub fn is_payment_unavailable(&self) -> bool {
        self.failure.as_ref().is_some_and(|failure| failure.code == PAYMENT_UNAVAILABLE)
    }

    /// The order as its events tell it.
    pub(super) fn body(&self) -> event::Order {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn states_have_one_text() {
        for state in [State::Pending, State::Confirmed, State::Failed, State::Cancelled] {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        assert_eq!(State::parse("pending"), None);
    }
}
