//! Comparing counters with the books while orders flow. Invariant: a counter is only ever forgotten here, never set; what takes its place is worked out
//! by [`refill`](crate::refill), which is exact whatever runs meanwhile. So a needless repair costs a query, and a missed one waits for the next round.
//!
//! A counter must be `on_hand` minus what open reservations will still take. Redis is looked at before and after PostgreSQL: only where nothing moved in
//! between do the three belong together. A step that is between its two stores just then looks like a drift, so a counter is repaired when it is
//! off by the same amount twice, some seconds apart. Counters that are missing (Redis lost everything) are worked out on the way.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::model::{self, OpenLine};
use crate::ports::{Cache, Counters, Doubt, Inspection, Store, Surroundings};
use crate::service::Inventory;

/// Compares counters with the books.
pub const DRIFT: &str = "inventory-drift";
/// Skus per tick.
const PAGE: u32 = 200;
/// Skus per refill: its script looks each of them up in each open reservation.
const REFILL_PAGE: usize = 20;
/// Steps between the two stores take milliseconds; what is off for longer has been left so.
const DOUBT_MIN_AGE_MS: u64 = 5_000;

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// Compares one page of skus; how many, or 0 at the end of a round.
    pub(crate) fn compare(&self) -> Result<u32, Error> {
        let from = self.counters.drift_cursor()?;
        let page = self.store.page(from.as_deref(), PAGE)?;
        let skus: Vec<String> = page.into_iter().map(|product| product.sku).collect();
        let next = skus.last().filter(|_| skus.len() == PAGE as usize);
        if !skus.is_empty() {
            self.compare_skus(&skus)?;
        }
        if next.is_some() || from.is_some() {
            self.counters.set_drift_cursor(next.map(String::as_str))?;
        }
        Ok(if next.is_some() { PAGE } else { 0 })
    }

    fn compare_skus(&self, skus: &[String]) -> Result<(), Error> {
        let before = self.counters.inspect(skus)?;
        let mut reservations: Vec<String> = before.open.iter().map(|line| line.id.clone()).collect();
        reservations.sort();
        reservations.dedup();
        let levels = self.store.stock_levels(skus, &reservations)?;
        let after = self.counters.inspect(skus)?;
        let mut doubts = Vec::new();
        for level in &levels {
            let sku = level.sku.as_str();
            let (Some(seen), true) = (before.counters.get(sku), same(&before, &after, sku)) else { continue };
            let expected = model::counter(level, &before.open);
            if *seen != expected {
                let sku = sku.to_owned();
                doubts.push(Doubt { sku, on_hand: level.on_hand, seen: *seen, expected });
            }
        }
        let known = |sku: &String| before.counters.contains_key(sku) || after.counters.contains_key(sku);
        let mut missing: Vec<String> = skus.iter().filter(|sku| !known(sku)).cloned().collect();
        if !missing.is_empty() {
            self.surroundings.log_info(&format!("{} counters of stock are missing and are worked out", missing.len()));
        }
        missing.extend(self.mend(doubts)?);
        missing.chunks(REFILL_PAGE).try_for_each(|skus| self.refill(skus).map(drop))
    }

    /// Forgets what was doubtful before in the same way; the skus.
    fn mend(&self, doubts: Vec<Doubt>) -> Result<Vec<String>, Error> {
        if doubts.is_empty() {
            return Ok(Vec::new());
        }
        let mended = self.counters.mend(&doubts, DOUBT_MIN_AGE_MS)?;
        let mended: Vec<Doubt> = doubts.into_iter().filter(|doubt| mended.contains(&doubt.sku)).collect();
        for Doubt { sku, on_hand, seen, expected } in &mended {
            let text = format!(
                "the counter of sku {sku} was {seen} and must be {expected} ({on_hand} on hand): worked out anew"
            );
            self.surroundings.log_warning(&text);
        }
        Ok(mended.into_iter().map(|doubt| doubt.sku).collect())
    }
}

/// Whether nothing of a sku moved between two looks.
fn same(before: &Inspection, after: &Inspection, sku: &str) -> bool {
    let open = |inspection: &Inspection| -> BTreeMap<String, u64> {
        let lines = inspection.open.iter().filter(|line| line.sku == sku);
        lines.map(|OpenLine { id, quantity, .. }| (id.clone(), *quantity)).collect()
    };
    before.counters.get(sku) == after.counters.get(sku) && open(before) == open(after)
}
