//! Money: integer minor units and an ISO 4217 currency. Invariant: no amount is ever rounded, and no sum wraps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The smallest unit price, in minor units.
pub const UNIT_PRICE_MIN: u64 = 1;
/// The largest unit price, in minor units.
pub const UNIT_PRICE_MAX: u64 = 1_000_000_000;
/// The smallest total that the PSP charges by default, in minor units.
pub const CHARGE_MIN: u64 = 50;
/// The largest total that the PSP charges by default, in minor units.
pub const CHARGE_MAX: u64 = 99_999_999;
/// The largest number of lines in one order.
pub const LINES_MAX: usize = 100;
/// The largest quantity in one line.
pub const QUANTITY_MAX: u32 = 1_000;

/// Why something is not money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("a currency is three capital letters")]
    Currency,
    /// Outside `UNIT_PRICE_MIN..=UNIT_PRICE_MAX`.
    #[error("a unit price is 1..1000000000 minor units")]
    UnitPrice,
    /// The sum does not fit, or lies outside what may be charged.
    #[error("the total is outside what may be charged")]
    Total,
}

/// Three capital letters, as in ISO 4217.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only made from ASCII capitals, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| MoneyError::Currency)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(MoneyError::Currency) }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.as_str().to_owned()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What may be charged for one order, in minor units, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeLimits {
    /// The smallest total.
    pub min: u64,
    /// The largest total.
    pub max: u64,
}

impl Default for ChargeLimits {
    fn default() -> Self {
        Self { min: CHARGE_MIN, max: CHARGE_MAX }
    }
}

impl ChargeLimits {
    /// Checks a total.
    ///
    /// # Errors
    /// `Total` when it lies outside.
    pub fn check(&self, total: u64) -> Result<u64, MoneyError> {
        if (self.min..=self.max).contains(&total) { Ok(total) } else { Err(MoneyError::Total) }
    }
}

/// Checks a unit price, in minor units.
///
/// # Errors
/// `UnitPrice` when it lies outside `UNIT_PRICE_MIN..=UNIT_PRICE_MAX`.
pub fn check_unit_price(price: u64) -> Result<u64, MoneyError> {
    if (UNIT_PRICE_MIN..=UNIT_PRICE_MAX).contains(&price) { Ok(price) } else { Err(MoneyError::UnitPrice) }
}

/// The sum of `(quantity, unit price)` over all lines, in minor units.
///
/// # Errors
/// `UnitPrice` for a price out of range, `Total` when the sum overflows.
pub fn total(lines: impl IntoIterator<Item = (u32, u64)>) -> Result<u64, MoneyError> {
    lines.into_iter().try_fold(0_u64, |sum, (quantity, unit_price)| {
        let amount = check_unit_price(unit_price)?.checked_mul(u64::from(quantity)).ok_or(MoneyError::Total)?;
        sum.checked_add(amount).ok_or(MoneyError::Total)
    })
}

/// Minor units as people write them: `USD 12.99`, `JPY 1299`, `KWD 1.299`. Decimals as in ISO 4217.
#[must_use]
pub fn amount(minor: u64, currency: &str) -> String {
    let decimals = match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    if decimals == 0 {
        return format!("{currency} {minor}");
    }
    let unit = 10_u64.pow(decimals);
    format!("{currency} {}.{:0width$}", minor / unit, minor % unit, width = decimals as usize)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn a_currency_is_three_capitals() {
        for good in ["USD", "EUR", "JPY"] {
            assert_eq!(good.parse::<Currency>().unwrap().as_str(), good);
        }
        for bad in ["", "US", "USDX", "usd", "U D", "Üx", "€"] {
            assert_eq!(bad.parse::<Currency>(), Err(MoneyError::Currency), "{bad}");
        }
        assert_eq!(serde_json::to_string(&"USD".parse::<Currency>().unwrap()).unwrap(), "\"USD\"");
        assert!(serde_json::from_str::<Currency>("\"usd\"").is_err());
    }

    #[test]
    fn a_total_is_exact_or_refused() {
        assert_eq!(total([(2, 1299)]), Ok(2598));
        assert_eq!(total([]), Ok(0));
        assert_eq!(total([(1, 0)]), Err(MoneyError::UnitPrice));
        assert_eq!(total([(1, UNIT_PRICE_MAX + 1)]), Err(MoneyError::UnitPrice));
        // The largest order that the shape allows still fits.
        assert_eq!(total(vec![(QUANTITY_MAX, UNIT_PRICE_MAX); LINES_MAX]), Ok(100_000_000_000_000));
        assert_eq!(total(vec![(u32::MAX, UNIT_PRICE_MAX); 5]), Err(MoneyError::Total));
    }

    #[test]
    fn a_total_does_not_depend_on_the_order_of_the_lines() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            seed >> 33
        };
        for _ in 0..200 {
            let mut lines: Vec<(u32, u64)> = (0..next() % 20)
                .map(|_| (u32::try_from(next() % 1000).unwrap() + 1, next() % UNIT_PRICE_MAX + 1))
                .collect();
            let there = total(lines.iter().copied());
            lines.reverse();
            assert_eq!(there, total(lines.iter().copied()));
            let exact: u128 = lines.iter().map(|(quantity, price)| u128::from(*quantity) * u128::from(*price)).sum();
            assert_eq!(u128::from(there.unwrap()), exact);
        }
    }

    #[test]
    fn the_limits_include_both_ends() {
        let limits = ChargeLimits::default();
        assert_eq!(limits.check(49), Err(MoneyError::Total));
        assert_eq!(limits.check(50), Ok(50));
        assert_eq!(limits.check(99_999_999), Ok(99_999_999));
        assert_eq!(limits.check(100_000_000), Err(MoneyError::Total));
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (minor, currency, text) in [
            (1299, "USD", "USD 12.99"),
            (5, "EUR", "EUR 0.05"),
            (1299, "JPY", "JPY 1299"),
            (1299, "KWD", "KWD 1.299"),
            (0, "USD", "USD 0.00"),
            (u64::MAX, "USD", "USD 184467440737095516.15"),
        ] {
            assert_eq!(amount(minor, currency), text);
        }
    }
}
