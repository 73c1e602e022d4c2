//! What is buried, where, and with which inscription. Pure. Invariant: key, payload and the original headers are kept
//! unchanged, so that a dead letter can be replayed as it was; everything we add has the prefix `dlq-`, and is
//! replaced, not repeated, when a replayed message dies again.
//!
//! Below it, what an operator does with the dead: `letter` reads one, `filter` chooses, `mark` notes what became of
//! it, `desk` joins them to the cluster (ADR 0017).

mod audit;
mod batch;
mod desk;
mod filter;
mod ledger;
mod letter;
pub(crate) mod mark;
mod marks;
mod replay;
mod run;
mod summary;
pub(crate) mod tail;

pub use audit::AUDIT_TOPIC;
pub use desk::{Desk, DeskError, Operation, Report, Selection};
pub use filter::Filter;
pub(crate) use ledger::{Depth, Ledger};
pub use letter::{Letter, Place};
pub use mark::{MARKS_TOPIC, State};
pub use replay::{Fate, fate};
pub use summary::{Cause, Summary};

use crate::message::{Header, Message, Record};

/// Prefix of every header that this module adds.
pub const HEADER_PREFIX: &str = "dlq-";

/// How often a message was replayed out of the dead letters; whoever replays it counts it up.
pub const REPLAY_COUNT: &str = "dlq-replay-count";

/// On a replayed message: the group that it is for. The other groups of its topic have handled it already, and skip it.
pub const REPLAY_GROUP: &str = "dlq-replay-group";

/// On a replayed message: the dead letter that it was, as `topic/partition/offset`.
pub const REPLAY_OF: &str = "dlq-replay-of";

/// What a replayed message keeps of its first death, so that the inscription of a second one tells the beginning too.
const ORIGIN: [&str; 4] =
    ["dlq-original-partition", "dlq-original-offset", "dlq-original-timestamp", "dlq-first-failure-at"];

/// A reason longer than this is cut: it is text of others.
const MAX_REASON_BYTES: usize = 1_024;

/// Why a message is buried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The handler said that it will never work.
    Rejected,
    /// It failed too often.
    RetriesExhausted,
}

impl Class {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::RetriesExhausted => "retries-exhausted",
        }
    }
}

/// What is known about a death. Times are milliseconds since 1970-01-01T00:00:00Z, as in Kafka itself.
#[derive(Debug, Clone)]
pub(crate) struct Obituary {
    pub(crate) class: Class,
    pub(crate) reason: String,
    pub(crate) group: String,
    pub(crate) component_digest: String,
    pub(crate) attempts: u32,
    pub(crate) first_failure_at_ms: u64,
    pub(crate) last_failure_at_ms: u64,
}

/// The dead letter topic of a topic: `<name>.v<number>` becomes `<name>.dlq`; any other name gets `.dlq` at its end.
pub fn topic_of(original: &str) -> String {
    let stem = match original.rsplit_once(".v") {
        Some((stem, version))
            if !stem.is_empty() && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            stem
        }
        _ => original,
    };
    format!("{stem}.dlq")
}

/// Whether a message was replayed out of the dead letters of another group than this.
pub(crate) fn is_replay_for_another(message: &Message, group: &str) -> bool {
    message.header(REPLAY_GROUP).is_some_and(|wanted| wanted != group)
}

/// The record that is sent to the dead letter topic.
pub(crate) fn record(message: &Message, obituary: &Obituary) -> Record {
    let replays = message.header(REPLAY_COUNT).and_then(|count| count.parse::<u32>().ok()).unwrap_or(0);
    // What a replay brought along of the first death counts only if it is a replay.
    let first = |name: &str, now: String| {
        let brought = message.header(name).filter(|value| replays > 0 && value.parse::<i64>().is_ok());
        brought.map_or(now, str::to_owned)
    };
    let timestamp = message.timestamp_ms.map(|at| at.to_string()).unwrap_or_default();
    let [partition, offset, original_timestamp, first_failure] = ORIGIN;
    let added = [
        ("dlq-original-topic", message.topic.clone()),
        (partition, first(partition, message.partition.to_string())),
        (offset, first(offset, message.offset.to_string())),
        (original_timestamp, first(original_timestamp, timestamp)),
        ("dlq-group", obituary.group.clone()),
        ("dlq-reason", cut(&obituary.reason)),
        ("dlq-failure-class", obituary.class.as_str().to_owned()),
        ("dlq-attempts", obituary.attempts.to_string()),
        (first_failure, first(first_failure, obituary.first_failure_at_ms.to_string())),
        ("dlq-last-failure-at", obituary.last_failure_at_ms.to_string()),
        ("dlq-component-digest", obituary.component_digest.clone()),
        (REPLAY_COUNT, replays.to_string()),
    ];
    let kept = message.headers.iter().filter(|header| !header.name.starts_with(HEADER_PREFIX)).cloned();
    let headers = kept.chain(added.into_iter().map(|(name, value)| Header::new(name, value))).collect();
    Record {
        topic: topic_of(&message.topic),
        key: message.key.clone(),
        partition: None,
        payload: message.payload.clone(),
        headers,
    }
}

