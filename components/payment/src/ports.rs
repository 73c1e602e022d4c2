//! What the use cases need from outside. Invariant: the store's methods are atomic; an answer of the PSP's HTTP tells whether the request can have
//! been read.

use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, Decision, Record};

/// The database.
pub trait Store {
    /// Writes the row of a charge, or counts an attempt on the open one that is there; the row as it is now.
    fn begin(&self, charge: &Charge) -> Result<Record, Error>;
    /// Writes a tombstone where there is no row, or counts an attempt on the open one that is there; the row as it is now.
    fn begin_settle(&self, order_id: Uuid) -> Result<Record, Error>;
    /// Writes the decision with its event if the row is open; the row as it is now, decided by this call or another.
    fn decide(&self, order_id: Uuid, decision: &Decision, event: &OutboxEvent) -> Result<Record, Error>;
    /// Notes on an open row that its outcome is unknown, with the PSP's id if it is known.
    fn note_unknown(&self, order_id: Uuid, reason: &str, payment_id: Option<&str>) -> Result<(), Error>;
    /// Deletes up to a batch of rows past their retention; how many.
    fn prune(&self) -> Result<u64, Error>;
}

/// A request to the PSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// GET without a body, or POST with a form.
    pub form: Option<String>,
    /// From `/v1/` on.
    pub path: String,
    /// For POST.
    pub idempotency_key: Option<String>,
    /// How long the answer may take.
    pub timeout_ms: u64,
}

/// An answer of the PSP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// The header `Idempotent-Replayed`: this is the kept answer of an earlier request with the same key.
    pub replayed: bool,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer. Never holds the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The request surely never reached the PSP.
    NotSent(String),
    /// It may have.
    Uncertain(String),
}

/// HTTP to the PSP: base address, authentication, time-outs.
pub trait Http {
    /// Sends one request.
    fn send(&self, request: &Request) -> Result<Response, NoAnswer>;
}

/// Time, the trace of the call that is served, and the log.
pub trait Surroundings {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now_micros(&self) -> i64;
    /// Milliseconds on a clock that never goes back.
    fn monotonic_ms(&self) -> u64;
    /// Waits.
    fn pause_ms(&self, ms: u64);
    /// `traceparent` and `tracestate`.
    fn trace(&self) -> (String, Option<String>);
    /// Something that a person must look at. No secrets, nothing personal.
    fn log_error(&self, text: &str);
}
