//! What an order needs of stock: quote, reserve, release. Invariant: every call is idempotent by order id and writes to one store only.

use std::collections::BTreeMap;

use swiftcart_domain::money::ChargeLimits;

use crate::error::{Error, QuoteError, ReserveError};
use crate::model::{self, Line, MARKER_MS, Product, Quote, Shortage};
use crate::ports::{Cache, Counters, Reserved, Store, Surroundings};

/// How often a missing counter is worked out anew before giving up: each time somebody else changed the stock meanwhile.
pub(crate) const REFILL_ATTEMPTS: u32 = 8;

/// The use cases with what they work on.
pub struct Inventory<S, C, K, O> {
    /// The database.
    pub store: S,
    /// The scripts in Redis.
    pub counters: C,
    /// Plain reads from Redis.
    pub cache: K,
    /// Time, randomness, trace.
    pub surroundings: O,
    /// How long a reservation holds stock that is neither applied nor released, in milliseconds.
    pub reservation_ttl_ms: u64,
}

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// Prices of the lines as they stand now; writes nothing but the cache.
    ///
    /// # Errors
    /// [`QuoteError`].
    pub fn quote(&self, lines: Vec<Line>, currency: &str) -> Result<Quote, QuoteError> {
        let skus: Vec<String> = lines.iter().map(|line| line.sku.clone()).collect();
        let products = self.products(&skus)?;
        model::price(lines, currency, &products, ChargeLimits::default())
    }

    /// Holds the lines for an order, all or none.
    ///
    /// # Errors
    /// [`ReserveError`].
    pub fn reserve(&self, order_id: &str, lines: &[Line]) -> Result<(), ReserveError> {
        if let Some(sku) = model::repeated(lines) {
            return Err(Error::Internal(format!("sku {sku} stands in two lines")).into());
        }
        match self.hold(order_id, MARKER_MS, lines)? {
            Reserved::Done => Ok(()),
            Reserved::Closed => Err(ReserveError::Closed),
            Reserved::Short(shortages) => Err(ReserveError::OutOfStock(shortages)),
            Reserved::Missing(skus) => {
                Err(Error::Unavailable(format!("the counters of {skus:?} change too fast")).into())
            }
        }
    }

    /// Gives an order's reservation back, and bars a later one. A confirmed order's stock is not touched.
    ///
    /// # Errors
    /// [`Error`].
    pub fn release(&self, order_id: &str) -> Result<(), Error> {
        self.counters.release(order_id)
    }

    /// Reserves; counters that are missing are worked out first. A sku that does not exist is short of everything.
    pub(crate) fn hold(&self, id: &str, marker_ms: u64, lines: &[Line]) -> Result<Reserved, Error> {
        let mut missing = Vec::new();
        for _ in 0..REFILL_ATTEMPTS {
            missing = match self.counters.reserve(id, self.reservation_ttl_ms, marker_ms, lines)? {
                Reserved::Missing(skus) => skus,
                other => return Ok(other),
            };
            let unknown = self.refill(&missing)?;
            if !unknown.is_empty() {
                let short = lines.iter().filter(|line| unknown.contains(&line.sku));
                return Ok(Reserved::Short(
                    short
                        .map(|line| Shortage { sku: line.sku.clone(), requested: line.quantity, available: 0 })
                        .collect(),
                ));
            }
        }
        Ok(Reserved::Missing(missing))
    }

    /// Products by sku, from the cache where it has them; unknown ones are left out.
    pub(crate) fn products(&self, skus: &[String]) -> Result<BTreeMap<String, Product>, Error> {
        let keys: Vec<String> = skus.iter().map(|sku| product_key(sku)).collect();
        let mut products = BTreeMap::new();
        let mut missing = Vec::new();
        for (sku, cached) in skus.iter().zip(self.cache.get_many(&keys)?) {
            // What cannot be read any more (an older form, say) counts as not cached.
            match cached
                .and_then(|json| serde_json::from_slice::<Product>(&json).ok())
                .filter(|product| product.sku == *sku)
            {
                Some(product) => drop(products.insert(sku.clone(), product)),
                None => missing.push(sku.clone()),
            }
        }
        if !missing.is_empty() {
            let found = self.store.products(&missing)?;
            if !found.is_empty() {
                // Only a cache: a failure here costs the next reader a query, not this one its answer.
                let _ = self.counters.remember(&found);
            }
            products.extend(found.into_iter().map(|product| (product.sku.clone(), product)));
        }
        Ok(products)
    }
}

/// Where a product is cached.
#[must_use]
pub fn product_key(sku: &str) -> String {
    format!("product:{sku}")
}

/// Where a sku's counter stands.
#[must_use]
pub fn counter_key(sku: &str) -> String {
    format!("available_stock:{sku}")
}
