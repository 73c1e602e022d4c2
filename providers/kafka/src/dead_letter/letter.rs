//! A dead letter as an operator sees it. Pure. Invariant: whatever lies in a dead letter topic can be read; what has no
//! inscription of ours, or a false one, says so and is never replayed.

use std::fmt;

use super::{REPLAY_COUNT, topic_of};
use crate::message::Message;

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
}

/// `topic/partition/offset`: a topic's name has no `/`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl Place {
    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (rest, offset) = text.rsplit_once('/')?;
        let (topic, partition) = rest.rsplit_once('/')?;
        Some(Self { topic: topic.to_owned(), partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    }

    pub(crate) fn of(message: &Message) -> Self {
        Self { topic: message.topic.clone(), partition: message.partition, offset: message.offset }
    }
}

/// A dead letter. Times are milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Where it lies now.
    pub place: Place,
    /// Where it was published first.
    pub origin: Place,
    /// The consumer group that could not handle it.
    pub group: String,
    /// `rejected` or `retries-exhausted`.
    pub class: String,
    /// Why, in the handler's words.
    pub reason: String,
    /// How often it was tried before its last death.
    pub attempts: u32,
    /// When it failed first.
    pub first_failure_at_ms: i64,
    /// When it failed last.
    pub last_failure_at_ms: i64,
    /// The code that failed.
    pub component_digest: String,
    /// How often it was replayed before.
    pub replay_count: u32,
    /// Why it cannot be replayed at all, if so: its inscription is not one of ours.
    pub fault: Option<String>,
    /// The record as it lies there.
    pub message: Message,
}

impl Letter {
    /// Reads a record of a dead letter topic.
    pub fn read(message: Message) -> Self {
        let mut missing = Vec::new();
        let mut text = |name: &'static str| {
            message.header(name).map(str::to_owned).unwrap_or_else(|| {
                missing.push(name);
                String::new()
            })
        };
        let origin_topic = text("dlq-original-topic");
        let (group, class, reason) = (text("dlq-group"), text("dlq-failure-class"), text("dlq-reason"));
        let digest = text("dlq-component-digest");
        let mut number = |name: &'static str| {
            let found = message.header(name).and_then(|value| value.parse::<i64>().ok());
            found.unwrap_or_else(|| {
                missing.push(name);
                -1
            })
        };
        let origin = Place {
            topic: origin_topic,
            partition: i32::try_from(number("dlq-original-partition")).unwrap_or(-1),
            offset: number("dlq-original-offset"),
        };
        let (first, last) = (number("dlq-first-failure-at"), number("dlq-last-failure-at"));
        let attempts = u32::try_from(number("dlq-attempts")).unwrap_or(0);
        let replay_count = u32::try_from(number(REPLAY_COUNT)).unwrap_or(u32::MAX);
        let fault = if !missing.is_empty() {
            Some(format!("no dead letter of a consumer: without {}", missing.join(", ")))
        } else if topic_of(&origin.topic) != message.topic || origin.partition < 0 {
            // Whoever can write a dead letter must not choose where it is replayed to.
            Some(format!("no dead letter of this topic: it says it is from {origin}"))
        } else {
            None
        };
        Self {
            place: Place::of(&message),
            origin,
            group,
            class,
            reason,
            attempts,
            first_failure_at_ms: first,
            last_failure_at_ms: last,
            component_digest: digest,
            replay_count,
            fault,
            message,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::dead_letter::{Class, Obituary, record};
    use crate::message::Header;

    /// A letter as a consumer of the group `stock` would bury it.
    pub(in super::super) fn buried(offset: i64, key: &str, reason: &str, replays: u32) -> Message {
        let message = Message {
            topic: "things.made.v1".to_owned(),
            partition: 2,
            offset: 100 + offset,
            timestamp_ms: Some(5),
            key: Some(key.as_bytes().to_vec()),
            headers: vec![Header::new("ce_id", "one"), Header::new(REPLAY_COUNT, replays.to_string())],
            payload: b"payload".to_vec(),
            attempt: 1,
        };
        let obituary = Obituary {
            class: Class::Rejected,
            reason: reason.to_owned(),
            group: "stock".to_owned(),
            component_digest: "sha256:ab".to_owned(),
            attempts: 4,
            first_failure_at_ms: 1_000,
            last_failure_at_ms: 2_000 + u64::try_from(offset).unwrap(),
        };
        let record = record(&message, &obituary);
        Message { topic: record.topic, partition: 1, offset, headers: record.headers, ..message }
    }

    #[test]
    fn what_was_buried_is_read() {
        let letter = Letter::read(buried(7, "k", "no such thing", 2));
        assert_eq!(letter.place.to_string(), "things.made.dlq/1/7");
        assert_eq!(letter.origin.to_string(), "things.made.v1/2/107");
        assert_eq!((letter.group.as_str(), letter.class.as_str()), ("stock", "rejected"));
        assert_eq!((letter.reason.as_str(), letter.attempts, letter.replay_count), ("no such thing", 4, 2));
        assert_eq!((letter.first_failure_at_ms, letter.last_failure_at_ms), (1_000, 2_007));
        assert_eq!(letter.fault, None);
    }

    #[test]
    fn what_is_no_letter_or_names_another_topic_cannot_be_replayed() {
        let mut bare = buried(7, "k", "", 0);
        bare.headers.retain(|header| header.name != "dlq-group");
        assert!(Letter::read(bare).fault.unwrap().contains("dlq-group"));
        let mut forged = buried(7, "k", "", 0);
        forged.headers.push(Header::new("dlq-original-topic", "money.moved.v1"));
        assert!(Letter::read(forged).fault.unwrap().contains("money.moved.v1/2/107"));
    }

    #[test]
    fn places_are_written_and_read() {
        let place = Place { topic: "a.dlq".to_owned(), partition: 3, offset: 99 };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        assert_eq!((Place::parse("a/b/1"), Place::parse("a/1"), Place::parse("")), (None, None, None));
    }
}
