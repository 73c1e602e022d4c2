//! What the use case needs from outside besides the mail server. Invariant: each method is one atomic step.

use swiftcart_capabilities::kafka::Failure;
use uuid::Uuid;

use crate::model::Kind;

/// Which mail an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The event.
    pub event_id: Uuid,
    /// The order.
    pub order_id: Uuid,
    /// Which mail.
    pub kind: Kind,
}

/// A mail that is to be handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Send it under this Message-ID: the first one's, whatever this call proposed.
    Send(String),
    /// It went out before, or there was nobody to write to.
    Over,
}

/// How handing over ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The mail server took responsibility.
    Sent,
    /// The mail server said no for good.
    Refused,
}

/// The database.
pub trait Store {
    /// Writes the mail's row before it is sent. A refused mail may be tried again: somebody replayed its event.
    fn begin(&self, wanted: &Wanted, message_id: &str) -> Result<Begun, Failure>;
    /// Notes the end; with the inbox row if it was sent.
    fn finish(&self, wanted: &Wanted, end: End) -> Result<(), Failure>;
    /// Notes that there is nobody to write to, with the inbox row.
    fn unaddressed(&self, wanted: &Wanted, message_id: &str) -> Result<(), Failure>;
    /// Deletes up to a batch of rows past their retention; how many.
    fn prune(&self) -> Result<u64, Failure>;
}
