//! What the timers do. Invariant: one tick is a bounded piece of work; it answers how much it did, so that the next comes at once while there is more.

use std::collections::BTreeSet;

use crate::drift::DRIFT;
use crate::error::Error;
use crate::ports::{Cache, Counters, Store, Surroundings};
use crate::service::Inventory;

/// Ends overdue reservations.
pub const SWEEP: &str = "inventory-sweep";
/// Deletes old rows.
pub const RETENTION: &str = "inventory-retention";
/// Reservations per tick.
const SWEEP_BATCH: u32 = 100;

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// One tick of a timer; how many things were done.
    ///
    /// # Errors
    /// [`Error`]; `Internal` for a timer that is not ours.
    pub fn tick(&self, timer: &str) -> Result<u32, Error> {
        match timer {
            SWEEP => self.sweep(),
            DRIFT => self.compare(),
            RETENTION => self.store.prune().map(|rows| u32::try_from(rows).unwrap_or(u32::MAX)),
            other => Err(Error::Internal(format!("inventory has no timer {other}"))),
        }
    }

    /// Gives overdue reservations back, unless PostgreSQL says that their stock was taken and only the word to Redis got lost.
    fn sweep(&self) -> Result<u32, Error> {
        let overdue = self.counters.overdue(SWEEP_BATCH)?;
        if overdue.is_empty() {
            return Ok(0);
        }
        let applied: BTreeSet<String> = self.store.applied(&overdue)?.into_iter().collect();
        let verdicts: Vec<(String, bool)> = overdue.into_iter().map(|id| (id.clone(), applied.contains(&id))).collect();
        self.counters.expire(&verdicts)
    }
}
