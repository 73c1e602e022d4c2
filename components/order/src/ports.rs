//! The small traits that the use cases need. Invariant: everything that a create can see or change from outside passes through one of
//! these, so that tests can end the run at any of them.

use swiftcart_domain::money::Currency;
use uuid::Uuid;

use crate::error::{SealerError, StockError, StoreError};
use crate::model::{
    Decision, Decline, Held, Line, Order, Payment, RefundFailed, Refunded, Reversal, Settlement, Shortage, State, Trace,
};

/// A new order with its idempotency key: what the first transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The order, PENDING, with the first lease.
    pub held: Held,
    /// SHA-256 of the parsed request.
    pub fingerprint: Vec<u8>,
}

/// What became of a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The order is written, now or by an earlier try of this very placement.
    Ours,
    /// Nothing was written: the key is taken.
    KeyTaken,
}

/// What is known under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Of the request that used it first.
    pub fingerprint: Vec<u8>,
    /// The stored answer and the trace id of the request that was decided.
    pub answer: Option<(Decision, String)>,
    /// Reading this record was the first telling of the answer.
    pub first_told: bool,
    /// The order as it is now.
    pub held: Held,
    /// Another run works on it for so many seconds at most; 0: nobody does.
    pub busy_seconds: u32,
}

/// A PENDING order that the sweep has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The order under the sweep's lease.
    pub held: Held,
    /// How often the sweep has looked at it, this time included.
    pub attempt: u32,
}

/// A place in a list of orders, newest first: everything before it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
    /// The last order told.
    pub id: Uuid,
}

/// The orders database. Each function is one transaction.
pub trait Store {
    /// Writes a new order and its key.
    ///
    /// # Errors
    /// After `Uncertain` the same placement may be tried again.
    fn place(&self, placement: &Placement) -> Result<Placed, StoreError>;

    /// What is known under a key that is not too old. If there is an answer to this very request, it counts as told from now on.
    ///
    /// # Errors
    /// As the database says.
    fn find_key(&self, user_id: Uuid, key: &str, fingerprint: &[u8]) -> Result<Option<KeyRecord>, StoreError>;

    /// Takes over a PENDING order that nobody works on, if its epoch is still this one. Gives the new epoch.
    ///
    /// # Errors
    /// As the database says.
    fn take_lease(&self, order_id: Uuid, epoch: i64) -> Result<Option<i64>, StoreError>;

