//! What may be committed of one assigned partition. Pure. Invariant: the position is never beyond a message that was
//! received and is not done, so that a crash at any time redelivers every message that is not done.
//!
//! Offsets may have gaps (compaction, transaction markers), so "contiguous" means contiguous in the order received, not
//! in numbers.

use std::collections::VecDeque;

/// The messages received and not yet committable, in order, and how far the partition is done.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    /// Offset and whether it is done; strictly ascending; the first one, if any, is not done.
    pending: VecDeque<(i64, bool)>,
    /// The highest offset received so far.
    highest: Option<i64>,
    /// The next offset to consume, if everything before it is done.
    position: Option<i64>,
    /// The position that was last handed out by [`Self::take_position`].
    handed_out: Option<i64>,
}

impl Watermark {
    /// Notes a message. False: it was received before (librdkafka may fetch a few messages again after a pause) and
    /// must be ignored.
    pub(crate) fn receive(&mut self, offset: i64) -> bool {
        if self.highest.is_some_and(|highest| offset <= highest) {
            return false;
        }
        self.highest = Some(offset);
        self.pending.push_back((offset, false));
        true
    }

    /// Notes that a message is handled, or safely among the dead letters.
    pub(crate) fn done(&mut self, offset: i64) {
        if let Ok(at) = self.pending.binary_search_by_key(&offset, |(offset, _)| *offset)
            && let Some(entry) = self.pending.get_mut(at)
        {
            entry.1 = true;
        }
        while let Some((offset, true)) = self.pending.front() {
            self.position = Some(offset + 1);
            self.pending.pop_front();
        }
    }

    /// The first message that is not done.
    pub(crate) fn first_undone(&self) -> Option<i64> {
        self.pending.front().map(|(offset, _)| *offset)
    }

    /// How many messages the window holds, done or not.
    pub(crate) fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// The offset to commit now, if it has moved since the last call.
    pub(crate) fn take_position(&mut self) -> Option<i64> {
        let moved = self.position.filter(|_| self.position != self.handed_out)?;
        self.handed_out = Some(moved);
        Some(moved)
    }

    /// A commit failed, or may have: offer the position again.
    pub(crate) fn commit_failed(&mut self) {
        self.handed_out = None;
    }
}

#[cfg(test)]
mod tests {
    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    fn received(offsets: &[i64]) -> Watermark {
        let mut watermark = Watermark::default();
        for offset in offsets {
            assert!(watermark.receive(*offset));
        }
        watermark
    }

    #[test]
    fn only_the_done_prefix_is_committable() {
        let mut watermark = received(&[5, 6, 7]);
        watermark.done(7);
        watermark.done(6);
        assert_eq!(watermark.take_position(), None);
        assert_eq!(watermark.in_flight(), 3);
        watermark.done(5);
        assert_eq!(watermark.take_position(), Some(8));
        assert_eq!(watermark.in_flight(), 0);
    }

    #[test]
    fn gaps_are_no_obstacle() {
        let mut watermark = received(&[10, 14, 90]);
        watermark.done(14);
        watermark.done(10);
        assert_eq!(watermark.take_position(), Some(15));
    }

    #[test]
    fn duplicates_and_strangers_are_ignored() {
        let mut watermark = received(&[3, 4]);
        assert!(!watermark.receive(4));
        assert!(!watermark.receive(1));
        watermark.done(99);
        assert_eq!(watermark.take_position(), None);
        watermark.done(3);
        watermark.done(4);
        assert!(!watermark.receive(4));
        assert_eq!(watermark.take_position(), Some(5));
    }

    #[test]
    fn a_position_is_offered_once_and_again_after_a_failed_commit() {
        let mut watermark = received(&[0, 1]);
        watermark.done(0);
        assert_eq!(watermark.take_position(), Some(1));
        assert_eq!(watermark.take_position(), None);
        watermark.commit_failed();
        assert_eq!(watermark.take_position(), Some(1));
        watermark.done(1);
        assert_eq!(watermark.take_position(), Some(2));
    }

    /// Goal: the invariant holds for every order of completion. Method: random gaps and orders, compared with the plain
    /// definition.
    #[test]
    fn the_position_never_passes_an_undone_message() {
        for seed in 0..200 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut offsets = Vec::new();
            let mut next = random.random_range(0..1_000);
            for _ in 0..random.random_range(1..60) {
                offsets.push(next);
                next += random.random_range(1..4);
            }
            let mut watermark = received(&offsets);
            let mut order = offsets.clone();
            order.shuffle(&mut random);
            let mut undone = offsets.clone();
            let mut position = None;
            for offset in order {
                watermark.done(offset);
                undone.retain(|other| *other != offset);
                position = watermark.take_position().or(position);
                let first_undone = undone.first().copied().unwrap_or(i64::MAX);
                let expected = offsets.iter().rev().find(|other| **other < first_undone).map(|last| last + 1);
                assert_eq!(position, expected, "seed {seed}");
            }
        }
    }
}
