//! The closed error enums of this crate. A client error says whether the request may have left this machine, because
//! only the caller knows whether asking again is safe.

use std::{io, net::SocketAddr};

/// A configuration that cannot be used. Nothing was bound or connected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("config key `{key}`: {problem}")]
pub struct ConfigError {
    /// The key as it is written in the link's config.
    pub key: String,
    /// What is wrong, and what is expected.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

/// Why a server or a client could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port could not be bound.
    #[error("the address {address} cannot be bound")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A certificate or a key could not be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// `Server::run` was called a second time; the listener was already taken.
    #[error("the server was already run")]
    AlreadyRun,
}

/// The wait that was too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Name look-up, connection and TLS handshake, including the wait for a free connection.
    Connect,
    /// From the connection to the head of the response.
    FirstByte,
    /// Between two pieces of the response body.
    BetweenBytes,
}

/// Why an outgoing request failed. See [`ClientError::may_have_been_sent`].
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The host is not in the allow-list. Surely not sent.
    #[error("host `{0}` is not granted")]
    Refused(String),
    /// The request itself cannot be sent (no absolute http(s) URI, user info in it). Surely not sent.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// Name look-up or connection failed. Surely not sent.
    #[error("connecting: {0}")]
    Connect(String),
    /// The TLS handshake failed. Surely not sent.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection ended before the request was begun on it. Surely not sent.
    #[error("not sent: {0}")]
    NotSent(String),
    /// A time-out. Surely not sent in [`Phase::Connect`], otherwise perhaps processed.
    #[error("time-out ({0:?})")]
    Timeout(Phase),
    /// The other side does not speak HTTP as it should. May have been processed.
    #[error("protocol: {0}")]
    Protocol(String),
    /// The caller's own request body failed while it was sent. May have been processed.
    #[error("request body: {0}")]
    RequestBody(String),
    /// The connection ended before the whole answer. May have been processed.
    #[error("connection closed: {0}")]
    Closed(String),
}

impl ClientError {
    /// `false` means: no byte of this request was handed to a connection, so the same request may be made again
    /// without any risk of doing its work twice.
    #[must_use]
    pub fn may_have_been_sent(&self) -> bool {
        match self {
            Self::Refused(_)
            | Self::InvalidRequest(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::NotSent(_)
            | Self::Timeout(Phase::Connect) => false,
            Self::Timeout(Phase::FirstByte | Phase::BetweenBytes)
            | Self::Protocol(_)
            | Self::RequestBody(_)
            | Self::Closed(_) => true,
        }
    }
}
