//! How this host runs one component: the keys `host.*` of its config. They are typed and bounded here, and taken out of what the guest
//! sees; a key that is not known is an error.

use std::collections::BTreeMap;
use std::time::Duration;

use super::keys::{KeyError, Keys};
use crate::limits;

/// What all of these keys start with.
pub(super) const PREFIX: &str = "host.";

const REUSE: &str = "host.reuse";
const MAX_USES: &str = "host.max_uses";
const MAX_INSTANCES: &str = "host.max_instances";
const QUEUE_LIMIT: &str = "host.queue_limit";
const QUEUE_TIMEOUT_MS: &str = "host.queue_timeout_ms";
const MEMORY_LIMIT_BYTES: &str = "host.memory_limit_bytes";
const EXECUTION_TIMEOUT_MS: &str = "host.execution_timeout_ms";
const KEYS: [&str; 7] =
    [REUSE, MAX_USES, MAX_INSTANCES, QUEUE_LIMIT, QUEUE_TIMEOUT_MS, MEMORY_LIMIT_BYTES, EXECUTION_TIMEOUT_MS];

/// A warm guest is thrown away after this many calls, which bounds what it can leak.
const DEFAULT_MAX_USES: u64 = 1_000;
/// Waiting calls per component: at one millisecond per call and one instance, a quarter of a second of work.
const DEFAULT_QUEUE_LIMIT: u64 = 256;
/// A caller waits this long for an instance before it is told that the component is overloaded.
const DEFAULT_QUEUE_TIMEOUT_MS: u64 = 1_000;
/// Ours use below 4 MiB.
const DEFAULT_MEMORY_LIMIT_BYTES: u64 = 64 << 20;
/// Longer than the edge's deadline for an answer (10 s), so that the caller's deadline is what ends a slow call.
const DEFAULT_EXECUTION_TIMEOUT_MS: u64 = 15_000;

/// Whether an instance serves more than one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Each call has a new instance: nothing of one call can be seen by the next.
    Fresh,
    /// An instance serves calls one after another and keeps its memory between them.
    Warm {
        /// After so many calls it is replaced.
        max_uses: u32,
    },
}

/// How this host runs one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuntimeOptions {
    /// `host.reuse`: `fresh` (default) or `warm`, with `host.max_uses`.
    pub reuse: Reuse,
    /// `host.max_instances`: calls that run at the same time; by default `instances` of the scaler.
    pub max_instances: u32,
    /// `host.queue_limit`: calls that may wait for an instance.
    pub queue_limit: u32,
    /// `host.queue_timeout_ms`: how long they wait.
    pub queue_timeout: Duration,
    /// `host.memory_limit_bytes`: linear memory of one instance.
    pub memory_limit_bytes: usize,
    /// `host.execution_timeout_ms`: how long one call may take, waiting included, whatever its caller allows.
    pub execution_timeout: Duration,
}

/// What is wrong with a `host.*` key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The key or its value.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that has no effect here.
    #[error("`host.max_uses` needs `host.reuse: warm`")]
    MaxUsesWithoutReuse,
}

