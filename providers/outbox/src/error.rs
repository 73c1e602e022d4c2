//! The closed set of errors of this crate.

/// Why the relay could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is refused: trying again is useless.
    #[error("the outbox relay refuses its configuration: {0}")]
    Invalid(String),
    /// The database did not do what was asked.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database driver says.
        source: sqlx::Error,
    },
    /// The database did not answer in time; the connection is given up.
    #[error("{0}: no answer in time")]
    Timeout(&'static str),
    /// Kafka did not do what was asked.
    #[error(transparent)]
    Kafka(#[from] swiftcart_provider_kafka::Error),
}

impl From<swiftcart_provider_kafka::ConfigError> for Error {
    fn from(error: swiftcart_provider_kafka::ConfigError) -> Self {
        Self::Invalid(error.to_string())
    }
}
