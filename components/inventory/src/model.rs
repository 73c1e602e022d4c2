//! Products, prices and counter values as plain values. Invariant: no I/O, no clock; a price is never made up and a sum never wraps.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use swiftcart_domain::money::{self, ChargeLimits};
use uuid::Uuid;

use crate::error::QuoteError;

/// How long the end of an order's reservation is remembered, in milliseconds: longer than anybody retries.
pub const MARKER_MS: u64 = 24 * 60 * 60 * 1000;
/// The largest change of one adjustment; keeps every sum far from the ends of a 64-bit integer and exact in Lua.
pub const DELTA_MAX: u64 = 1_000_000_000;

/// So many of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub sku: String,
    /// How many.
    pub quantity: u32,
}

/// A line at its price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedLine {
    /// The product.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// Minor units.
    pub unit_price: u64,
}

/// What lines cost now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// In the order asked for.
    pub lines: Vec<PricedLine>,
    /// Minor units.
    pub total: u64,
    /// ISO 4217.
    pub currency: String,
}

/// A line that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The product.
    pub sku: String,
    /// How many were asked for.
    pub requested: u32,
    /// How many there are.
    pub available: u64,
}

/// A product without its stock; its JSON is what Redis caches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Product {
    /// Its name in URLs and orders.
    pub sku: String,
    /// Its name for people.
    pub name: String,
    /// Minor units.
    pub unit_price: u64,
    /// ISO 4217.
    pub currency: String,
    /// Grows with every change of the above.
    pub version: u64,
}

/// A product with what can be sold now; its JSON is what an idempotency key keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// The product.
    pub product: Product,
    /// Never negative, even when a counter is.
    pub available_stock: u64,
}

/// Why somebody changes stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Goods came in.
    Restock,
    /// The count was wrong.
    Correction,
}

impl Reason {
    /// The movement's kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Restock => "restock",
            Self::Correction => "correction",
        }
    }
}

/// The idempotency key of an adjustment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdjustmentKey {
    /// Whose key it is.
    pub user_id: Uuid,
    /// The key.
    pub key: String,
}

/// A change of stock as it is written.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// Names the movement, and the hold in Redis.
    pub id: Uuid,
    /// The product.
    pub sku: String,
    /// Signed, never 0.
    pub delta: i64,
    /// Why.
    pub reason: Reason,
    /// If the caller gave one.
    pub key: Option<AdjustmentKey>,
    /// What is told, now and to the same key later.
    pub answer: Offer,
}

impl Adjustment {
    /// What a key stands for: the same text for the same request.
    #[must_use]
    pub fn fingerprint(sku: &str, delta: i64, reason: Reason) -> String {
        format!("{sku} {delta} {}", reason.as_str())
    }
}

/// An open reservation's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLine {
    /// The reservation: an order or an adjustment.
    pub id: String,
    /// The product.
    pub sku: String,
    /// How many it holds.
    pub quantity: u64,
}

/// What PostgreSQL knows of a sku's stock, in one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockLevel {
    /// The product.
    pub sku: String,
    /// What lies on the shelf.
    pub on_hand: u64,
    /// Which of the reservations asked about were already taken from `on_hand`.
    pub applied: BTreeSet<String>,
}

/// The value that a counter must have: what lies on the shelf minus what open reservations will still take from it. A reservation that is open
/// in Redis but applied in PostgreSQL (its consumer is between the two) was taken already. Negative when stock was lost under open reservations.
#[must_use]
pub fn counter(level: &StockLevel, open: &[OpenLine]) -> i64 {
    let held: u64 = open
        .iter()
        .filter(|line| line.sku == level.sku && !level.applied.contains(&line.id))
        .map(|line| line.quantity)
        .sum();
    i64::try_from(level.on_hand).unwrap_or(i64::MAX).saturating_sub_unsigned(held)
}

