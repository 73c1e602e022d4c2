//! The callee's end of one call on the wire: handshake, parameters that did not fit into the first message, results, closing. Written on plain
//! NATS instead of the transport crate's server, because that one drops what has arrived when it stops, and holds up all calls of an
//! entity for one slow one. Invariant: whatever happens, the caller's channel is closed.

use async_nats::{Message, Subject};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use wrpc_transport_nats::{param_subject, result_subject};

use super::failure;
use crate::limits;
use crate::runtime::CallError;

/// Why parameters did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    /// The connection to the server of the lattice is gone.
    #[error("the lattice cannot be reached: {0}")]
    Lattice(String),
    /// The caller closed before it had said everything.
    #[error("the caller closed early")]
    Closed,
    /// The parameters are too large.
    #[error("the parameters are larger than {max} bytes", max = limits::MAX_REMOTE_BYTES)]
    TooLarge,
}

/// One call, as its callee sees it.
pub(super) struct Exchange {
    nats: async_nats::Client,
    caller: Subject,
    inbox: String,
}

impl Exchange {
    /// None if nobody waits for an answer.
    pub(super) fn of(nats: &async_nats::Client, message: &Message) -> Option<Self> {
        let caller = message.reply.clone()?;
        Some(Self { nats: nats.clone(), caller, inbox: nats.new_inbox() })
    }

    /// Accepts a call whose parameters are all here. What the caller still sends goes nowhere.
    pub(super) async fn accept(&self) -> Result<(), ExchangeError> {
        self.nats
            .publish_with_reply(self.caller.clone(), self.inbox.clone(), Bytes::new())
            .await
            .map_err(|error| ExchangeError::Lattice(error.to_string()))
    }

    /// Accepts a call of which more is to come, on the root channel or, if `nested`, below it.
    pub(super) async fn accept_more(&self, nested: bool) -> Result<Params, ExchangeError> {
        let root = param_subject(&self.inbox);
        // `J.params` is not below itself, so the nested channels are had with everything below `J`.
        let subject = if nested { format!("{}.>", self.inbox) } else { root.clone() };
        let messages = self.nats.subscribe(subject).await;
        let messages = messages.map_err(|error| ExchangeError::Lattice(error.to_string()))?;
        self.accept().await?;
        Ok(Params { messages, root })
    }

    /// Sends results and closes.
    pub(super) async fn answer(&self, results: Bytes) {
        let subject = result_subject(&self.caller);
        self.send(&subject, results).await;
        self.close(&subject).await;
    }

    /// Closes without results. Hosts of ours are told why; others see that the channel closes.
    pub(super) async fn fail(&self, error: &CallError) {
        let subject = result_subject(&self.caller);
        self.send(&format!("{subject}.1"), failure::write(error).into()).await;
        self.close(&subject).await;
    }

    /// The subject of a channel below the results.
    pub(super) fn nested(&self, path: &str) -> String {
        format!("{}.{path}", result_subject(&self.caller))
    }

    /// Sends bytes on a channel, in as many messages as they need.
    pub(super) async fn send(&self, subject: &str, mut bytes: Bytes) {
        let largest = self.nats.server_info().max_payload.max(1);
        while !bytes.is_empty() {
            let part = bytes.split_to(bytes.len().min(largest));
            if let Err(error) = self.nats.publish(subject.to_owned(), part).await {
                tracing::warn!(%error, "an answer to another host was not sent");
                return;
            }
        }
    }

    /// Ends a channel.
    pub(super) async fn close(&self, subject: &str) {
        if let Err(error) = self.nats.publish(subject.to_owned(), Bytes::new()).await {
            tracing::warn!(%error, "a call of another host was not closed");
        }
    }
}

/// What a caller still sends.
pub(super) struct Params {
    messages: async_nats::Subscriber,
    root: String,
}

/// A piece of it.
pub(super) enum Piece {
    /// On the root channel; empty when that is closed.
    Root(Bytes),
    /// On the channel below with this path; empty when that is closed.
    Nested(String, Bytes),
}

impl Params {
    /// The next piece.
    pub(super) async fn next(&mut self) -> Result<Piece, ExchangeError> {
        let message = self.messages.next().await.ok_or(ExchangeError::Closed)?;
        let below = message.subject.strip_prefix(self.root.as_str());
        match below.and_then(|path| path.strip_prefix('.')) {
            Some(path) => Ok(Piece::Nested(path.to_owned(), message.payload)),
            None => Ok(Piece::Root(message.payload)),
        }
    }

    /// Appends the next piece of the root channel; false when it is closed.
    pub(super) async fn append(&mut self, bytes: &mut BytesMut) -> Result<bool, ExchangeError> {
        let Piece::Root(piece) = self.next().await? else { return Ok(true) };
        if bytes.len().saturating_add(piece.len()) > limits::MAX_REMOTE_BYTES {
            return Err(ExchangeError::TooLarge);
        }
        bytes.extend_from_slice(&piece);
        Ok(!piece.is_empty())
    }
}
