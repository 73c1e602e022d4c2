//! Working out missing counters. Invariant: the value that is set is exact, whatever runs at the same time.
//!
//! Redis hands out a ticket per sku and lists its open reservations; PostgreSQL tells in one snapshot what lies on the shelf and which of those
//! reservations were taken from it already; the value is set only while the ticket stands. While a counter is missing nobody can reserve. A release
//! and an expiry drop the ticket, and so does everything that forgets a counter (stock that was added, an order applied without a reservation),
//! because the list or the snapshot may be older than they. An order that is applied in between changes nothing: taken from the shelf, it is not
//! held any more.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::model;
use crate::ports::{Cache, Counters, Store, Surroundings};
use crate::service::{Inventory, REFILL_ATTEMPTS, counter_key};

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// Tries once to work out the counters of these skus; the skus that do not exist. A counter whose ticket was lost stays missing.
    pub(crate) fn refill(&self, skus: &[String]) -> Result<Vec<String>, Error> {
        let refill = self.counters.begin_refill(skus)?;
        if refill.tickets.is_empty() {
            return Ok(Vec::new());
        }
        let missing: Vec<String> = refill.tickets.iter().map(|(sku, _)| sku.clone()).collect();
        let mut reservations: Vec<String> = refill.open.iter().map(|line| line.id.clone()).collect();
        reservations.sort();
        reservations.dedup();
        let levels: BTreeMap<String, _> = self
            .store
            .stock_levels(&missing, &reservations)?
            .into_iter()
            .map(|level| (level.sku.clone(), level))
            .collect();
        let (mut values, mut unknown) = (Vec::new(), Vec::new());
        for (sku, ticket) in refill.tickets {
            match levels.get(&sku) {
                Some(level) => values.push((sku, ticket, model::counter(level, &refill.open))),
                None => unknown.push(sku),
            }
        }
        if !values.is_empty() {
            self.counters.finish_refill(&values)?;
        }
        Ok(unknown)
    }

    /// What can be sold now of products that exist; never negative.
    pub(crate) fn available(&self, skus: &[String]) -> Result<BTreeMap<String, u64>, Error> {
        let mut available = BTreeMap::new();
        let mut missing: Vec<String> = skus.to_vec();
        for _ in 0..REFILL_ATTEMPTS {
            let keys: Vec<String> = missing.iter().map(|sku| counter_key(sku)).collect();
            let mut still_missing = Vec::new();
            for (sku, value) in missing.into_iter().zip(self.cache.get_many(&keys)?) {
                match value {
                    Some(value) => drop(available.insert(sku, parse_counter(&value)?)),
                    None => still_missing.push(sku),
                }
            }
            missing = still_missing;
            if missing.is_empty() {
                return Ok(available);
            }
            if let Some(sku) = self.refill(&missing)?.first() {
                return Err(Error::Internal(format!("sku {sku} has no product")));
            }
        }
        Err(Error::Unavailable(format!("the counters of {missing:?} change too fast")))
    }
}

fn parse_counter(value: &[u8]) -> Result<u64, Error> {
    let value: i64 = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::Internal("a stock counter in Redis is no integer".to_owned()))?;
    Ok(u64::try_from(value).unwrap_or(0))
}