/// Prices the lines. Unknown skus are told before other currencies, those before an amount that may not be charged.
///
/// # Errors
/// [`QuoteError`] without `Failed`.
pub fn price(
    lines: Vec<Line>,
    currency: &str,
    products: &BTreeMap<String, Product>,
    limits: ChargeLimits,
) -> Result<Quote, QuoteError> {
    let missing: Vec<String> =
        lines.iter().filter(|line| !products.contains_key(&line.sku)).map(|line| line.sku.clone()).collect();
    if !missing.is_empty() {
        return Err(QuoteError::UnknownSku(missing));
    }
    let foreign: Vec<String> = lines
        .iter()
        .filter(|line| products.get(&line.sku).is_some_and(|product| product.currency != currency))
        .map(|line| line.sku.clone())
        .collect();
    if !foreign.is_empty() {
        return Err(QuoteError::CurrencyMismatch(foreign));
    }
    let lines: Vec<PricedLine> = lines
        .into_iter()
        .filter_map(|line| {
            let unit_price = products.get(&line.sku)?.unit_price;
            Some(PricedLine { sku: line.sku, quantity: line.quantity, unit_price })
        })
        .collect();
    let total = money::total(lines.iter().map(|line| (line.quantity, line.unit_price)))
        .and_then(|total| limits.check(total))
        .map_err(|_| QuoteError::AmountOutOfRange)?;
    Ok(Quote { lines, total, currency: currency.to_owned() })
}

/// The first sku that stands in more than one line.
#[must_use]
pub fn repeated(lines: &[Line]) -> Option<&str> {
    let mut seen = BTreeSet::new();
    lines.iter().map(|line| line.sku.as_str()).find(|sku| !seen.insert(*sku))
}

/// A confirmed order as its event tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The event.
    pub event_id: Uuid,
    /// The order.
    pub order_id: Uuid,
    /// Its lines, no sku twice.
    pub lines: Vec<Line>,
}

/// How an order came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The buyer took it back.
    Cancelled,
    /// It failed.
    Failed,
}

impl EndReason {
    /// Its text in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// The end of an order as its event tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The event.
    pub event_id: Uuid,
    /// The order.
    pub order_id: Uuid,
    /// Why.
    pub reason: EndReason,
}

#[cfg(test)]
mod tests {
    //! Goal: prices and counter values are right at their edges. Method: plain values.
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn products() -> BTreeMap<String, Product> {
        [("A", 1299, "USD"), ("B", 100, "EUR"), ("C", 1_000_000_000, "USD"), ("D", 1, "USD")]
            .into_iter()
            .map(|(sku, unit_price, currency)| {
                (
                    sku.to_owned(),
                    Product {
                        sku: sku.to_owned(),
                        name: sku.to_owned(),
                        unit_price,
                        currency: currency.to_owned(),
                        version: 1,
                    },
                )
            })
            .collect()
    }

    fn quote(lines: &[(&str, u32)], currency: &str) -> Result<Quote, QuoteError> {
        let lines = lines.iter().map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }).collect();
        price(lines, currency, &products(), ChargeLimits::default())
    }

    #[test]
    fn a_quote_keeps_the_order_of_lines_and_sums_exactly() {
        let quote = quote(&[("D", 3), ("A", 2)], "USD").unwrap();
        assert_eq!(quote.total, 2601);
        assert_eq!(
            quote.lines.iter().map(|line| (line.sku.as_str(), line.unit_price)).collect::<Vec<_>>(),
            [("D", 1), ("A", 1299)]
        );
    }

    #[test]
    fn a_quote_is_refused_in_a_fixed_order_of_reasons() {
        assert_eq!(
            quote(&[("B", 1), ("X", 1), ("Y", 1)], "USD"),
            Err(QuoteError::UnknownSku(vec!["X".to_owned(), "Y".to_owned()]))
        );
        assert_eq!(quote(&[("B", 1), ("C", 1000)], "USD"), Err(QuoteError::CurrencyMismatch(vec!["B".to_owned()])));
        assert_eq!(quote(&[("C", 1000)], "USD"), Err(QuoteError::AmountOutOfRange));
        assert_eq!(quote(&[("D", 49)], "USD"), Err(QuoteError::AmountOutOfRange));
        assert_eq!(quote(&[("D", 50)], "USD").unwrap().total, 50);
    }

    #[test]
    fn a_counter_leaves_out_what_was_applied_and_may_be_negative() {
        let open: Vec<OpenLine> = [("1", "A", 3), ("2", "A", 4), ("2", "B", 9)]
            .map(|(id, sku, quantity)| OpenLine { id: id.to_owned(), sku: sku.to_owned(), quantity })
            .to_vec();
        let mut level = StockLevel { sku: "A".to_owned(), on_hand: 10, applied: BTreeSet::new() };
        assert_eq!(counter(&level, &open), 3);
        level.applied.insert("1".to_owned());
        assert_eq!(counter(&level, &open), 6);
        level.on_hand = 1;
        assert_eq!(counter(&level, &open), -3);
    }
}
