//! Products, prices and counters. Invariant: a price is never made up, and the value that a missing counter is set to is exact, whatever runs at the
//! same time: it is set only while the ticket stands that Redis gave out when the working out began.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use swiftcart_domain::money::{self, ChargeLimits};
use uuid::Uuid;

use crate::app::App;
use crate::model::{Line, Request, Shortage};
use crate::stock::{OpenLine, Refilled, Reserved};
use crate::store::{StockLevel, StoreError};

/// How often a missing counter is worked out anew before giving up: each time somebody else changed the stock meanwhile.
const REFILL_ATTEMPTS: u32 = 8;

/// A product without its stock; its JSON is what Redis caches.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Product {
    pub(crate) sku: String,
    pub(crate) name: String,
    pub(crate) unit_price: u64,
    pub(crate) currency: String,
    /// Grows with every change of the above.
    pub(crate) version: u64,
}

/// Why there is no quote.
pub(crate) enum QuoteError {
    UnknownSku(Vec<String>),
    CurrencyMismatch(Vec<String>),
    AmountOutOfRange,
    Failed(StoreError),
}

impl App {
    /// Prices as they stand now, and their sum.
    pub(crate) async fn quote(&self, request: &Request) -> Result<(Vec<Line>, u64), QuoteError> {
        let skus: Vec<String> = request.lines.iter().map(|(sku, _)| sku.clone()).collect();
        let products = self.products(&skus).await.map_err(QuoteError::Failed)?;
        let missing: Vec<String> = skus.iter().filter(|sku| !products.contains_key(*sku)).cloned().collect();
        if !missing.is_empty() {
            return Err(QuoteError::UnknownSku(missing));
        }
        let foreign = |sku: &&String| products.get(*sku).is_some_and(|product| product.currency != request.currency);
        let foreign: Vec<String> = skus.iter().filter(foreign).cloned().collect();
        if !foreign.is_empty() {
            return Err(QuoteError::CurrencyMismatch(foreign));
        }
        let line = |(sku, quantity): &(String, u32)| {
            let unit_price = products.get(sku)?.unit_price;
            Some(Line { sku: sku.clone(), quantity: *quantity, unit_price })
        };
        let lines: Vec<Line> = request.lines.iter().filter_map(line).collect();
        let total = money::total(lines.iter().map(|line| (line.quantity, line.unit_price)))
            .and_then(|total| ChargeLimits::default().check(total))
            .map_err(|_| QuoteError::AmountOutOfRange)?;
        Ok((lines, total))
    }

    /// Products by sku, from the cache where it has them; unknown ones are left out.
    pub(crate) async fn products(&self, skus: &[String]) -> Result<BTreeMap<String, Product>, StoreError> {
        let mut products = BTreeMap::new();
        let mut missing = Vec::new();
        for (sku, cached) in skus.iter().zip(self.stock.cached(skus).await?) {
            match cached.filter(|product| product.sku == *sku) {
                Some(product) => drop(products.insert(sku.clone(), product)),
                None => missing.push(sku.clone()),
            }
        }
        if !missing.is_empty() {
            let found = self.databases.products(&missing).await?;
            if !found.is_empty() {
                // Only a cache: a failure here costs the next reader a query.
                let _ = self.stock.remember(&found).await;
            }
            products.extend(found.into_iter().map(|product| (product.sku.clone(), product)));
        }
        Ok(products)
    }

    /// Reserves; counters that are missing are worked out first. A sku that does not exist is short of everything.
    pub(crate) async fn reserve(&self, order_id: Uuid, lines: &[Line]) -> Result<Reserved, StoreError> {
        let mut missing = Vec::new();
        for _ in 0..REFILL_ATTEMPTS {
            missing = match self.stock.reserve(order_id, lines).await? {
                Reserved::Missing(skus) => skus,
                other => return Ok(other),
            };
            let unknown = self.refill(&missing).await?;
            if !unknown.is_empty() {
                let short = lines.iter().filter(|line| unknown.contains(&line.sku));
                let short =
                    short.map(|line| Shortage { sku: line.sku.clone(), requested: line.quantity, available: 0 });
                return Ok(Reserved::Short(short.collect()));
            }
        }
        Err(StoreError::Unavailable(format!("the counters of {missing:?} change too fast")))
    }

    /// What can be sold now of a product that exists.
    pub(crate) async fn available(&self, sku: &str) -> Result<u64, StoreError> {
        let skus = [sku.to_owned()];
        for _ in 0..REFILL_ATTEMPTS {
            if let Some(Some(counter)) = self.stock.counters(&skus).await?.first() {
                return Ok(u64::try_from(*counter).unwrap_or(0));
            }
            if !self.refill(&skus).await?.is_empty() {
                return Err(StoreError::Internal(format!("sku {sku} has no product")));
            }
        }
        Err(StoreError::Unavailable(format!("the counter of {sku} changes too fast")))
    }

    /// Adds to a product's stock; false when there is no such product. The counter is forgotten rather than changed: a script that adds could run
    /// twice, or beside a refill that counted the delta.
    pub(crate) async fn restock(&self, sku: &str, delta: i64) -> Result<bool, StoreError> {
        let id = Uuid::new_v4();
        if !self.databases.restock(sku, delta, id).await? {
            return Ok(false);
        }
        self.stock.forget(id, sku).await?;
        self.refill(&[sku.to_owned()]).await?;
        Ok(true)
    }

    /// Tries once to work out the counters of these skus; the skus that do not exist. A counter whose ticket was lost stays missing.
    async fn refill(&self, skus: &[String]) -> Result<Vec<String>, StoreError> {
        let refill = self.stock.begin_refill(skus).await?;
        if refill.tickets.is_empty() {
            return Ok(Vec::new());
        }
        let missing: Vec<String> = refill.tickets.iter().map(|(sku, _)| sku.clone()).collect();
        let mut reservations: Vec<Uuid> = refill.open.iter().map(|line| line.id).collect();
        reservations.sort_unstable();
        reservations.dedup();
        let levels = self.databases.stock_levels(&missing, &reservations).await?;
        let (mut values, mut unknown) = (Vec::new(), Vec::new());
        for (sku, ticket) in refill.tickets {
            match levels.iter().find(|level| level.sku == sku) {
                Some(level) => values.push(Refilled { sku, ticket, value: counter(level, &refill.open) }),
                None => unknown.push(sku),
            }
        }
        if !values.is_empty() {
            self.stock.finish_refill(&values).await?;
        }
        Ok(unknown)
    }
}

/// What lies on the shelf minus what open reservations will still take from it.
fn counter(level: &StockLevel, open: &[OpenLine]) -> i64 {
    let held: i64 = open
        .iter()
        .filter(|line| line.sku == level.sku && !level.applied.contains(&line.id))
        .map(|line| line.quantity)
        .sum();
    level.on_hand.saturating_sub(held)
}
