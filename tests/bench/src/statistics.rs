//! What repeats of a run come to. Invariant: a ratio is made of two figures of the same repeat, so that a machine that was slow for a while is slow for both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let upper = values.get(middle).copied()?;
        let lower = if values.len().is_multiple_of(2) { values.get(middle.checked_sub(1)?).copied()? } else { upper };
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }
}

/// `(repeat, variant, figure)`.
pub(crate) type Figure = (u32, String, f64);

/// `numerator/other` for every other variant of which there are figures of the same repeats.
pub(crate) fn ratios(numerator: &str, figures: &[Figure]) -> BTreeMap<String, Spread> {
    let mut by_variant: BTreeMap<&str, BTreeMap<u32, f64>> = BTreeMap::new();
    for (repeat, variant, figure) in figures {
        by_variant.entry(variant).or_default().insert(*repeat, *figure);
    }
    let mut ratios = BTreeMap::new();
    let Some(above) = by_variant.get(numerator) else { return ratios };
    for (variant, below) in by_variant.iter().filter(|(variant, _)| **variant != numerator) {
        let pairs = above.iter().filter_map(|(repeat, figure)| Some(figure / below.get(repeat)?));
        if let Some(spread) = Spread::of(pairs) {
            ratios.insert(format!("{numerator}/{variant}"), spread);
        }
    }
    ratios
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        assert_eq!(Spread::of([4.0, 1.0, 2.0]).unwrap(), Spread { median: 2.0, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap(), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert!(Spread::of([]).is_none());
    }

    /// Goal: ratios pair figures of one repeat. Method: a second repeat that is twice as slow for both, and a variant that has no second repeat.
    #[test]
    fn ratios_are_of_the_same_repeat() {
        let figure = |repeat, variant: &str, figure| (repeat, variant.to_owned(), figure);
        let figures = [
            figure(1, "ours", 300.0),
            figure(1, "theirs", 100.0),
            figure(2, "ours", 150.0),
            figure(2, "theirs", 50.0),
            figure(1, "other", 600.0),
        ];
        let ratios = ratios("ours", &figures);
        assert_eq!(ratios["ours/theirs"], Spread { median: 3.0, min: 3.0, max: 3.0 });
        assert_eq!(ratios["ours/other"], Spread { median: 0.5, min: 0.5, max: 0.5 });
        assert_eq!(ratios.len(), 2);
    }
}
