//! One call whose parameters or results stream: the caller's end of wRPC on plain NATS. Invariants: pieces are given in the order in which the callee
//! sent them; dropped, the call takes nothing more; a slow reader of one answer holds up no other.
//!
//! `wrpc_transport_nats` hands out the messages of all calls of one client from one task, which waits for whoever reads slowest. An edge has
//! readers all over the world, so each of its calls has a subscription of its own.

use async_nats::connection::State;
use async_nats::{HeaderMap, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use wrpc_transport_nats::{invocation_subject, param_subject, result_subject};

use super::target::{Failed, Target};
use crate::limits;

/// What the callee sends, as it comes.
pub(crate) struct Answer {
    messages: Subscriber,
    results: String,
}

/// A piece of an answer; without bytes, the end of its channel.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Of the results themselves.
    Root(Bytes),
    /// Of what streams at this path below them, for example `0.0`.
    Nested(String, Bytes),
}

impl Target {
    /// Calls a function with parameters that are encoded already. `ended` are the paths of streams in them that have nothing (more) to say.
    ///
    /// # Errors
    /// When nobody takes the call. There is no time limit but the caller's.
    pub(crate) async fn converse(
        &self,
        (instance, function): (&str, &str),
        mut parameters: Bytes,
        ended: &[&str],
        headers: HeaderMap,
    ) -> Result<Answer, Failed> {
        let nats = self.nats();
        // A message that waits for a connection would be delivered when nobody waits for its answer any more.
        if nats.connection_state() != State::Connected {
            return Err(Failed::NotSent("the connection is being made again".to_owned()));
        }
        let not_sent = |error: &dyn std::fmt::Display| Failed::NotSent(error.to_string());
        // Below a word of its own, so that one subscription takes the handshake, the results and what is below them.
        let inbox = nats.new_inbox();
        let own = format!("{inbox}.call");
        let mut messages = nats.subscribe(format!("{inbox}.>")).await.map_err(|error| not_sent(&error))?;
        let largest = nats.server_info().max_payload.saturating_sub(limits::HEADER_ROOM_BYTES).max(1);
        let first = parameters.split_to(parameters.len().min(largest));
        let subject = invocation_subject(&self.prefix(), instance, function);
        nats.publish_with_reply_and_headers(subject, own.clone(), headers, first)
            .await
            .map_err(|error| not_sent(&error))?;
        let callee = self.handshake(&mut messages).await?;
        let root = param_subject(&callee);
        let broken_off = |error: &dyn std::fmt::Display| Failed::BrokenOff(error.to_string());
        while !parameters.is_empty() {
            let part = parameters.split_to(parameters.len().min(largest));
            nats.publish(root.clone(), part).await.map_err(|error| broken_off(&error))?;
        }
        nats.publish(root.clone(), Bytes::new()).await.map_err(|error| broken_off(&error))?;
        for path in ended {
            let channel = format!("{root}.{path}");
            nats.publish(channel.clone(), Bytes::from_static(&[0])).await.map_err(|error| broken_off(&error))?;
            nats.publish(channel, Bytes::new()).await.map_err(|error| broken_off(&error))?;
        }
        Ok(Answer { messages, results: result_subject(&own) })
    }

    /// Where the callee that took the call listens.
    async fn handshake(&self, messages: &mut Subscriber) -> Result<Subject, Failed> {
        let broken_off = |reason: &str| Failed::BrokenOff(reason.to_owned());
        let message = messages.next().await.ok_or_else(|| broken_off("NATS is gone"))?;
        match (message.status, message.reply) {
            (Some(StatusCode::NO_RESPONDERS), _) => Err(Failed::NotRunning(self.id().to_owned())),
            (_, Some(callee)) => Ok(callee),
            _ => Err(broken_off("the callee did not say where it listens")),
        }
    }
}

impl Answer {
    /// The next piece; none if NATS is gone.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        loop {
            let message = self.messages.next().await?;
            // Others write to this inbox only by mistake.
            let Some(below) = message.subject.strip_prefix(self.results.as_str()) else { continue };
            match below.strip_prefix('.') {
                None if below.is_empty() => return Some(Piece::Root(message.payload)),
                None => {}
                Some(path) => return Some(Piece::Nested(path.to_owned(), message.payload)),
            }
        }
    }
}
