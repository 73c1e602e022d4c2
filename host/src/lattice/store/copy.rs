//! The copy of the lattice's data in this process. Revisions only go forward: what the watch repeats or brings late changes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lattice::wire::{ConfigMap, Link};

/// What the lattice knows of a component or provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Specification {
    /// Its reference; empty while only links name it.
    #[serde(default)]
    pub(super) url: String,
    /// The links that it is the source of.
    #[serde(default)]
    pub(super) links: Vec<Link>,
    /// What newer hosts may have put there stays there.
    #[serde(flatten)]
    pub(super) rest: serde_json::Map<String, serde_json::Value>,
}

/// What changed in the lattice's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Some link.
    Links,
    /// A config has a new value, or is there again.
    ConfigSet(String),
    /// A config is gone.
    ConfigDeleted(String),
}

#[derive(Default)]
pub(super) struct Copy {
    specifications: BTreeMap<String, (u64, Specification)>,
    configs: BTreeMap<String, Config>,
}

struct Config {
    revision: u64,
    values: ConfigMap,
    deleted: bool,
}

impl Copy {
    /// A specification of this revision is stored now; none: it was deleted.
    pub(super) fn specification(&mut self, id: &str, revision: u64, value: Option<&[u8]>) -> Option<Change> {
        let specification = match value.map(serde_json::from_slice) {
            Some(Ok(specification)) => specification,
            Some(Err(error)) => {
                tracing::error!(id, %error, "the lattice's data about it has another form and is ignored");
                return None;
            }
            None => Specification::default(),
        };
        self.adopt(id, revision, specification)
    }

    pub(super) fn adopt(&mut self, id: &str, revision: u64, specification: Specification) -> Option<Change> {
        if self.specifications.get(id).is_some_and(|(known, _)| *known >= revision) {
            // A change of our own is in the copy before the watch brings it, and must be told nevertheless.
            return self.specifications.get(id).filter(|(known, _)| *known == revision).map(|_| Change::Links);
        }
        let was = self.specifications.insert(id.to_owned(), (revision, specification));
        let now = self.specifications.get(id).map(|(_, now)| &now.links);
        (was.as_ref().map(|(_, was)| &was.links) != now).then_some(Change::Links)
    }

    /// Whether the entry of this revision is newer than what is known.
    pub(super) fn is_behind(&self, id: &str, revision: u64) -> bool {
        self.specifications.get(id).map_or(0, |(known, _)| *known) < revision
    }

    pub(super) fn config(&mut self, name: &str, revision: u64, value: Option<&[u8]>) -> Option<Change> {
        if self.configs.get(name).is_some_and(|known| known.revision >= revision) {
            return None;
        }
        let Some(value) = value else {
            let known = self.configs.get_mut(name)?;
            (known.revision, known.deleted) = (revision, true);
            return Some(Change::ConfigDeleted(name.to_owned()));
        };
        let values: ConfigMap = match serde_json::from_slice(value) {
            Ok(values) => values,
            Err(error) => {
                tracing::error!(config = name, %error, "the config is no map of text and is ignored");
                return None;
            }
        };
        let was = self.configs.insert(name.to_owned(), Config { revision, values, deleted: false });
        let same =
            self.configs.get(name).zip(was.as_ref()).is_some_and(|(now, was)| now.values == was.values && !was.deleted);
        (!same).then(|| Change::ConfigSet(name.to_owned()))
    }

    pub(super) fn links(&self) -> Vec<Link> {
        self.specifications.values().flat_map(|(_, specification)| specification.links.iter().cloned()).collect()
    }

    pub(super) fn known(&self, name: &str) -> Option<ConfigMap> {
        self.configs.get(name).map(|config| config.values.clone())
    }

    pub(super) fn is_deleted(&self, name: &str) -> bool {
        self.configs.get(name).is_some_and(|config| config.deleted)
    }

    pub(super) fn forget_deleted(&mut self, name: &str) {
        if self.is_deleted(name) {
            self.configs.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_config_keeps_its_last_value_until_it_is_forgotten() {
        let mut copy = Copy::default();
        assert_eq!(copy.config("a", 1, Some(br#"{"k":"1"}"#)), Some(Change::ConfigSet("a".into())));
        assert_eq!(copy.config("a", 1, Some(br#"{"k":"1"}"#)), None, "the watch repeats");
        assert_eq!(copy.config("a", 2, Some(br#"{"k":"1"}"#)), None, "nothing changed");
        assert_eq!(copy.config("a", 3, None), Some(Change::ConfigDeleted("a".into())));
        assert!(copy.is_deleted("a"));
        assert_eq!(copy.known("a"), Some([("k".to_owned(), "1".to_owned())].into()));
        assert_eq!(
            copy.config("a", 4, Some(br#"{"k":"1"}"#)),
            Some(Change::ConfigSet("a".into())),
            "it is there again"
        );
        copy.forget_deleted("a");
        assert!(copy.known("a").is_some(), "it is not deleted");
        copy.config("a", 5, None);
        copy.forget_deleted("a");
        assert_eq!(copy.known("a"), None);
        assert_eq!(copy.config("b", 6, None), None, "was never known");
        assert_eq!(copy.config("b", 7, Some(b"[]")), None, "another form");
    }

    #[test]
    fn older_specifications_do_not_come_back() {
        let mut copy = Copy::default();
        let with = br#"{"url":"","links":[{"source_id":"a","target":"b","wit_namespace":"n","wit_package":"p","interfaces":["i"]}],"new":1}"#;
        assert_eq!(copy.specification("a", 5, Some(with)), Some(Change::Links));
        assert_eq!(copy.specification("a", 4, Some(br#"{"links":[]}"#)), None);
        assert_eq!(copy.links().len(), 1);
        assert_eq!(copy.specification("a", 6, Some(b"no json")), None);
        assert_eq!(copy.specification("a", 7, None), Some(Change::Links));
        assert_eq!(copy.links(), []);
    }

    #[test]
    fn unknown_fields_survive_a_change() {
        let specification: Specification =
            serde_json::from_str(r#"{"url":"u","links":[],"new":{"x":1}}"#).unwrap_or_default();
        assert_eq!(
            serde_json::to_string(&specification).ok().as_deref(),
            Some(r#"{"url":"u","links":[],"new":{"x":1}}"#)
        );
    }
}
