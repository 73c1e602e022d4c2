//! What lies in a dead letter topic, in numbers. Pure. Invariant: every letter is counted once, and the list of causes
//! has a limit, whatever others write into their reasons.

use std::collections::BTreeMap;

use serde::Serialize;

use super::letter::Letter;
use super::mark::State;

/// Causes beyond so many count together under one name.
const MAX_CAUSES: usize = 500;
const OTHERS: &str = "(others)";

/// The letters of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The dead letter topic.
    pub topic: String,
    /// How many are in each state.
    pub letters: BTreeMap<State, usize>,
    /// How many cannot be replayed, because they have no inscription of a consumer; they are among the above.
    pub unreadable: usize,
    /// Why they died, the most frequent first.
    pub causes: Vec<Cause>,
}

/// Letters that died of the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// The group that could not handle them.
    pub group: String,
    /// Where they came from.
    pub original_topic: String,
    /// `rejected` or `retries-exhausted`.
    pub class: String,
    /// The handler's words.
    pub reason: String,
    /// How many.
    pub letters: usize,
    /// When the first of them failed last, in milliseconds since 1970-01-01T00:00:00Z.
    pub first_ms: i64,
    /// When the last of them did.
    pub last_ms: i64,
}

type Key = (String, String, String, String);

/// Counts letters.
#[derive(Debug)]
pub(super) struct Counter {
    summary: Summary,
    causes: BTreeMap<Key, (usize, i64, i64)>,
}

impl Counter {
    pub(super) fn new(topic: &str) -> Self {
        Self { summary: Summary { topic: topic.to_owned(), ..Summary::default() }, causes: BTreeMap::new() }
    }

    pub(super) fn count(&mut self, letter: &Letter, state: State) {
        *self.summary.letters.entry(state).or_default() += 1;
        self.summary.unreadable += usize::from(letter.fault.is_some());
        let key =
            |reason: &str| (letter.group.clone(), letter.origin.topic.clone(), letter.class.clone(), reason.to_owned());
        let mut cause = key(&letter.reason);
        if self.causes.len() >= MAX_CAUSES && !self.causes.contains_key(&cause) {
            let none = String::new;
            cause = (none(), none(), none(), OTHERS.to_owned());
        }
        let at = letter.last_failure_at_ms;
        let entry = self.causes.entry(cause).or_insert((0, at, at));
        *entry = (entry.0 + 1, entry.1.min(at), entry.2.max(at));
    }

    pub(super) fn end(self) -> Summary {
        let cause = |(key, (letters, first_ms, last_ms)): (Key, (usize, i64, i64))| {
            let (group, original_topic, class, reason) = key;
            Cause { group, original_topic, class, reason, letters, first_ms, last_ms }
        };
        let mut causes: Vec<Cause> = self.causes.into_iter().map(cause).collect();
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.letters));
        Summary { causes, ..self.summary }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::letter::tests::buried;

    #[test]
    fn letters_are_counted_by_state_and_cause() {
        let mut counter = Counter::new("things.made.dlq");
        for (offset, reason, state) in
            [(1, "no", State::Open), (5, "no", State::Replayed), (3, "no", State::Open), (9, "broken", State::Parked)]
        {
            counter.count(&Letter::read(buried(offset, "k", reason, 0)), state);
        }
        let summary = counter.end();
        assert_eq!(summary.letters, BTreeMap::from([(State::Open, 2), (State::Parked, 1), (State::Replayed, 1)]));
        let causes: Vec<_> = summary
            .causes
            .iter()
            .map(|cause| (cause.reason.as_str(), cause.letters, cause.first_ms, cause.last_ms))
            .collect();
        assert_eq!(causes, [("no", 3, 2_001, 2_005), ("broken", 1, 2_009, 2_009)]);
    }

    #[test]
    fn causes_have_a_limit() {
        let mut counter = Counter::new("things.made.dlq");
        for number in 0..700 {
            counter.count(&Letter::read(buried(number, "k", &format!("no {number}"), 0)), State::Open);
        }
        let summary = counter.end();
        assert_eq!(summary.causes.len(), MAX_CAUSES + 1);
        assert_eq!(summary.causes.iter().map(|cause| cause.letters).sum::<usize>(), 700);
    }
}