fn cut(reason: &str) -> String {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn message(headers: &[(&str, &str)]) -> Message {
        Message {
            topic: "things.made.v12".to_owned(),
            partition: 3,
            offset: 42,
            timestamp_ms: Some(1_700_000_000_000),
            key: Some(b"k".to_vec()),
            headers: headers.iter().map(|(name, value)| Header::new(*name, *value)).collect(),
            payload: vec![0, 159, 146, 150],
            attempt: 4,
        }
    }

    fn obituary() -> Obituary {
        Obituary {
            class: Class::RetriesExhausted,
            reason: "no".to_owned(),
            group: "stock".to_owned(),
            component_digest: "sha256:ab".to_owned(),
            attempts: 4,
            first_failure_at_ms: 1,
            last_failure_at_ms: 2,
        }
    }

    #[test]
    fn topic_names() {
        let cases = [
            ("things.made.v1", "things.made.dlq"),
            ("things.made.v12", "things.made.dlq"),
            ("things.made", "things.made.dlq"),
            ("things.vat", "things.vat.dlq"),
            ("things.v", "things.v.dlq"),
            ("things.v1x", "things.v1x.dlq"),
            (".v1", ".v1.dlq"),
            ("a.v1.v2", "a.v1.dlq"),
        ];
        for (original, expected) in cases {
            assert_eq!(topic_of(original), expected);
        }
    }

    #[test]
    fn everything_original_is_kept_and_the_death_is_told() {
        let message = message(&[("traceparent", "00-x"), ("ce_id", "1"), ("ce_id", "2")]);
        let record = record(&message, &obituary());
        assert_eq!(
            (record.topic.as_str(), &record.key, &record.payload),
            ("things.made.dlq", &message.key, &message.payload)
        );
        assert_eq!(record.headers[..3], message.headers[..]);
        let told: Vec<(&str, &str)> = record.headers[3..]
            .iter()
            .map(|header| (header.name.as_str(), std::str::from_utf8(&header.value).unwrap()))
            .collect();
        assert_eq!(
            told,
            [
                ("dlq-original-topic", "things.made.v12"),
                ("dlq-original-partition", "3"),
                ("dlq-original-offset", "42"),
                ("dlq-original-timestamp", "1700000000000"),
                ("dlq-group", "stock"),
                ("dlq-reason", "no"),
                ("dlq-failure-class", "retries-exhausted"),
                ("dlq-attempts", "4"),
                ("dlq-first-failure-at", "1"),
                ("dlq-last-failure-at", "2"),
                ("dlq-component-digest", "sha256:ab"),
                ("dlq-replay-count", "0"),
            ]
        );
    }

    #[test]
    fn a_second_death_replaces_the_first_inscription_and_keeps_the_replay_count() {
        let record = record(&message(&[("dlq-reason", "old"), ("dlq-replay-count", "2"), ("a", "b")]), &obituary());
        let of = |name: &str| {
            record
                .headers
                .iter()
                .filter(|header| header.name == name)
                .map(|header| header.value.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("dlq-reason"), [b"no".to_vec()]);
        assert_eq!(of("dlq-replay-count"), [b"2".to_vec()]);
        assert_eq!(of("a"), [b"b".to_vec()]);
    }

    #[test]
    fn a_replay_that_dies_again_tells_where_it_began_and_a_forger_does_not() {
        let brought =
            [("dlq-original-offset", "7"), ("dlq-first-failure-at", "0"), ("dlq-original-timestamp", "long ago")];
        let of = |record: &Record, name: &str| {
            let found = record.headers.iter().find(|header| header.name == name).unwrap();
            String::from_utf8(found.value.clone()).unwrap()
        };
        let replayed = record(&message(&[&brought[..], &[("dlq-replay-count", "1")]].concat()), &obituary());
        assert_eq!(
            (of(&replayed, "dlq-original-offset"), of(&replayed, "dlq-first-failure-at")),
            ("7".into(), "0".into())
        );
        assert_eq!(of(&replayed, "dlq-original-timestamp"), "1700000000000", "what is no number is not believed");
        let forged = record(&message(&brought), &obituary());
        assert_eq!(
            (of(&forged, "dlq-original-offset"), of(&forged, "dlq-first-failure-at")),
            ("42".into(), "1".into())
        );
    }

    #[test]
    fn a_replay_is_for_its_group_alone() {
        let replay = message(&[(REPLAY_GROUP, "stock")]);
        assert!(!is_replay_for_another(&replay, "stock") && is_replay_for_another(&replay, "mail"));
        assert!(!is_replay_for_another(&message(&[]), "mail"));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        assert_eq!(cut(&"ä".repeat(600)).len(), MAX_REASON_BYTES);
        assert_eq!(cut(&format!("x{}", "ä".repeat(600))).len(), MAX_REASON_BYTES - 1);
    }
}
