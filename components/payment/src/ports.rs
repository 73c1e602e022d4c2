//! What the use cases need from outside. Invariant: the store's methods are atomic; an answer of the PSP's HTTP tells whether the request can have
//! been read.

use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, Decision, Record};
use crate::refund::{Refund, RefundEnd, RefundNote};

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
    /// The row of a charge; none if none was ever begun.
    fn find(&self, order_id: Uuid) -> Result<Option<Record>, Error>;
    /// The row of the charge that the PSP knows by this id.
    fn find_by_payment(&self, payment_id: &str) -> Result<Option<Record>, Error>;
    /// An open charge that nobody has asked about for long, marked as asked about now.
    fn take_forgotten(&self) -> Result<Option<Uuid>, Error>;
    /// Writes the inbox row of an event that wants an order's money back, and the pending refund unless there is one or surely nothing was charged.
    fn want_refund(&self, order_id: Uuid, event_id: Uuid) -> Result<(), Error>;
    /// Writes the pending refund of a charge that our books hold for none, unless there is one.
    fn want_refund_of(&self, order_id: Uuid, payment_id: &str) -> Result<(), Error>;
    /// Takes up an order's refund if it is pending and due; nobody else gets it until this try is surely over.
    fn take_refund(&self, order_id: Uuid) -> Result<Option<Refund>, Error>;
    /// Takes up the refund that has been due the longest.
    fn take_due_refund(&self) -> Result<Option<Refund>, Error>;
    /// An order's refund.
    fn find_refund(&self, order_id: Uuid) -> Result<Option<Refund>, Error>;
    /// Notes on a pending refund what a try came to, and when to try again.
    fn note_refund(&self, order_id: Uuid, note: &RefundNote) -> Result<(), Error>;
    /// Ends a refund that has not ended so, with the event that tells it; whether it did.
    fn end_refund(&self, order_id: Uuid, end: &RefundEnd, event: Option<&OutboxEvent>) -> Result<bool, Error>;
    /// Whether an event of the PSP was handled.
    fn webhook_seen(&self, event_id: &str) -> Result<bool, Error>;
    /// Notes that an event of the PSP was handled.
    fn note_webhook(&self, event_id: &str, event_type: &str) -> Result<(), Error>;
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
