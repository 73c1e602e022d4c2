//! What runs on this host, as commanded: for inventories, heartbeats and decisions. What is reported is what was commanded; how many
//! instances a component is really granted is bounded by what the host has room for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use super::events::{Scaled, shown_reference};
use super::wire::Annotations;
use crate::limits;

/// The annotation by which wadm tells who asked for an instance.
const SCALER: &str = "wasmcloud.dev/scaler";

/// The scaler of some annotations.
pub(crate) fn scaler(annotations: &Annotations) -> Option<&str> {
    annotations.get(SCALER).map(String::as_str)
}

/// What was commanded of a component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// As commanded.
    pub(crate) reference: String,
    pub(crate) annotations: Annotations,
    /// As commanded.
    pub(crate) max_instances: u32,
    pub(crate) limits: Option<BTreeMap<String, String>>,
    pub(crate) configs: Vec<String>,
    /// Of the code; empty until it runs.
    pub(crate) digest: String,
}

impl Version {
    pub(crate) fn scaled<'a>(&'a self, id: &'a str) -> Scaled<'a> {
        Scaled { id, reference: &self.reference, annotations: &self.annotations, max_instances: self.max_instances }
    }
}

/// A version that could not take over.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    /// Who asked for it.
    pub(crate) scaler: Option<String>,
    /// When the command arrived.
    pub(crate) arrived: Instant,
}

/// A version that took over and was rolled back.
#[derive(Clone, Debug)]
pub(crate) struct GivenUp {
    pub(crate) version: Version,
    pub(crate) reason: String,
    pub(crate) at: Instant,
}

/// A component that runs here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    pub(crate) version: Version,
    /// Instances that the host has room for.
    pub(crate) granted: u32,
    /// What ran before the last change of code.
    pub(crate) previous: Option<Version>,
    pub(crate) refused: Option<Refused>,
    pub(crate) given_up: Option<GivenUp>,
}

/// How a provider is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Inside this process.
    Builtin,
    /// As a process of its own.
    Process,
}

/// A provider that runs here, or is about to.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// As commanded.
    pub(crate) reference: String,
    pub(crate) annotations: Annotations,
    pub(crate) configs: Vec<String>,
    pub(crate) kind: Kind,
    /// False until its start has succeeded.
    pub(crate) running: bool,
    /// What was last said of it.
    pub(crate) healthy: Option<bool>,
}

/// Everything that runs here.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) components: BTreeMap<String, Running>,
    pub(crate) providers: BTreeMap<String, Provider>,
}

impl Inventory {
    /// How many instances a component gets of those it asks for: the pool of the engine is shared, and nobody gets none.
    pub(crate) fn grant(&self, id: &str, wanted: u32) -> u32 {
        let others = self.components.iter().filter(|(other, _)| *other != id).map(|(_, running)| running.granted);
        let taken = others.fold(0_u32, u32::saturating_add);
        wanted.min(limits::MAX_INSTANCES.saturating_sub(taken)).max(1)
    }

    /// Components and providers whose own settings come from this config.
    pub(crate) fn users_of(&self, config: &str) -> (Vec<String>, Vec<String>) {
        let uses = |configs: &[String]| configs.iter().any(|name| name == config);
        let components = self.components.iter().filter(|(_, running)| uses(&running.version.configs));
        let providers = self.providers.iter().filter(|(_, provider)| uses(&provider.configs));
        (components.map(|(id, _)| id.clone()).collect(), providers.map(|(id, _)| id.clone()).collect())
    }

    /// Ids of the providers of a kind.
    pub(crate) fn providers_of(&self, kind: Kind) -> BTreeSet<String> {
        self.providers.iter().filter(|(_, provider)| provider.kind == kind).map(|(id, _)| id.clone()).collect()
    }

    /// Whether the id runs here, or is about to.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.components.contains_key(id) || self.providers.contains_key(id)
    }

    pub(crate) fn components_json(&self) -> Vec<Value> {
        let one = |(id, running): (&String, &Running)| {
            let Version { reference, annotations, max_instances, limits, .. } = &running.version;
            json!({
                "id": id, "name": id, "image_ref": reference, "annotations": annotations, "revision": 0,
                "max_instances": max_instances, "limits": limits,
            })
        };
        self.components.iter().map(one).collect()
    }

    pub(crate) fn providers_json(&self) -> Vec<Value> {
        let running = self.providers.iter().filter(|(_, provider)| provider.running);
        let one = |(id, provider): (&String, &Provider)| {
            json!({
                "id": id, "name": id, "image_ref": shown_reference(&provider.reference),
                "annotations": provider.annotations, "revision": 0,
            })
        };
        running.map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_share_what_the_engine_has() {
        let mut inventory = Inventory::default();
        assert_eq!(inventory.grant("a", 100), 100);
        assert_eq!(inventory.grant("a", 1_000_000), limits::MAX_INSTANCES);
        let running = Running { granted: limits::MAX_INSTANCES - 10, ..Running::default() };
        inventory.components.insert("a".into(), running);
        assert_eq!(inventory.grant("b", 100), 10);
        assert_eq!(inventory.grant("a", 50), 50, "what it has is given back");
        inventory.components.insert("b".into(), Running { granted: 10, ..Running::default() });
        assert_eq!(inventory.grant("c", 5), 1);
    }
}
