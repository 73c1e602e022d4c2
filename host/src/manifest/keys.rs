//! Keys of the host's own in the config of a component (`host.*`) or of a link (`policy.*`). Invariant: each is taken once and its value bounded; what
//! is left over is not known, and all mistakes are told at once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What is wrong with a key, whichever they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No such key.
    #[error("`{key}` is not known, expected one of: {}", known.join(", "))]
    Unknown {
        /// The key.
        key: String,
        /// Those that there are.
        known: &'static [&'static str],
    },
    /// A value that cannot be.
    #[error("`{key}` is `{value}`, expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What stands there.
        value: String,
        /// What may stand there.
        expected: String,
    },
    /// A secret with the name of a key.
    #[error("`{key}` is for the host and cannot be a secret")]
    Secret {
        /// The key.
        key: String,
    },
}

/// Takes known keys out of entries, and collects what is wrong.
pub(super) struct Keys<E> {
    entries: BTreeMap<String, String>,
    pub(super) errors: Vec<E>,
}

impl<E: From<KeyError>> Keys<E> {
    pub(super) fn new(entries: BTreeMap<String, String>) -> Self {
        Self { entries, errors: Vec::new() }
    }

    /// Whether there is any key of a group that nobody has taken.
    pub(super) fn has(&self, prefix: &str) -> bool {
        self.entries.keys().any(|key| key.starts_with(prefix))
    }

    /// A text, if it stands there.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        self.entries.remove(key)
    }

    /// A whole number within bounds, if it stands there and is one.
    pub(super) fn whole(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(key, &text, format!("a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// The value of this key cannot be.
    pub(super) fn refuse(&mut self, key: &str, value: &str, expected: String) {
        self.errors.push(KeyError::Value { key: key.to_owned(), value: value.to_owned(), expected }.into());
    }

    /// All mistakes, those that are left over included.
    pub(super) fn finish(self, known: &'static [&'static str]) -> Vec<E> {
        let unknown = self.entries.into_keys().map(|key| KeyError::Unknown { key, known }.into());
        self.errors.into_iter().chain(unknown).collect()
    }
}
