//! The policy of one link: the keys `policy.*` of its source's config. Typed, bounded and checked here; a key that is not known is an error,
//! because a misspelt breaker is none. What a key does is in `crate::policy`; all of them are in docs/link-policy.md.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::keys::{KeyError, Keys};
use super::settings::Settings;

/// What all of these keys start with.
pub(crate) const PREFIX: &str = "policy.";

const DEADLINE_MS: &str = "policy.deadline_ms";
const RETRY: &str = "policy.retry.";
const BREAKER: &str = "policy.breaker.";
const BULKHEAD: &str = "policy.bulkhead.";
const KEYS: [&str; 19] = [
    DEADLINE_MS,
    "policy.retry.attempts",
    "policy.retry.base_ms",
    "policy.retry.max_ms",
    "policy.retry.idempotent",
    "policy.retry.budget_percent",
    "policy.retry.budget_per_second",
    "policy.breaker.window_calls",
    "policy.breaker.window_ms",
    "policy.breaker.failure_rate_percent",
    "policy.breaker.slow_call_ms",
    "policy.breaker.slow_rate_percent",
    "policy.breaker.minimum_calls",
    "policy.breaker.open_ms",
    "policy.breaker.open_max_ms",
    "policy.breaker.half_open_probes",
    "policy.bulkhead.max_concurrent",
    "policy.bulkhead.max_queued",
    "policy.bulkhead.queue_ms",
];

/// Ten minutes: longer than anything waits for a call.
const MAX_MS: u64 = 600_000;
/// The window is kept call by call, in one bit each for failed and slow.
const MAX_WINDOW_CALLS: u64 = 10_000;
/// Calls at the same time, or waiting.
const MAX_CALLS: u64 = 100_000;

/// What the host does on the way of each call over one link. Nothing at all by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkPolicy {
    /// The callee has at most this long, and never longer than what the caller has left.
    pub deadline: Option<Duration>,
    /// Whether a call that failed is made again.
    pub retry: Option<RetryPolicy>,
    /// When calls are refused without being made.
    pub breaker: Option<BreakerPolicy>,
    /// How many calls there are at once.
    pub bulkhead: Option<BulkheadPolicy>,
}

/// Calls that failed are made again, after pauses of growing length with full jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a call is made at most, the first time included.
    pub attempts: u32,
    /// The first pause is at most this long; each further one at most twice the one before.
    pub base: Duration,
    /// No pause is longer.
    pub max: Duration,
    /// The callee may be called again although it may have acted.
    pub idempotent: bool,
    /// Retries in per cent of the calls of the last ten seconds.
    pub budget_percent: u32,
    /// Retries per second that there may be in any case.
    pub budget_per_second: u32,
}

/// Over what the rates of a breaker are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerWindow {
    /// The last calls.
    Calls(u32),
    /// The calls of the last time.
    Time(Duration),
}

/// After too many failed or slow calls none is made for a while; then a few try whether it is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Over what the rates are taken.
    pub window: BreakerWindow,
    /// From this share of failed calls on it opens.
    pub failure_rate_percent: u32,
    /// A call that takes this long is slow; none is, without it.
    pub slow_call: Option<Duration>,
    /// From this share of slow calls on it opens.
    pub slow_rate_percent: u32,
    /// Fewer calls than this say nothing.
    pub minimum_calls: u32,
    /// How long it is open the first time; twice as long each time in a row.
    pub open: Duration,
    /// It is never open for longer.
    pub open_max: Duration,
    /// So many calls try whether it is better.
    pub half_open_probes: u32,
}

/// So many calls at once, and so many that wait for one of them to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BulkheadPolicy {
    /// Calls that are made at once.
    pub max_concurrent: u32,
    /// Calls that wait.
    pub max_queued: u32,
    /// How long they wait.
    pub queue: Duration,
}

/// What is wrong with a `policy.*` key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The key or its value.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that has no effect, or no meaning, without another.
    #[error("`{key}` needs `{needs}`")]
    Needs {
        /// The key.
        key: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// Two keys that contradict each other.
    #[error("`{key}` {problem}")]
    Conflict {
        /// The key.
        key: &'static str,
        /// With what, and how.
        problem: &'static str,
    },
}

impl LinkPolicy {
    /// Reads the `policy.*` keys of a link's source side.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(settings: &Settings) -> Result<Self, Vec<PolicyError>> {
        let keys = settings.values.iter().filter(|(key, _)| key.starts_with(PREFIX));
        let mut reader = Reader(Keys::new(keys.map(|(key, value)| (key.clone(), value.clone())).collect()));
        let secrets = settings.secrets.keys().filter(|key| key.starts_with(PREFIX));
        reader.0.errors.extend(secrets.map(|key| KeyError::Secret { key: key.clone() }.into()));
        let policy = Self {
            deadline: reader.milliseconds(DEADLINE_MS),
            retry: reader.0.has(RETRY).then(|| reader.retry()),
            breaker: reader.0.has(BREAKER).then(|| reader.breaker()),
            bulkhead: reader.0.has(BULKHEAD).then(|| reader.bulkhead()),
        };
        let errors = reader.0.finish(&KEYS);
        if errors.is_empty() { Ok(policy) } else { Err(errors) }
    }

    /// Whether calls pass as if there were no policy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the groups.