    /// Gives the lease back early: the same key may go on at once.
    ///
    /// # Errors
    /// As the database says.
    fn yield_lease(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError>;

    /// Notes that the buyer is told 202, and leaves the order to the sweep.
    ///
    /// # Errors
    /// As the database says.
    fn note_pending(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError>;

    /// Decides a PENDING order. False: nothing was written, it is decided or another run holds the lease.
    ///
    /// # Errors
    /// After `Uncertain` the same settlement may be tried again.
    fn decide(&self, settlement: &Settlement) -> Result<bool, StoreError>;

    /// An order, whoever owns it.
    ///
    /// # Errors
    /// As the database says.
    fn read(&self, order_id: Uuid) -> Result<Option<Held>, StoreError>;

    /// A user's order.
    ///
    /// # Errors
    /// As the database says.
    fn get(&self, user_id: Uuid, order_id: Uuid) -> Result<Option<Order>, StoreError>;

    /// A user's orders after a position, newest first.
    ///
    /// # Errors
    /// As the database says.
    fn list(
        &self,
        user_id: Uuid,
        after: Option<Position>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Vec<Order>, StoreError>;

    /// Takes the PENDING order that has been left alone for longest.
    ///
    /// # Errors
    /// As the database says.
    fn claim_due(&self) -> Result<Option<Due>, StoreError>;

    /// Leaves an order alone for so many seconds.
    ///
    /// # Errors
    /// As the database says.
    fn postpone(&self, order_id: Uuid, epoch: i64, seconds: u32) -> Result<(), StoreError>;

    /// Takes a CONFIRMED order back, and notes the event that asks for it (`cause`), if one does. False: nothing was written, the order has
    /// changed since it was read.
    ///
    /// # Errors
    /// After `Uncertain` the order tells whether it was written.
    fn reverse(&self, reversal: &Reversal, cause: Option<Uuid>) -> Result<bool, StoreError>;

    /// Writes that the money was given back, and notes the event that says so. False: nothing was written, the order is not at this version
    /// any more, or there is nothing to give back.
    ///
    /// # Errors
    /// After `Uncertain` the order tells whether it was written.
    fn refund(&self, refunded: &Refunded, version: u64, cause: Uuid) -> Result<bool, StoreError>;

    /// Writes that the money was not given back after all, and notes the event that says so. False: nothing was written, the order is not at this
    /// version any more, or that was written before.
    ///
    /// # Errors
    /// After `Uncertain` the order tells whether it was written.
    fn fail_refund(&self, failed: &RefundFailed, version: u64, cause: Uuid) -> Result<bool, StoreError>;

    /// Notes an event that changes nothing. It may be noted already.
    ///
    /// # Errors
    /// As the database says.
    fn note_event(&self, cause: Uuid) -> Result<(), StoreError>;

    /// Deletes at most `limit` keys that are too old, as many outbox rows that were published long ago, and as many inbox rows of events that
    /// will not come again. Gives how many.
    ///
    /// # Errors
    /// As the database says.
    fn purge(&self, limit: u32) -> Result<u32, StoreError>;
}

/// Prices of the lines of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// In the order of the request.
    pub lines: Vec<Line>,
    /// Minor units.
    pub total: u64,
    /// ISO 4217.
    pub currency: Currency,
}

/// Why there is no quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuoteError {
    /// These skus do not exist.
    UnknownSku(Vec<String>),
    /// These skus are sold in another currency.
    CurrencyMismatch(Vec<String>),
    /// The total is outside what may be charged.
    AmountOutOfRange,
    /// Inventory did not answer.
    Failed(StockError),
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReserveError {
    /// These lines are short.
    OutOfStock(Vec<Shortage>),
    /// The reservation was released or has expired; there will be no other.
    Closed,
    /// Inventory did not answer.
    Failed(StockError),
}

/// What an order needs of inventory. Every call is idempotent by order id.
pub trait Stock {
    /// Prices as they stand now.
    ///
    /// # Errors
    /// See [`QuoteError`].
    fn quote(&self, lines: &[(String, u32)], currency: &str) -> Result<Quote, QuoteError>;
    /// Takes the lines out of the available stock, all or none.
    ///
    /// # Errors
    /// See [`ReserveError`].
    fn reserve(&self, order_id: Uuid, lines: &[Line]) -> Result<(), ReserveError>;
    /// Gives a reservation back and bars another.
    ///
    /// # Errors
    /// See [`StockError`].
    fn release(&self, order_id: Uuid) -> Result<(), StockError>;
}

/// What became of a charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Charged.
    Succeeded(Payment),
    /// The PSP said no.
    Declined(Decline, Option<Payment>),
    /// Surely not charged, and never will be under this order id; the text is for the log.
    Unavailable(String),
    /// May or may not be charged; the text is for the log.
    Unknown(String),
    /// This call did nothing. What an earlier one did, it does not say; the text is for the log.
    NotAsked(String),
}

/// Charging. Every call is idempotent by order id.
pub trait Payments {
    /// Whether a charge would be refused on its way at this moment. A hint: asking charges nothing and promises nothing.
    fn refuses(&self) -> bool;
    /// Charges once, whatever happens.
    fn charge(&self, order: &Order, method: &str) -> Outcome;
    /// What became of the charge; if there was none, there never will be one.
    fn settle(&self, order_id: Uuid) -> Outcome;
}

/// The time.
pub trait Clock {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> i64;
}

/// Secure random bytes.
pub trait Random {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// Seals mail addresses.
pub trait Sealer {
    /// Only `notification` can open the result.
    ///
    /// # Errors
    /// When the component's config lacks a key.
    fn seal(&self, email: &str) -> Result<Vec<u8>, SealerError>;
}

/// The trace context of the call that is being served.
pub trait Tracer {
    /// The current one.
    fn current(&self) -> Trace;
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Goes on by itself.
    Warn,
    /// Somebody should look.
    Error,
}

/// Where the use cases say what they cannot answer. Never anything about a person.
pub trait Log {
    /// Writes one line.
    fn log(&self, level: Level, message: &str);
}
