//! The use cases: one function per WIT function. Model and ports, no SQL, no WIT types.
//!
//! `create` and the sweep have rooms of their own; what both share, deciding an order, is in `conclude`. `cancel` and `consume` take
//! confirmed orders back.

mod cancel;
mod conclude;
mod consume;
mod create;
pub mod query;
mod sweep;

use crate::error::TickError;
use crate::ports::{Clock, Level, Log, Payments, Random, Sealer, Stock, Store, Tracer};

/// How many rows of each table one tick of `order-retention` deletes at most.
const PURGE_LIMIT: u32 = 1_000;

/// The use cases over their ports.
pub struct Orders<'a> {
    /// The orders database.
    pub store: &'a dyn Store,
    /// Inventory.
    pub stock: &'a dyn Stock,
    /// Payment.
    pub payments: &'a dyn Payments,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Randomness.
    pub random: &'a dyn Random,
    /// Mail addresses.
    pub sealer: &'a dyn Sealer,
    /// The trace of this call.
    pub tracer: &'a dyn Tracer,
    /// What nobody is told.
    pub log: &'a dyn Log,
}

impl Orders<'_> {
    /// A timer fired. Gives how many things were done; while that is not 0 the next tick comes at once.
    ///
    /// # Errors
    /// For a timer that is none of ours, and when the database cannot be reached.
    pub fn tick(&self, name: &str) -> Result<u32, TickError> {
        match name {
            "order-sweep" => Ok(self.sweep()?),
            "order-retention" => Ok(self.store.purge(PURGE_LIMIT)?),
            other => Err(TickError::UnknownTimer(other.to_owned())),
        }
    }

    fn warn(&self, message: &str) {
        self.log.log(Level::Warn, message);
    }
}