struct Reader(Keys<PolicyError>);

impl Reader {
    fn retry(&mut self) -> RetryPolicy {
        let policy = RetryPolicy {
            attempts: self.number("policy.retry.attempts", 2..=10).unwrap_or(3),
            base: self.milliseconds("policy.retry.base_ms").unwrap_or(Duration::from_millis(50)),
            max: self.milliseconds("policy.retry.max_ms").unwrap_or(Duration::from_secs(1)),
            idempotent: self.flag("policy.retry.idempotent"),
            budget_percent: self.number("policy.retry.budget_percent", 0..=100).unwrap_or(20),
            budget_per_second: self.number("policy.retry.budget_per_second", 0..=1_000).unwrap_or(1),
        };
        if policy.base > policy.max {
            self.conflict("policy.retry.base_ms", "is more than `policy.retry.max_ms` (by default 1000)");
        }
        if policy.budget_percent == 0 && policy.budget_per_second == 0 {
            self.conflict(
                "policy.retry.budget_percent",
                "and `policy.retry.budget_per_second` are both 0: no call would be retried",
            );
        }
        policy
    }

    fn breaker(&mut self) -> BreakerPolicy {
        let calls = self.number("policy.breaker.window_calls", 1..=MAX_WINDOW_CALLS);
        let time = self.milliseconds("policy.breaker.window_ms");
        if calls.is_some() && time.is_some() {
            self.conflict("policy.breaker.window_calls", "and `policy.breaker.window_ms` exclude each other");
        }
        let slow_call = self.milliseconds("policy.breaker.slow_call_ms");
        let slow_rate = self.number("policy.breaker.slow_rate_percent", 1..=100);
        if slow_rate.is_some() && slow_call.is_none() {
            self.needs("policy.breaker.slow_rate_percent", "policy.breaker.slow_call_ms");
        }
        let policy = BreakerPolicy {
            window: time.map_or(BreakerWindow::Calls(calls.unwrap_or(50)), BreakerWindow::Time),
            failure_rate_percent: self.number("policy.breaker.failure_rate_percent", 1..=100).unwrap_or(50),
            slow_call,
            slow_rate_percent: slow_rate.unwrap_or(50),
            minimum_calls: self.number("policy.breaker.minimum_calls", 1..=MAX_WINDOW_CALLS).unwrap_or(10),
            open: self.milliseconds("policy.breaker.open_ms").unwrap_or(Duration::from_secs(1)),
            open_max: self.milliseconds("policy.breaker.open_max_ms").unwrap_or(Duration::from_secs(30)),
            half_open_probes: self.number("policy.breaker.half_open_probes", 1..=1_000).unwrap_or(3),
        };
        if policy.open > policy.open_max {
            self.conflict("policy.breaker.open_ms", "is more than `policy.breaker.open_max_ms` (by default 30000)");
        }
        if matches!(policy.window, BreakerWindow::Calls(calls) if policy.minimum_calls > calls) {
            let problem =
                "(by default 10) is more than `policy.breaker.window_calls` (by default 50): it would never open";
            self.conflict("policy.breaker.minimum_calls", problem);
        }
        policy
    }

    fn bulkhead(&mut self) -> BulkheadPolicy {
        let max_concurrent = self.number("policy.bulkhead.max_concurrent", 1..=MAX_CALLS);
        let max_queued = self.number("policy.bulkhead.max_queued", 0..=MAX_CALLS).unwrap_or(0);
        let queue = self.milliseconds("policy.bulkhead.queue_ms");
        if max_concurrent.is_none() && !self.refused("policy.bulkhead.max_concurrent") {
            self.needs("policy.bulkhead", "policy.bulkhead.max_concurrent");
        }
        if queue.is_some() && max_queued == 0 {
            self.needs("policy.bulkhead.queue_ms", "policy.bulkhead.max_queued");
        }
        BulkheadPolicy {
            max_concurrent: max_concurrent.unwrap_or(1),
            max_queued,
            queue: queue.unwrap_or(Duration::from_secs(1)),
        }
    }

    fn number(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u32> {
        self.0.whole(key, range).and_then(|number| u32::try_from(number).ok())
    }

    fn milliseconds(&mut self, key: &str) -> Option<Duration> {
        self.0.whole(key, 1..=MAX_MS).map(Duration::from_millis)
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.0.text(key).as_deref() {
            Some("true") => true,
            Some("false") | None => false,
            Some(other) => {
                self.0.refuse(key, other, "`true` or `false`".to_owned());
                false
            }
        }
    }

    /// Whether this key's value has been refused already.
    fn refused(&self, key: &str) -> bool {
        let of_key = |error: &PolicyError| matches!(error, PolicyError::Key(KeyError::Value { key: refused, .. }) if refused == key);
        self.0.errors.iter().any(of_key)
    }

    fn needs(&mut self, key: &'static str, needs: &'static str) {
        self.0.errors.push(PolicyError::Needs { key, needs });
    }

    fn conflict(&mut self, key: &'static str, problem: &'static str) {
        self.0.errors.push(PolicyError::Conflict { key, problem });
    }
}

#[cfg(test)]
mod tests;