impl RuntimeOptions {
    /// Takes the `host.*` keys out of `values`.
    pub(crate) fn take(values: &mut BTreeMap<String, String>, instances: u32) -> Result<Self, Vec<OptionError>> {
        let mut options = BTreeMap::new();
        values.retain(|key, value| {
            let is_option = key.starts_with(PREFIX);
            if is_option {
                options.insert(key.clone(), value.clone());
            }
            !is_option
        });
        let mut keys: Keys<OptionError> = Keys::new(options);
        let max_uses = keys.whole(MAX_USES, 1..=1_000_000);
        let reuse = match keys.text(REUSE).as_deref() {
            Some("warm") => Reuse::Warm { max_uses: narrow(max_uses.unwrap_or(DEFAULT_MAX_USES)) },
            Some("fresh") | None => {
                if max_uses.is_some() {
                    keys.errors.push(OptionError::MaxUsesWithoutReuse);
                }
                Reuse::Fresh
            }
            Some(other) => {
                keys.refuse(REUSE, other, "`fresh` or `warm`".into());
                Reuse::Fresh
            }
        };
        let instance_limit = u64::from(limits::MAX_INSTANCES);
        let memory_limit = u64::try_from(limits::MAX_MEMORY_BYTES).unwrap_or(u64::MAX);
        let options = Self {
            reuse,
            max_instances: narrow(keys.whole(MAX_INSTANCES, 1..=instance_limit).unwrap_or(u64::from(instances))),
            queue_limit: narrow(keys.whole(QUEUE_LIMIT, 0..=100_000).unwrap_or(DEFAULT_QUEUE_LIMIT)),
            queue_timeout: milliseconds(&mut keys, QUEUE_TIMEOUT_MS, 60_000, DEFAULT_QUEUE_TIMEOUT_MS),
            memory_limit_bytes: usize::try_from(
                keys.whole(MEMORY_LIMIT_BYTES, (1 << 20)..=memory_limit)
                    .unwrap_or(DEFAULT_MEMORY_LIMIT_BYTES.min(memory_limit)),
            )
            .unwrap_or(usize::MAX),
            execution_timeout: milliseconds(&mut keys, EXECUTION_TIMEOUT_MS, 600_000, DEFAULT_EXECUTION_TIMEOUT_MS),
        };
        let errors = keys.finish(&KEYS);
        if errors.is_empty() { Ok(options) } else { Err(errors) }
    }
}

fn milliseconds(keys: &mut Keys<OptionError>, key: &str, most: u64, default: u64) -> Duration {
    Duration::from_millis(keys.whole(key, 1..=most).unwrap_or(default))
}

/// For numbers that a range has already bounded.
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn take(pairs: &[(&str, &str)]) -> (Result<RuntimeOptions, Vec<String>>, Vec<String>) {
        let mut values = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let options = RuntimeOptions::take(&mut values, 7);
        (options.map_err(|errors| errors.iter().map(ToString::to_string).collect()), values.into_keys().collect())
    }

    #[test]
    fn defaults_stand_and_the_guest_keeps_its_own_keys() {
        let (options, left) = take(&[("hostname", "db"), ("greeting", "hello")]);
        let expected = RuntimeOptions {
            reuse: Reuse::Fresh,
            max_instances: 7,
            queue_limit: 256,
            queue_timeout: Duration::from_secs(1),
            memory_limit_bytes: 64 << 20,
            execution_timeout: Duration::from_secs(15),
        };
        assert_eq!((options.unwrap(), left), (expected, vec!["greeting".into(), "hostname".into()]));
    }

    #[test]
    fn every_key_is_read_and_taken_away() {
        let (options, left) = take(&[
            ("host.reuse", "warm"),
            ("host.max_uses", "10"),
            ("host.max_instances", "3"),
            ("host.queue_limit", "0"),
            ("host.queue_timeout_ms", "250"),
            ("host.memory_limit_bytes", "8388608"),
            ("host.execution_timeout_ms", "2000"),
        ]);
        let expected = RuntimeOptions {
            reuse: Reuse::Warm { max_uses: 10 },
            max_instances: 3,
            queue_limit: 0,
            queue_timeout: Duration::from_millis(250),
            memory_limit_bytes: 8 << 20,
            execution_timeout: Duration::from_secs(2),
        };
        assert_eq!(options.unwrap(), expected);
        assert!(left.is_empty());
        assert_eq!(take(&[("host.reuse", "warm")]).0.unwrap().reuse, Reuse::Warm { max_uses: 1_000 });
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let (options, _) = take(&[
            ("host.reuse", "hot"),
            ("host.max_instances", "0"),
            ("host.memory_limit_bytes", "64MiB"),
            ("host.reused", "warm"),
        ]);
        let keys = KEYS.join(", ");
        assert_eq!(
            options.unwrap_err(),
            [
                "`host.reuse` is `hot`, expected `fresh` or `warm`".to_owned(),
                format!("`host.max_instances` is `0`, expected a whole number from 1 to {}", limits::MAX_INSTANCES),
                format!(
                    "`host.memory_limit_bytes` is `64MiB`, expected a whole number from 1048576 to {}",
                    limits::MAX_MEMORY_BYTES
                ),
                format!("`host.reused` is not known, expected one of: {keys}"),
            ]
        );
        assert_eq!(take(&[("host.max_uses", "5")]).0.unwrap_err(), ["`host.max_uses` needs `host.reuse: warm`"]);
    }
}
