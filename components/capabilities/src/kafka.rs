//! Kafka: what a consumer says about a message that it did not handle.
//!
//! Invariant: whoever fails says which of three things is to become of the message; nothing is only logged.

use crate::postgres;

/// Why a message was not handled, and so what becomes of it (`swiftcart:kafka/types.failure`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
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

impl Failure {
    /// A bug: it may be gone with the next version of the component, so the message gets its attempts before the dead letters.
    #[must_use]
    pub fn internal(what: &str) -> Self {
        Self::Retry(format!("internal: {what}"))
    }

    /// The same in the words of a component's own bindings, whose type is another one in each component.
    pub fn told<F>(
        self,
        retry: impl FnOnce(String) -> F,
        reject: impl FnOnce(String) -> F,
        dependency_down: impl FnOnce(String) -> F,
    ) -> F {
        match self {
            Self::Retry(reason) => retry(reason),
            Self::Reject(reason) => reject(reason),
            Self::DependencyDown(reason) => dependency_down(reason),
        }
    }
}

impl From<postgres::Error> for Failure {
    fn from(error: postgres::Error) -> Self {
        match error {
            postgres::Error::Unavailable(reason) => Self::DependencyDown(format!("PostgreSQL: {reason}")),
            postgres::Error::Uncertain(reason) => Self::Retry(format!("PostgreSQL, outcome unknown: {reason}")),
            postgres::Error::Conflict(violation) => {
                Self::internal(&format!("unexpected conflict with {}", violation.constraint))
            }
            postgres::Error::Stale(statement) => {
                Self::internal(&format!("statement {statement} met another number of rows than expected"))
            }
            postgres::Error::Invalid(reason) => Self::internal(&format!("PostgreSQL refused the statement: {reason}")),
        }
    }
}

impl From<postgres::RowError> for Failure {
    fn from(error: postgres::RowError) -> Self {
        Self::internal(&error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: only a database that is away stops everybody, and only a commit that may have taken place is told as unknown. Method: each error.
    #[test]
    fn a_database_error_says_what_becomes_of_the_message() {
        let down = Failure::from(postgres::Error::Unavailable("x".to_owned()));
        assert_eq!(down, Failure::DependencyDown("PostgreSQL: x".to_owned()));
        let unknown = Failure::from(postgres::Error::Uncertain("x".to_owned()));
        assert_eq!(unknown, Failure::Retry("PostgreSQL, outcome unknown: x".to_owned()));
        let bug = Failure::from(postgres::Error::Invalid("x".to_owned()));
        assert_eq!(
            bug.told(|reason| reason, |_| String::new(), |_| String::new()),
            "internal: PostgreSQL refused the statement: x"
        );
    }
}
