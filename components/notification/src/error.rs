//! What can go wrong, by what becomes of the message. Invariant: no error holds a mail address.

use swiftcart_capabilities::postgres;

/// Why an event was not handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// May work later.
    #[error("retry: {0}")]
    Retry(String),
    /// Will never work.
    #[error("reject: {0}")]
    Reject(String),
    /// Something that every message needs is down.
    #[error("dependency down: {0}")]
    DependencyDown(String),
}

impl From<postgres::Error> for Error {
    fn from(error: postgres::Error) -> Self {
        match error {
            postgres::Error::Unavailable(reason) => Self::DependencyDown(format!("PostgreSQL: {reason}")),
            postgres::Error::Uncertain(reason) => Self::Retry(format!("PostgreSQL, outcome unknown: {reason}")),
            // A bug may be gone with the next version of the component, so it gets its attempts before the dead letters.
            postgres::Error::Conflict(violation) => {
                Self::Retry(format!("internal: unexpected conflict with {}", violation.constraint))
            }
            postgres::Error::Stale(statement) => {
                Self::Retry(format!("internal: statement {statement} met another number of rows than expected"))
            }
            postgres::Error::Invalid(reason) => {
                Self::Retry(format!("internal: PostgreSQL refused the statement: {reason}"))
            }
        }
    }
}

impl From<postgres::RowError> for Error {
    fn from(error: postgres::RowError) -> Self {
        Self::Retry(format!("internal: {error}"))
    }
}

/// A text with every word that could be an address struck out: mail servers like to repeat them.
#[must_use]
pub fn without_addresses(text: &str) -> String {
    let words: Vec<&str> =
        text.split_whitespace().map(|word| if word.contains('@') { "<address>" } else { word }).collect();
    words.join(" ")
}
