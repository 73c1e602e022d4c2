//! The host's labels: what placement and auctions go by. Those of the host itself can be read only.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::config::BUILTIN_LABELS;
use crate::limits;

/// Labels by key.
pub(crate) type LabelMap = BTreeMap<String, String>;

/// The labels as they are now.
#[derive(Debug)]
pub(crate) struct Labels(Mutex<LabelMap>);

/// Why a label is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    #[error("labels that start with `hostcore.` cannot be set or deleted")]
    ReadOnly,
    #[error("a label needs a key")]
    NoKey,
    #[error("a host has at most {} labels", limits::MAX_LABELS)]
    TooMany,
}

impl Labels {
    /// The host's own and the configured ones.
    pub(crate) fn new(configured: &LabelMap) -> Self {
        let own = [
            ("hostcore.arch", std::env::consts::ARCH),
            ("hostcore.os", std::env::consts::OS),
            ("hostcore.osfamily", std::env::consts::FAMILY),
        ];
        let mut labels = configured.clone();
        labels.extend(own.map(|(key, value)| (key.to_owned(), value.to_owned())));
        Self(Mutex::new(labels))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, LabelMap> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self) -> LabelMap {
        self.lock().clone()
    }

    pub(crate) fn put(&self, key: &str, value: &str) -> Result<(), LabelError> {
        check(key)?;
        let mut labels = self.lock();
        if labels.len() >= limits::MAX_LABELS && !labels.contains_key(key) {
            return Err(LabelError::TooMany);
        }
        labels.insert(key.to_owned(), value.to_owned());
        Ok(())
    }

    /// Whether it was there.
    pub(crate) fn remove(&self, key: &str) -> Result<bool, LabelError> {
        check(key)?;
        Ok(self.lock().remove(key).is_some())
    }

    /// Whether every constraint is a label of this host.
    pub(crate) fn satisfy(&self, constraints: &LabelMap) -> bool {
        let labels = self.lock();
        constraints.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

fn check(key: &str) -> Result<(), LabelError> {
    if key.starts_with(BUILTIN_LABELS) {
        return Err(LabelError::ReadOnly);
    }
    if key.is_empty() { Err(LabelError::NoKey) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_hosts_own_labels_are_there_and_stay() {
        let labels = Labels::new(&map(&[("zone", "a")]));
        assert_eq!(labels.get().get("hostcore.os").map(String::as_str), Some(std::env::consts::OS));
        assert_eq!(labels.put("hostcore.os", "plan9"), Err(LabelError::ReadOnly));
        assert_eq!(labels.remove("hostcore.arch"), Err(LabelError::ReadOnly));
        assert_eq!(labels.put("", "x"), Err(LabelError::NoKey));
    }

    #[test]
    fn constraints_are_met_by_equal_labels_only() {
        let labels = Labels::new(&map(&[("zone", "a")]));
        assert!(labels.satisfy(&map(&[])));
        assert!(labels.satisfy(&map(&[("zone", "a")])));
        assert!(!labels.satisfy(&map(&[("zone", "b")])));
        labels.put("disk", "ssd").unwrap();
        assert!(labels.satisfy(&map(&[("zone", "a"), ("disk", "ssd")])));
        assert_eq!(labels.remove("disk"), Ok(true));
        assert_eq!(labels.remove("disk"), Ok(false));
        assert!(!labels.satisfy(&map(&[("disk", "ssd")])));
    }
}
