//! What the use cases need from outside. Invariant: each method is one atomic step of one store, so that a crash can only fall between methods.

use std::collections::BTreeMap;

use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Adjustment, AdjustmentKey, Confirmed, Ended, Line, Offer, OpenLine, Product, Shortage, StockLevel};

/// The database.
pub trait Store {
    /// The products with these skus; the others are left out.
    fn products(&self, skus: &[String]) -> Result<Vec<Product>, Error>;
    /// Up to `limit` products after `after`, by sku.
    fn page(&self, after: Option<&str>, limit: u32) -> Result<Vec<Product>, Error>;
    /// Makes or changes a product; true when it is new.
    fn put(&self, sku: &str, name: &str, unit_price: u64, currency: &str) -> Result<(Product, bool), Error>;
    /// The fingerprint and answer kept for a key.
    fn find_adjustment(&self, key: &AdjustmentKey) -> Result<Option<(String, Offer)>, Error>;
    /// Changes `on_hand` with its movement and key.
    fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, Error>;
    /// `on_hand` of these skus, and which of these reservations were taken from it, in one snapshot. Unknown skus are left out.
    fn stock_levels(&self, skus: &[String], reservations: &[String]) -> Result<Vec<StockLevel>, Error>;
    /// Which of these reservations were taken from `on_hand`.
    fn applied(&self, reservations: &[String]) -> Result<Vec<String>, Error>;
    /// Takes a confirmed order from `on_hand`, with movements and inbox row, unless the order has ended.
    fn apply(&self, order: &Confirmed) -> Result<Applied, Error>;
    /// Ends a confirmed order that cannot be honoured, with inbox row and the event that says so. False when it was applied or ended meanwhile.
    fn reject(&self, order: &Confirmed, event: &OutboxEvent) -> Result<bool, Error>;
    /// Ends an order, with inbox row, so that it is never applied; if it was, its stock is put back with movements, once. The skus that were put
    /// back, now or before.
    fn end(&self, order: &Ended) -> Result<Vec<String>, Error>;
    /// Deletes up to a batch of rows past their retention; how many.
    fn prune(&self) -> Result<u64, Error>;
}

/// What became of an adjustment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adjusted {
    /// Written.
    Done,
    /// Nothing was written: `on_hand` would be negative.
    BelowZero,
    /// Nothing was written: the key has an answer.
    KeyTaken,
}

/// What became of a confirmed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Taken from `on_hand`, now or by an earlier delivery.
    Done,
    /// The order has ended and was never taken.
    Barred,
    /// The order has ended; what had been taken for it was put back.
    PutBack,
    /// Nothing was written: these skus do not exist.
    UnknownSku(Vec<String>),
    /// Nothing was written: `on_hand` does not suffice.
    Short(Vec<Shortage>),
    /// Nothing was written: another delivery of the same event is being handled right now.
    Busy,
}

/// What became of an attempt to reserve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The lines are held, now or since an earlier call.
    Done,
    /// Nothing was held: the reservation has ended before.
    Closed,
    /// Nothing was held: these skus have no counter.
    Missing(Vec<String>),
    /// Nothing was held: these lines are short.
    Short(Vec<Shortage>),
}

/// A refill that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refill {
    /// The missing counters with their tickets.
    pub tickets: Vec<(String, String)>,
    /// The open lines of all skus asked for.
    pub open: Vec<OpenLine>,
}

/// How counters stand, in one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// By sku; missing ones are left out.
    pub counters: BTreeMap<String, i64>,
    /// The open lines of all skus asked for.
    pub open: Vec<OpenLine>,
}

/// A counter that is not what the books say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The product.
    pub sku: String,
    /// What lies on the shelf.
    pub on_hand: u64,
    /// What the counter was.
    pub seen: i64,
    /// What it must be.
    pub expected: i64,
}

/// The scripts in Redis; each is atomic.
pub trait Counters {
    /// Holds all lines or none; idempotent by `id`. `marker_ms` is how long its end is remembered.
    fn reserve(&self, id: &str, ttl_ms: u64, marker_ms: u64, lines: &[Line]) -> Result<Reserved, Error>;
    /// Gives a reservation back and bars a later one.
    fn release(&self, id: &str) -> Result<(), Error>;
    /// Closes the reservation of an order that was taken from `on_hand`.
    fn apply(&self, id: &str, skus: &[String]) -> Result<(), Error>;
    /// Closes the reservation of an order whose stock was put back on the shelf, and forgets the counters.
    fn put_back(&self, id: &str, skus: &[String]) -> Result<(), Error>;
    /// Drops the hold of an adjustment and forgets the counter.
    fn forget(&self, id: &str, sku: &str) -> Result<(), Error>;
    /// Ids of overdue reservations.
    fn overdue(&self, limit: u32) -> Result<Vec<String>, Error>;
    /// Ends overdue reservations: `true` = it was taken from `on_hand`, else it is given back. How many were ended.
    fn expire(&self, verdicts: &[(String, bool)]) -> Result<u32, Error>;
    /// Begins to work out missing counters.
    fn begin_refill(&self, skus: &[String]) -> Result<Refill, Error>;
    /// Sets counters whose ticket still stands: (sku, ticket, value).
    fn finish_refill(&self, values: &[(String, String, i64)]) -> Result<(), Error>;
    /// How the counters of these skus stand.
    fn inspect(&self, skus: &[String]) -> Result<Inspection, Error>;
    /// Forgets counters that still are what was seen and were off by as much at least so long ago; remembers the other doubts. The skus forgotten.
    fn mend(&self, doubts: &[Doubt], min_age_ms: u64) -> Result<Vec<String>, Error>;
    /// After which sku comparing goes on; none: from the start.
    fn drift_cursor(&self) -> Result<Option<String>, Error>;
    /// Sets it.
    fn set_drift_cursor(&self, sku: Option<&str>) -> Result<(), Error>;
    /// Caches products unless a newer version is cached.
    fn remember(&self, products: &[Product]) -> Result<(), Error>;
}

/// Plain reads from Redis.
pub trait Cache {
    /// One value or none per key, in order.
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error>;
}

/// Time, randomness, the trace of the call that is served, and the log.
pub trait Surroundings {
    /// Microseconds since 1970-01-01T00:00:00Z.
    fn now_micros(&self) -> i64;
    /// A new random id.
    fn new_id(&self) -> Uuid;
    /// `traceparent` and `tracestate`.
    fn trace(&self) -> (String, Option<String>);
    /// Something that explains what happens.
    fn log_info(&self, text: &str);
    /// Something that should not have happened and was put right.
    fn log_warning(&self, text: &str);
}
