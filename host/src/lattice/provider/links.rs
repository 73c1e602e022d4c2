//! When two links are the same, and when a provider must be told a link again. Invariant: secrets are compared, never shown.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::Instant;

use crate::limits;
use crate::manifest::{LinkPlan, Settings};

/// Two sides of links, whatever the package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Pair {
    #[serde(rename = "source_id")]
    source: String,
    target: String,
}

impl Pair {
    /// Whether the link is between these two.
    pub(super) fn joins(&self, link: &LinkPlan) -> bool {
        self.source == link.source && self.target == link.target
    }
}

/// Whose link a message deletes.
pub(super) fn pair(message: &[u8]) -> Option<Pair> {
    serde_json::from_slice(message).ok()
}

/// The same link, perhaps with other settings.
pub(super) fn same_key(one: &LinkPlan, other: &LinkPlan) -> bool {
    let key = |link: &LinkPlan| {
        [&link.source, &link.target, &link.name, &link.namespace, &link.package].map(String::to_owned)
    };
    key(one) == key(other)
}

/// The same link with the same settings.
pub(super) fn same(one: &LinkPlan, other: &LinkPlan) -> bool {
    let settings = |one: &Settings, other: &Settings| one.values == other.values && same_secrets(one, other);
    same_key(one, other)
        && one.interfaces == other.interfaces
        && settings(&one.source_config, &other.source_config)
        && settings(&one.target_config, &other.target_config)
}

/// Whether no secret differs.
pub(super) fn same_secrets(one: &Settings, other: &Settings) -> bool {
    let pairs = one.secrets.iter().zip(&other.secrets);
    one.secrets.len() == other.secrets.len()
        && pairs.fold(true, |same, (one, other)| {
            same && one.0 == other.0 && one.1.expose_secret() == other.1.expose_secret()
        })
}

/// Pairs whose links are to be put again, each at several times.
#[derive(Debug, Default)]
pub(super) struct Repeats(BTreeMap<Pair, Vec<Instant>>);

impl Repeats {
    /// A deletion between these two has passed.
    pub(super) fn plan(&mut self, pair: Pair, now: Instant) {
        // The latest deletion counts: earlier plans are overtaken.
        self.0.insert(pair, limits::PROVIDER_LINK_REPEATS.map(|after| now + after).into());
    }

    /// Waits until one is due; for ever when there is none.
    pub(super) async fn due(&self) {
        match self.0.values().flatten().min() {
            Some(instant) => tokio::time::sleep_until(*instant).await,
            None => std::future::pending().await,
        }
    }

    /// Takes those that are due.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Pair> {
        let mut due = Vec::new();
        self.0.retain(|pair, instants| {
            let before = instants.len();
            instants.retain(|instant| *instant > now);
            if instants.len() < before {
                due.push(pair.clone());
            }
            !instants.is_empty()
        });
        due
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use secrecy::SecretString;

    use super::*;

    fn link(secret: &str) -> LinkPlan {
        let secrets = [("url".to_owned(), SecretString::from(secret))].into();
        LinkPlan {
            source: "a".into(),
            target: "b".into(),
            name: "default".into(),
            namespace: "n".into(),
            package: "p".into(),
            interfaces: vec!["i".into()],
            source_config: Settings::default(),
            target_config: Settings { values: BTreeMap::new(), secrets },
        }
    }

    #[test]
    fn a_changed_secret_is_a_changed_link() {
        assert!(same(&link("x"), &link("x")));
        assert!(!same(&link("x"), &link("y")) && same_key(&link("x"), &link("y")));
        let mut other = link("x");
        other.target_config.secrets.insert("more".into(), SecretString::from("z"));
        assert!(!same(&link("x"), &other));
        other.package = "q".into();
        assert!(!same_key(&link("x"), &other));
    }

    #[tokio::test(start_paused = true)]
    async fn links_are_repeated_twice_and_a_later_deletion_counts() {
        let pair = pair(br#"{"source_id":"a","target":"b","name":"default"}"#).unwrap();
        assert!(pair.joins(&link("x")));
        let mut repeats = Repeats::default();
        let begin = Instant::now();
        repeats.plan(pair.clone(), begin);
        repeats.due().await;
        assert_eq!(repeats.take(Instant::now()), std::slice::from_ref(&pair));
        repeats.plan(pair.clone(), Instant::now());
        let mut times = Vec::new();
        while !repeats.0.is_empty() {
            repeats.due().await;
            times.push(begin.elapsed().as_millis());
            assert_eq!(repeats.take(Instant::now()), std::slice::from_ref(&pair));
        }
        assert!(times.len() == 2 && (100..120).contains(times.first().unwrap()), "{times:?}");
    }
}
