//! One assigned partition, from the moment it is ours until its last offset is committed. Pure. Invariant: fetching is
//! paused while the partition is held or its window is full, and only then.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::watermark::Watermark;

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicPartition {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
}

/// Next offsets to consume, as Kafka wants them committed.
pub(crate) type Offsets = Vec<(TopicPartition, i64)>;

/// More than this much message data of one partition in the window also pauses it.
const MAX_IN_FLIGHT_BYTES: usize = 16 << 20;

/// What the dispatcher should tell the broker client about fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Keep,
    Pause,
    Resume,
}

#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) partition: TopicPartition,
    pub(crate) watermark: Watermark,
    /// How many of its messages are being handled right now.
    pub(crate) running: usize,
    /// Being revoked, or drained for a shutdown: results still count, new work is not begun.
    pub(crate) closing: bool,
    bytes: usize,
    paused: bool,
    /// Offset and timestamp of the messages in the window, ascending; done ones leave at the front.
    timestamps: VecDeque<(i64, Option<i64>)>,
}

impl Assignment {
    pub(crate) fn new(partition: TopicPartition) -> Self {
        Self {
            partition,
            watermark: Watermark::default(),
            running: 0,
            closing: false,
            bytes: 0,
            paused: false,
            timestamps: VecDeque::new(),
        }
    }

    /// Notes a message; false if it must be ignored.
    pub(crate) fn receive(&mut self, offset: i64, bytes: usize, timestamp_ms: Option<i64>) -> bool {
        let new = self.watermark.receive(offset);
        if new {
            self.bytes += bytes;
            self.timestamps.push_back((offset, timestamp_ms));
        }
        new
    }

    /// Notes that a message needs no more work.
    pub(crate) fn done(&mut self, offset: i64, bytes: usize) {
        self.watermark.done(offset);
        self.bytes = self.bytes.saturating_sub(bytes);
        let first = self.watermark.first_undone().unwrap_or(i64::MAX);
        while self.timestamps.front().is_some_and(|(offset, _)| *offset < first) {
            self.timestamps.pop_front();
        }
    }

    /// When the first message that is not done was published.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        self.timestamps.front().and_then(|(_, timestamp)| *timestamp)
    }

    /// Whether fetching must change. Resumes only at half of the limits, so that it does not flutter.
    pub(crate) fn flow(&mut self, held: bool, limit: usize) -> Flow {
        let (messages, bytes) =
            if self.paused { (limit / 2, MAX_IN_FLIGHT_BYTES / 2) } else { (limit - 1, MAX_IN_FLIGHT_BYTES) };
        let pause = held || self.watermark.in_flight() > messages || self.bytes > bytes;
        if pause == self.paused {
            return Flow::Keep;
        }
        self.paused = pause;
        if pause { Flow::Pause } else { Flow::Resume }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignment() -> Assignment {
        Assignment::new(TopicPartition { topic: "t".into(), partition: 0 })
    }

    #[test]
    fn pauses_at_the_limit_and_resumes_at_half() {
        let mut assignment = assignment();
        for offset in 0..3 {
            assert!(assignment.receive(offset, 1, None));
            assert_eq!(assignment.flow(false, 4), Flow::Keep);
        }
        assignment.receive(3, 1, None);
        assert_eq!(assignment.flow(false, 4), Flow::Pause);
        assignment.done(0, 1);
        assert_eq!(assignment.flow(false, 4), Flow::Keep);
        assignment.done(1, 1);
        assert_eq!(assignment.flow(false, 4), Flow::Resume);
    }

    #[test]
    fn a_hold_pauses_and_so_do_large_messages() {
        let mut assignment = assignment();
        assert_eq!(assignment.flow(true, 4), Flow::Pause);
        assert_eq!(assignment.flow(false, 4), Flow::Resume);
        assignment.receive(0, MAX_IN_FLIGHT_BYTES + 1, None);
        assert_eq!(assignment.flow(false, 4), Flow::Pause);
        assignment.done(0, MAX_IN_FLIGHT_BYTES + 1);
        assert_eq!(assignment.flow(false, 4), Flow::Resume);
    }

    #[test]
    fn the_oldest_message_is_the_first_that_is_not_done() {
        let mut assignment = assignment();
        assert_eq!(assignment.oldest_ms(), None);
        for (offset, at) in [(4, 40), (6, 60), (7, 70)] {
            assignment.receive(offset, 1, Some(at));
        }
        assignment.done(6, 1);
        assert_eq!(assignment.oldest_ms(), Some(40));
        assignment.done(4, 1);
        assert_eq!(assignment.oldest_ms(), Some(70));
        assignment.done(7, 1);
        assert_eq!(assignment.oldest_ms(), None);
    }
}
