//! `/v1/inventory`: what runs here, under which digest, linked to what. Never a value of a configuration or secret.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Workload, lock};
use crate::manifest::Plan;

impl Workload {
    /// Where edges listen, by capability.
    #[must_use]
    pub fn listening(&self) -> BTreeMap<String, SocketAddr> {
        lock(&self.0.listening).iter().map(|(name, address)| (name.clone(), *address)).collect()
    }

    /// What runs here, as JSON for people and tests.
    #[must_use]
    pub fn inventory(&self) -> Value {
        let plan: Plan = lock(&self.0.plan).clone();
        let slots: Vec<_> = lock(&self.0.running).keys().map(|id| self.0.slot(id)).collect();
        let components: Vec<Value> = slots
            .iter()
            .filter_map(|slot| slot.current().ok())
            .map(|component| {
                let (busy, warm) = component.pool.usage();
                json!({"name": component.identity.name, "digest": component.identity.digest, "busyInstances": busy, "warmInstances": warm})
            })
            .collect();
        let capabilities = plan.capabilities.iter().map(
            |capability| json!({"name": capability.name, "id": capability.id, "builtin": capability.kind.as_str()}),
        );
        let links = plan.links.iter().map(|link| {
            json!({"source": link.source, "target": link.target, "name": link.name, "namespace": link.namespace, "package": link.package, "interfaces": link.interfaces})
        });
        let listening: serde_json::Map<String, Value> =
            self.listening().into_iter().map(|(name, address)| (name, json!(address.to_string()))).collect();
        json!({
            "components": components,
            "capabilities": capabilities.collect::<Vec<_>>(),
            "links": links.collect::<Vec<_>>(),
            "listening": listening,
        })
    }
}
