//! Which dead letters of a group still wait, for the metrics. Pure. Invariant: a letter is counted until its mark says
//! that it is settled, in whichever order the two are read.

use std::collections::{BTreeMap, HashMap};

use super::letter::{Letter, Place};
use super::mark::State;

/// So many letters are known one by one; what comes beyond counts as open until the next start. A letter takes about
/// 100 bytes here.
const MAX_LETTERS: usize = 200_000;

/// The letters of one group.
#[derive(Debug)]
pub(crate) struct Ledger {
    group: String,
    /// When each unsettled letter failed last, in milliseconds.
    letters: HashMap<Place, i64>,
    /// Marks by place, for letters that are parked, and for letters that were not read yet.
    marks: HashMap<Place, State>,
    /// Letters beyond the limit, by topic.
    beyond: HashMap<String, usize>,
}

/// The letters of one topic that somebody has to deal with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Depth {
    pub(crate) open: usize,
    pub(crate) parked: usize,
    /// When the oldest of them failed, in milliseconds.
    pub(crate) oldest_ms: Option<i64>,
}

impl Ledger {
    pub(crate) fn new(group: &str) -> Self {
        Self { group: group.to_owned(), letters: HashMap::new(), marks: HashMap::new(), beyond: HashMap::new() }
    }

    /// Notes a letter; those of other groups are theirs to count.
    pub(crate) fn letter(&mut self, letter: &Letter) {
        if letter.group != self.group {
            return;
        }
        let settled = self.marks.get(&letter.place).is_some_and(|state| !state.is_unsettled());
        if settled {
            self.marks.remove(&letter.place);
        } else if self.letters.len() < MAX_LETTERS {
            self.letters.insert(letter.place.clone(), letter.last_failure_at_ms);
        } else {
            *self.beyond.entry(letter.place.topic.clone()).or_default() += 1;
        }
    }

    /// Notes a mark.
    pub(crate) fn mark(&mut self, place: Place, state: State) {
        if !state.is_unsettled() && self.letters.remove(&place).is_some() {
            self.marks.remove(&place);
        } else {
            self.marks.insert(place, state);
        }
    }

    /// What is left, by topic.
    pub(crate) fn depths(&self) -> BTreeMap<&str, Depth> {
        let mut depths: BTreeMap<&str, Depth> = BTreeMap::new();
        for (place, failed_ms) in &self.letters {
            let depth = depths.entry(&place.topic).or_default();
            match self.marks.get(place) {
                Some(State::Parked) => depth.parked += 1,
                _ => depth.open += 1,
            }
            depth.oldest_ms = Some(depth.oldest_ms.map_or(*failed_ms, |oldest| oldest.min(*failed_ms)));
        }
        for (topic, beyond) in &self.beyond {
            depths.entry(topic).or_default().open += beyond;
        }
        depths
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::dead_letter::letter::tests::buried;

    fn letter(offset: i64) -> Letter {
        Letter::read(buried(offset, "k", "no", 0))
    }

    #[test]
    fn letters_count_until_they_are_settled_whichever_is_read_first() {
        let mut ledger = Ledger::new("stock");
        ledger.mark(letter(0).place, State::Replayed);
        for offset in 0..4 {
            ledger.letter(&letter(offset));
        }
        ledger.mark(letter(1).place, State::Discarded);
        ledger.mark(letter(2).place, State::Parked);
        let depth = |ledger: &Ledger| ledger.depths().get("things.made.dlq").copied().unwrap_or_default();
        assert_eq!(depth(&ledger), Depth { open: 1, parked: 1, oldest_ms: Some(2_002) });
        ledger.mark(letter(2).place, State::Replayed);
        ledger.mark(letter(3).place, State::Replayed);
        assert_eq!(depth(&ledger), Depth::default());
        assert!(ledger.letters.is_empty() && ledger.marks.is_empty(), "nothing is kept of what is settled");
    }

    #[test]
    fn letters_of_other_groups_are_not_counted() {
        let mut ledger = Ledger::new("mail");
        ledger.letter(&letter(0));
        assert!(ledger.depths().is_empty());
    }
}
