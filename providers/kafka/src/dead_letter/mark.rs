//! What became of a dead letter, and who works on a topic: records of a compacted topic. Pure. Invariant: a mark is
//! about one place of one topic and the last one counts; of two claims on a topic the first in the log counts while it
//! lasts, for every reader alike.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::letter::Place;
use crate::message::{Message, Record};
use crate::topics::{Retention, Wanted};

/// The topic of marks and claims. One partition, so that all readers see the same sequence.
pub const MARKS_TOPIC: &str = "swiftcart.dlq.marks.v1";

/// Ends the key of a claim; no offset looks like it.
const CLAIM: &str = "/claim";

/// What became of a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing yet.
    Open,
    /// It was to be replayed, but had been too often: it waits for a decision.
    Parked,
    /// It was published again.
    Replayed,
    /// It was given up.
    Discarded,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Parked => "parked",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// Whether somebody still has to deal with the letter.
    pub fn is_unsettled(self) -> bool {
        matches!(self, Self::Open | Self::Parked)
    }
}

/// What an operator's run did with a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) state: State,
    pub(crate) run: String,
    pub(crate) operator: String,
    pub(crate) at_ms: u64,
}

/// A run's claim to be the only one that works on a topic, for a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claim {
    pub(crate) run: String,
    pub(crate) operator: String,
    /// When it was written.
    pub(crate) at_ms: u64,
    /// When it ends by itself, should the run have died. Not after `at_ms`: given back.
    pub(crate) until_ms: u64,
}

/// The topic itself.
pub(crate) fn topic() -> Wanted {
    Wanted { name: MARKS_TOPIC.to_owned(), partitions: 1, retention: Retention::LastOfKey }
}

/// The record of a mark.
pub(crate) fn record(place: &Place, mark: &Mark) -> Record {
    written(place.to_string(), mark)
}

/// The record of a claim.
pub(crate) fn claim_record(topic: &str, claim: &Claim) -> Record {
    written(format!("{topic}{CLAIM}"), claim)
}

fn written(key: String, value: &impl Serialize) -> Record {
    // Plain structs of strings and numbers: serializing them cannot fail.
    let payload = serde_json::to_vec(value).unwrap_or_default();
    Record { topic: MARKS_TOPIC.to_owned(), key: Some(key.into_bytes()), partition: None, payload, headers: Vec::new() }
}

/// A record of the topic, as far as it is one of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Mark(Place, Mark),
    Claim(String, Claim),
}

/// Reads a record of the topic.
pub(crate) fn read(message: &Message) -> Option<Entry> {
    let key = std::str::from_utf8(message.key.as_deref()?).ok()?;
    if let Some(topic) = key.strip_suffix(CLAIM) {
        return Some(Entry::Claim(topic.to_owned(), serde_json::from_slice(&message.payload).ok()?));
    }
    Some(Entry::Mark(Place::parse(key)?, serde_json::from_slice(&message.payload).ok()?))
}

/// Who works on which topic. Claims go in as they stand in the log.
#[derive(Debug, Default)]
pub(crate) struct Claims(HashMap<String, Claim>);

impl Claims {
    /// Takes the next claim of the log: it counts if nobody else's does when it was written.
    pub(crate) fn take(&mut self, topic: String, claim: Claim) {
        let other = self.0.get(&topic).filter(|held| held.run != claim.run && held.until_ms > claim.at_ms);
        if other.is_none() {
            self.0.insert(topic, claim);
        }
    }

    /// Whose the topic is at this time.
    pub(crate) fn holder(&self, topic: &str, now_ms: u64) -> Option<&Claim> {
        self.0.get(topic).filter(|held| held.until_ms > now_ms)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn message(record: Record) -> Message {
        Message {
            topic: record.topic,
            partition: 0,
            offset: 0,
            timestamp_ms: None,
            key: record.key,
            headers: record.headers,
            payload: record.payload,
            attempt: 0,
        }
    }

    fn claim(run: &str, at_ms: u64, until_ms: u64) -> Claim {
        Claim { run: run.to_owned(), operator: "me".to_owned(), at_ms, until_ms }
    }

    #[test]
    fn marks_and_claims_are_written_and_read() {
        let place = Place { topic: "a.dlq".to_owned(), partition: 1, offset: 2 };
        let mark =
            Mark { state: State::Discarded, run: "r".to_owned(), operator: "me \"and\" you".to_owned(), at_ms: 3 };
        assert_eq!(read(&message(record(&place, &mark))), Some(Entry::Mark(place, mark)));
        let claim = claim("r", 1, 2);
        assert_eq!(read(&message(claim_record("a.dlq", &claim))), Some(Entry::Claim("a.dlq".to_owned(), claim)));
    }

    #[test]
    fn what_is_not_ours_is_ignored() {
        let of = |key: &str, payload: &str| {
            let record = Record {
                topic: MARKS_TOPIC.to_owned(),
                key: Some(key.into()),
                partition: None,
                payload: payload.into(),
                headers: Vec::new(),
            };
            read(&message(record))
        };
        assert_eq!((of("a/1", "{}"), of("a/1/2", "{}"), of("a/claim", "no")), (None, None, None));
    }

    #[test]
    fn the_first_claim_counts_until_it_ends_or_is_given_back() {
        let mut claims = Claims::default();
        let holder = |claims: &Claims, now| claims.holder("t", now).map(|claim| claim.run.clone());
        claims.take("t".to_owned(), claim("a", 10, 100));
        claims.take("t".to_owned(), claim("b", 20, 120));
        assert_eq!(holder(&claims, 30).as_deref(), Some("a"), "a second claim does not count");
        claims.take("t".to_owned(), claim("a", 90, 190));
        claims.take("t".to_owned(), claim("b", 150, 250));
        assert_eq!(holder(&claims, 150).as_deref(), Some("a"), "a claim is renewed");
        claims.take("t".to_owned(), claim("a", 160, 160));
        assert_eq!(holder(&claims, 160), None, "given back");
        claims.take("t".to_owned(), claim("b", 170, 270));
        claims.take("t".to_owned(), claim("c", 300, 400));
        assert_eq!(holder(&claims, 300).as_deref(), Some("c"), "one that has ended is in nobody's way");
        assert_eq!(claims.holder("other", 300), None);
    }
}
