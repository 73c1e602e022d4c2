//! What can go wrong with the store. Invariant: nothing of it is ever taken for an outcome of the charge: the charge is then `unknown`.

use swiftcart_capabilities::postgres;

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
