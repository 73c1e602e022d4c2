//! Which dead letters an operator means. Pure. Invariant: every condition that is set must hold.

use serde::Serialize;

use super::letter::Letter;
use super::mark::State;

/// Conditions; those that are not set hold for every letter. Serialized, it is part of the audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Filter {
    /// The group that could not handle it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// A part of the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_contains: Option<String>,
    /// The whole key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Last failed at this time or later, in milliseconds since 1970-01-01T00:00:00Z.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Last failed before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// Partition and offset of letters, any of them; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<(i32, i64)>,
    /// What became of it, any of them; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
}

impl Filter {
    /// Whether a letter in this state is meant.
    pub fn means(&self, letter: &Letter, state: State) -> bool {
        let equal = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let key = || {
            let Some(wanted) = &self.key else { return true };
            letter.message.key.as_deref() == Some(wanted.as_bytes())
        };
        let at = (letter.place.partition, letter.place.offset);
        equal(&self.group, &letter.group)
            && self.reason_contains.as_deref().is_none_or(|part| letter.reason.contains(part))
            && key()
            && self.since_ms.is_none_or(|since| letter.last_failure_at_ms >= since)
            && self.until_ms.is_none_or(|until| letter.last_failure_at_ms < until)
            && (self.offsets.is_empty() || self.offsets.contains(&at))
            && (self.states.is_empty() || self.states.contains(&state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::letter::tests::buried;

    #[test]
    fn every_condition_that_is_set_must_hold() {
        let letter = Letter::read(buried(7, "k", "no such thing", 0));
        let text = |text: &str| Some(text.to_owned());
        let holds = [
            Filter::default(),
            Filter { group: text("stock"), ..Filter::default() },
            Filter { reason_contains: text("such"), ..Filter::default() },
            Filter { key: text("k"), ..Filter::default() },
            Filter { since_ms: Some(2_007), until_ms: Some(2_008), ..Filter::default() },
            Filter { offsets: vec![(0, 7), (1, 7)], ..Filter::default() },
            Filter { states: vec![State::Parked, State::Open], ..Filter::default() },
        ];
        let fails = [
            Filter { group: text("stoc"), ..Filter::default() },
            Filter { reason_contains: text("Such"), ..Filter::default() },
            Filter { key: text("kk"), ..Filter::default() },
            Filter { since_ms: Some(2_008), ..Filter::default() },
            Filter { until_ms: Some(2_007), ..Filter::default() },
            Filter { offsets: vec![(7, 1)], ..Filter::default() },
            Filter { states: vec![State::Replayed], ..Filter::default() },
            Filter { group: text("stock"), key: text("other"), ..Filter::default() },
        ];
        assert!(holds.iter().all(|filter| filter.means(&letter, State::Open)));
        for filter in fails {
            assert!(!filter.means(&letter, State::Open), "{filter:?}");
        }
    }
}
