//! What crosses the ports: orders and products as the services below tell them. Mirrors the WIT; no rules.

use crate::error::Refusal;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not decided.
    Pending,
    /// Paid for.
    Confirmed,
    /// Came to nothing.
    Failed,
    /// Taken back.
    Cancelled,
}

impl State {
    /// Its text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// From its text on the wire.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Confirmed, Self::Failed, Self::Cancelled].into_iter().find(|state| state.as_str() == text)
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// Minor units.
    pub unit_price: u64,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// UUID.
    pub id: String,
    /// Where it stands.
    pub state: State,
    /// The lines.
    pub lines: Vec<Line>,
    /// Minor units.
    pub total_amount: u64,
    /// ISO 4217.
    pub currency: String,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// Grows with every change.
    pub version: u64,
    /// `(code, message)`.
    pub failure: Option<(String, String)>,
    /// `(state, amount in minor units)`.
    pub refund: Option<(String, u64)>,
}

/// A line that is short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The product.
    pub sku: String,
    /// How many were asked for.
    pub requested: u32,
    /// How many there are.
    pub available: u64,
}

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// `(sku, quantity)`.
    pub lines: Vec<(String, u32)>,
    /// ISO 4217.
    pub currency: String,
    /// The PSP's name of the payment method.
    pub payment_method: String,
}

/// What was decided about a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// 201.
    Confirmed(Order),
    /// 202.
    Pending(Order),
    /// 402 or 409.
    Refused(Order, Refusal),
}

/// The answer to a create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// What was decided.
    pub decision: Decision,
    /// Told before under this key.
    pub replayed: bool,
    /// Of the request that was decided.
    pub trace_id: String,
}

/// On whose behalf a call is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// UUID.
    pub user_id: String,
    /// For mails about the order.
    pub email: Option<String>,
}

/// A product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// The product's key.
    pub sku: String,
    /// What buyers call it.
    pub name: String,
    /// Minor units.
    pub unit_price: u64,
    /// ISO 4217.
    pub currency: String,
    /// What can be sold now.
    pub available_stock: u64,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins, if there is more.
    pub next_cursor: Option<String>,
}

/// Why stock changes by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// New goods.
    Restock,
    /// A count said otherwise.
    Correction,
}

/// A change of stock by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// By how much; not 0.
    pub delta: i64,
    /// Why.
    pub reason: Reason,
    /// `(user id, idempotency key)`.
    pub key: Option<(String, String)>,
}
