//! The closed sets of errors of this crate. None of them carries a payload, a key or a secret.

/// A configuration that cannot be used. Nothing has been connected when it is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config key `{key}`: {expected}")]
pub struct ConfigError {
    /// The key as written in the link's configuration; `?` if the text gives no single key.
    pub key: String,
    /// What is expected there, in a sentence.
    pub expected: String,
}

impl ConfigError {
    /// An error about `key`.
    pub fn new(key: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { key: key.into(), expected: expected.into() }
    }
}

/// Why a client could not be made or could not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration is refused by this crate or by librdkafka: trying again is useless.
    #[error("the Kafka client refuses its configuration: {0}")]
    Invalid(String),
    /// No broker answered in time, or the cluster is not ready: worth trying again.
    #[error("the Kafka cluster is not available: {0}")]
    Unavailable(String),
    /// The client instance is beyond repair; a new one may work.
    #[error("the Kafka client failed for good: {0}")]
    Fatal(String),
}

/// Why one record does not count as published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// This very record will never be accepted (too large, no such topic name, ...); others may well be.
    #[error("the record is refused: {0}")]
    Rejected(String),
    /// It was not acknowledged. It may or may not be in the log; sending it again is safe only for consumers that
    /// recognise a duplicate.
    #[error("the record was not acknowledged: {0}")]
    Unacknowledged(String),
}

impl ProduceError {
    /// Whether sending the same record again is useless.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rejected(_))
    }
}
