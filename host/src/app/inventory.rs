//! `/v1/inventory`: what runs here, under which digest, linked to what. Never a value of a configuration or secret.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::health::Inventory;
use crate::manifest::Plan;
use crate::runtime::Slot;

/// What the host runs, as far as it has come.
#[derive(Clone)]
pub(crate) struct Running(Arc<Inner>);

struct Inner {
    began: Instant,
    application: Value,
    capabilities: Vec<Value>,
    links: Vec<Value>,
    slots: Mutex<HashMap<String, Arc<Slot>>>,
    listening: Mutex<HashMap<String, SocketAddr>>,
}

impl Running {
    /// Nothing runs yet.
    #[must_use]
    pub(crate) fn new(plan: &Plan) -> Self {
        let capabilities = plan.capabilities.iter().map(
            |capability| json!({"name": capability.name, "id": capability.id, "builtin": capability.kind.as_str()}),
        );
        let links = plan.links.iter().map(|link| {
            json!({"source": link.source, "target": link.target, "name": link.name, "namespace": link.namespace, "package": link.package, "interfaces": link.interfaces})
        });
        Self(Arc::new(Inner {
            began: Instant::now(),
            application: json!({"name": plan.application, "version": plan.version}),
            capabilities: capabilities.collect(),
            links: links.collect(),
            slots: Mutex::default(),
            listening: Mutex::default(),
        }))
    }

    /// The components run.
    pub(crate) fn set_slots(&self, slots: HashMap<String, Arc<Slot>>) {
        *self.0.slots.lock().unwrap_or_else(PoisonError::into_inner) = slots;
    }

    /// The edge listens.
    pub(crate) fn set_listening(&self, listening: HashMap<String, SocketAddr>) {
        *self.0.listening.lock().unwrap_or_else(PoisonError::into_inner) = listening;
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        let mut slots: Vec<_> = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        slots.sort_by(|left, right| left.name.cmp(&right.name));
        slots
    }

    /// Waits until no component serves a call, at most `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        let slots = self.slots();
        futures::future::join_all(slots.iter().filter_map(|slot| slot.current().ok()).map(|component| async move {
            if !component.pool.drain(limit).await {
                tracing::warn!(component = %component.identity.name, "calls were cut short");
            }
        }))
        .await;
    }
}

impl Inventory for Running {
    fn snapshot(&self) -> Value {
        let components: Vec<Value> = self
            .slots()
            .iter()
            .filter_map(|slot| slot.current().ok())
            .map(|component| {
                let (busy, warm) = component.pool.usage();
                json!({"name": component.identity.name, "digest": component.identity.digest, "busyInstances": busy, "warmInstances": warm})
            })
            .collect();
        let listening: serde_json::Map<String, Value> = self
            .0
            .listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(name, address)| (name.clone(), json!(address.to_string())))
            .collect();
        json!({
            "host": {"version": env!("CARGO_PKG_VERSION"), "uptimeSeconds": self.0.began.elapsed().as_secs()},
            "application": self.0.application,
            "components": components,
            "capabilities": self.0.capabilities,
            "links": self.0.links,
            "listening": listening,
        })
    }
}
