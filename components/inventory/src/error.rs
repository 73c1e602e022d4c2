//! What can go wrong, by what the caller may do about it. Invariant: "nothing was done", "it is not known" and "our own bug" are never mixed up.

use swiftcart_capabilities::{kafka, postgres, redis};

use crate::model::Shortage;

/// Why a step did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was done: a store cannot be reached. Trying again may help.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It is not known whether it was done. The same call again is safe.
    #[error("outcome unknown: {0}")]
    Uncertain(String),
    /// Our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        match error {
            postgres::Error::Unavailable(reason) => Self::Unavailable(format!("PostgreSQL: {reason}")),
            postgres::Error::Uncertain(reason) => Self::Uncertain(format!("PostgreSQL: {reason}")),
            postgres::Error::Conflict(violation) => {
                Self::Internal(format!("unexpected conflict with {}", violation.constraint))
            }
            postgres::Error::Stale(statement) => {
                Self::Internal(format!("statement {statement} met another number of rows than expected"))
            }
            postgres::Error::Invalid(reason) => Self::Internal(format!("PostgreSQL refused the statement: {reason}")),
        }
    }
}

impl From<redis::Error> for Error {
    fn from(error: redis::Error) -> Self {
        match error {
            redis::Error::Unavailable(reason) => Self::Unavailable(format!("Redis: {reason}")),
            redis::Error::Uncertain(reason) => Self::Uncertain(format!("Redis: {reason}")),
            redis::Error::Invalid(reason) => Self::Internal(format!("Redis refused the script: {reason}")),
        }
    }
}

impl From<postgres::RowError> for Error {
    fn from(error: postgres::RowError) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuoteError {
    /// These skus do not exist.
    #[error("unknown skus {0:?}")]
    UnknownSku(Vec<String>),
    /// These skus are sold in another currency.
    #[error("other currency: {0:?}")]
    CurrencyMismatch(Vec<String>),
    /// The total is outside what may be charged.
    #[error("amount out of range")]
    AmountOutOfRange,
    /// A step did not end well.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// These lines are short.
    #[error("out of stock")]
    OutOfStock(Vec<Shortage>),
    /// The reservation was released, applied or has lapsed.
    #[error("closed")]
    Closed,
    /// A step did not end well.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// Why the catalogue did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No such product.
    #[error("not found")]
    NotFound,
    /// The cursor is not one of ours.
    #[error("bad cursor")]
    BadCursor,
    /// The stock would fall below zero; this much is available.
    #[error("only {0} available")]
    StockBelowZero(u64),
    /// This key was used for another adjustment.
    #[error("key reused")]
    KeyReused,
    /// A step did not end well.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl From<Error> for kafka::Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(reason) => Self::DependencyDown(reason),
            // A bug may be gone with the next version of the component, so it gets its attempts before the dead letters.
            Error::Uncertain(reason) | Error::Internal(reason) => Self::Retry(reason),
        }
    }
}
