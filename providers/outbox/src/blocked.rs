//! Keys that wait because a row of theirs cannot be published. Pure. Invariant: bounded; a key is left out of batches
//! until its time, then tried again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a key waits before its row is tried again: an operator may have raised a limit or mended the row.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

/// Beyond this many the newest ones are not remembered, and tried again with every batch: slower, but nothing is lost.
const MAX_KEYS: usize = 1_000;

#[derive(Debug, Default)]
pub(crate) struct Blocked {
    until: HashMap<String, Instant>,
}

impl Blocked {
    /// Leaves a key out from now on.
    pub(crate) fn block(&mut self, key: String, now: Instant) {
        if self.until.len() < MAX_KEYS || self.until.contains_key(&key) {
            self.until.insert(key, now + WAIT);
        }
    }

    /// The keys to leave out now.
    pub(crate) fn keys(&mut self, now: Instant) -> Vec<String> {
        self.until.retain(|_, until| *until > now);
        self.until.keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_after_its_time_and_the_set_is_bounded() {
        let now = Instant::now();
        let mut blocked = Blocked::default();
        blocked.block("a".to_owned(), now);
        assert_eq!(blocked.keys(now + WAIT / 2), ["a"]);
        assert_eq!(blocked.keys(now + WAIT), [""; 0]);
        for key in 0..2 * MAX_KEYS {
            blocked.block(key.to_string(), now);
        }
        assert_eq!(blocked.keys(now).len(), MAX_KEYS);
    }
}
