//! What the services below may say instead of an answer, as closed enums that mirror the WIT. Invariant: a case says whether trying again
//! may help.

use crate::model::{Order, Shortage};

/// Why an order was not created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateError {
    /// These skus do not exist.
    UnknownSku(Vec<String>),
    /// These skus are sold in another currency.
    CurrencyMismatch(Vec<String>),
    /// The total is outside what may be charged.
    AmountOutOfRange,
    /// The idempotency key was used with another request.
    KeyReused,
    /// The first request with this key still runs; ask again after this many seconds.
    KeyInFlight(u32),
    /// Surely not charged; the same key may try again. The order's id if one was written: it has failed.
    PaymentUnavailable(Option<String>),
    /// Something cannot be reached; the order's id if it was written.
    Unavailable(Option<String>),
    /// A bug below.
    Internal,
}

/// Why a question about orders has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// No such order, or another user's.
    NotFound,
    /// The cursor is none of ours.
    BadCursor,
    /// Something cannot be reached.
    Unavailable,
    /// A bug below.
    Internal,
}

/// Why an order was not cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CancelError {
    /// No such order, or another user's.
    NotFound,
    /// It is PENDING; ask again after this many seconds.
    NotSettled(u32),
    /// It has failed.
    OrderFailed(Box<Order>),
    /// Not done, or not known whether done; the same call again is safe.
    Unavailable,
    /// A bug below.
    Internal,
}

/// Why the catalog did not do something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogError {
    /// No such product.
    NotFound,
    /// The cursor is none of ours.
    BadCursor,
    /// The stock would fall below zero; this much is available.
    StockBelowZero(u64),
    /// The idempotency key was used for another adjustment.
    KeyReused,
    /// Something cannot be reached.
    Unavailable,
    /// A bug below.
    Internal,
}

/// Why an event of the payment provider was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookError {
    /// The signature does not hold.
    BadSignature,
    /// It is signed, but no event.
    Invalid(String),
    /// Not now: the provider delivers it again.
    Unavailable,
    /// A bug below.
    Internal,
}

/// What was decided about an order that is not confirmed: told as a problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The PSP said no.
    Declined {
        /// The code that may be shown.
        code: String,
        /// The sentence that may be shown.
        message: String,
    },
    /// These lines are short.
    OutOfStock(Vec<Shortage>),
    /// Failed after it had been answered with 202.
    Failed,
}
