//! What a service writes into its outbox: an event with its Kafka key and headers. Invariant: every event has all required CloudEvents
//! headers of the Kafka binary binding (`ce_*`) and the trace of the request that caused it, made here and nowhere else.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::event::Event;

/// W3C trace context of the cause.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace state of the cause.
pub const TRACESTATE: &str = "tracestate";
/// Who decided an order: see [`DecidedBy`].
pub const DECIDED_BY: &str = "swiftcart-decided-by";

/// Who decided an order, for whoever must know whether the buyer has heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// The buyer's own request, whose answer tells the buyer.
    Request,
    /// The sweep, when no request was waiting any more.
    Sweep,
    /// Another service's event.
    Saga,
}

impl DecidedBy {
    /// Its text in the header.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Sweep => "sweep",
            Self::Saga => "saga",
        }
    }
}

/// One row of the table `outbox`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Column `event_id`.
    pub event_id: Uuid,
    /// Column `topic`.
    pub topic: &'static str,
    /// Column `key`: the order id.
    pub key: String,
    /// Column `payload`: JSON text, published as it is.
    pub payload: String,
    /// Column `headers`.
    pub headers: BTreeMap<&'static str, String>,
}

impl OutboxEvent {
    /// An event with its CloudEvents headers and the trace of its cause. An empty `traceparent` is left out.
    ///
    /// # Errors
    /// Never for the events of this crate: none has a member that JSON cannot say.
    pub fn new<E: Event>(event: &E, traceparent: &str, tracestate: Option<&str>) -> Result<Self, serde_json::Error> {
        let mut headers = BTreeMap::from([
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", event.event_id().to_string()),
            ("ce_type", format!("swiftcart.{}", E::TOPIC)),
            ("ce_source", E::SOURCE.to_owned()),
            ("ce_time", event.occurred_at().to_owned()),
            ("content-type", "application/json".to_owned()),
        ]);
        if !traceparent.is_empty() {
            headers.insert(TRACEPARENT, traceparent.to_owned());
            if let Some(state) = tracestate {
                headers.insert(TRACESTATE, state.to_owned());
            }
        }
        Ok(Self {
            event_id: event.event_id(),
            topic: E::TOPIC,
            key: event.order_id().to_string(),
            payload: serde_json::to_string(event)?,
            headers,
        })
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// The column `headers` as JSON text.
    #[must_use]
    pub fn headers_json(&self) -> String {
        serde_json::Value::from_iter(self.headers.iter().map(|(name, value)| (*name, value.as_str()))).to_string()
    }
}

/// The trace id (32 hex digits) within a `traceparent`; empty if that is none.
#[must_use]
pub fn trace_id(traceparent: &str) -> &str {
    traceparent
        .split('-')
        .nth(1)
        .filter(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .unwrap_or("")
}
