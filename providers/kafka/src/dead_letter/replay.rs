//! How a dead letter is published again. Pure. Invariants: it goes where it was published first, with its key, its
//! partition, its payload and its own headers; and never more often than the guard allows.

use super::letter::Letter;
use super::{HEADER_PREFIX, ORIGIN, REPLAY_COUNT, REPLAY_GROUP, REPLAY_OF};
use crate::message::{Header, Record};

/// What a replay does with a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is published as this record.
    Replay(Box<Record>),
    /// It died so often that somebody has to decide: it is parked.
    Park,
    /// It cannot be replayed, for this reason; it is left as it is.
    Refuse(String),
}

/// Decides for a letter. `max_replays`: the guard against a loop of dying and replaying.
pub fn fate(letter: &Letter, max_replays: u32) -> Fate {
    if let Some(fault) = &letter.fault {
        return Fate::Refuse(fault.clone());
    }
    if letter.replay_count >= max_replays {
        return Fate::Park;
    }
    let own = letter.message.headers.iter().filter(|header| !header.name.starts_with(HEADER_PREFIX)).cloned();
    let origin = ORIGIN.iter().filter_map(|name| Some(Header::new(*name, letter.message.header(name)?)));
    let replay = [
        (REPLAY_COUNT, letter.replay_count.saturating_add(1).to_string()),
        (REPLAY_GROUP, letter.group.clone()),
        (REPLAY_OF, letter.place.to_string()),
    ];
    let replay = replay.into_iter().map(|(name, value)| Header::new(name, value));
    Fate::Replay(Box::new(Record {
        topic: letter.origin.topic.clone(),
        key: letter.message.key.clone(),
        partition: Some(letter.origin.partition),
        payload: letter.message.payload.clone(),
        headers: own.chain(origin).chain(replay).collect(),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::dead_letter::letter::tests::buried;
    use crate::dead_letter::{Class, Obituary, is_replay_for_another, record as bury};
    use crate::message::Message;

    fn replayed(letter: &Letter) -> Record {
        let Fate::Replay(record) = fate(letter, 3) else { panic!("not replayed") };
        *record
    }

    #[test]
    fn a_letter_goes_back_to_where_it_came_from() {
        let record = replayed(&Letter::read(buried(7, "k", "no", 1)));
        assert_eq!((record.topic.as_str(), record.partition), ("things.made.v1", Some(2)));
        assert_eq!((record.key.as_deref(), record.payload.as_slice()), (Some(&b"k"[..]), &b"payload"[..]));
        let headers: Vec<(&str, &str)> = record
            .headers
            .iter()
            .map(|header| (header.name.as_str(), std::str::from_utf8(&header.value).unwrap()))
            .collect();
        assert_eq!(
            headers,
            [
                ("ce_id", "one"),
                ("dlq-original-partition", "2"),
                ("dlq-original-offset", "107"),
                ("dlq-original-timestamp", "5"),
                ("dlq-first-failure-at", "1000"),
                ("dlq-replay-count", "2"),
                ("dlq-replay-group", "stock"),
                ("dlq-replay-of", "things.made.dlq/1/7"),
            ]
        );
    }

    /// Goal: dying and replaying comes to an end. Method: a message goes round until the guard stops it.
    #[test]
    fn the_guard_ends_the_loop() {
        let mut message = buried(0, "k", "no", 0);
        let obituary = Obituary {
            class: Class::Rejected,
            reason: "no".to_owned(),
            group: "stock".to_owned(),
            component_digest: "sha256:ab".to_owned(),
            attempts: 1,
            first_failure_at_ms: 9_000,
            last_failure_at_ms: 9_000,
        };
        for _ in 0..3 {
            let record = replayed(&Letter::read(message.clone()));
            let again = Message { topic: record.topic, partition: 2, offset: 500, headers: record.headers, ..message };
            assert!(is_replay_for_another(&again, "mail"));
            let buried = bury(&again, &obituary);
            message = Message { topic: buried.topic, headers: buried.headers, ..again };
        }
        let last = Letter::read(message);
        assert_eq!(fate(&last, 3), Fate::Park);
        assert!(matches!(fate(&last, 4), Fate::Replay(_)), "a larger number lets it go once more");
        assert_eq!((last.origin.offset, last.first_failure_at_ms), (100, 1_000), "the beginning is kept");
    }

    #[test]
    fn what_is_no_letter_is_refused() {
        let mut bare = buried(7, "k", "no", 0);
        bare.headers.clear();
        assert!(matches!(fate(&Letter::read(bare), 3), Fate::Refuse(_)));
    }
}
