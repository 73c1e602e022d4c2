//! What can go wrong, by what the caller may do about it. Invariant: nothing of it is ever taken for an outcome of a charge or a refund: that is then
//! not known, and asked again.

use swiftcart_capabilities::{kafka, postgres};

/// Why the store did not do its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached, or it is not known whether it wrote.
    #[error("PostgreSQL: {0}")]
    Store(String),
    /// Our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        match error {
            postgres::Error::Unavailable(reason) | postgres::Error::Uncertain(reason) => Self::Store(reason),
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

impl From<postgres::RowError> for Error {
    fn from(error: postgres::RowError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<Error> for kafka::Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(_) => Self::DependencyDown(error.to_string()),
            // A bug may be gone with the next version of the component, so it gets its attempts before the dead letters.
            Error::Internal(_) => Self::Retry(error.to_string()),
        }
    }
}

/// Why a PSP's event was not handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// No secret of ours made this signature, or it is too old.
    #[error("the signature does not hold")]
    BadSignature,
    /// The signature is right, but the body is no event.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The PSP cannot be reached, or has not decided.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The database cannot be reached, or it is not known whether it wrote.
    #[error("outcome unknown: {0}")]
    Uncertain(String),
    /// Our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<Error> for WebhookError {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(_) => Self::Uncertain(error.to_string()),
            Error::Internal(reason) => Self::Internal(reason),
        }
    }
}
