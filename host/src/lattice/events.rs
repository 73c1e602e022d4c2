//! What this host tells the lattice: CloudEvents 1.0 on `wasmbus.evt.LATTICE.NAME`. Subjects, names and fields are spelled as wash and wadm
//! compare them; the source is always this host. Never holds a value of a config or secret.

use std::time::SystemTime;

use async_nats::Client;
use serde_json::{Value, json};

use super::clock::rfc3339;
use super::wire::{Annotations, Link, LinkKey};

/// Sends events; they keep the order in which they are sent.
#[derive(Clone)]
pub(crate) struct Events {
    nats: Client,
    lattice: String,
    host: String,
}

/// What a component's events say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scaled<'a> {
    pub(crate) id: &'a str,
    /// As commanded.
    pub(crate) reference: &'a str,
    pub(crate) annotations: &'a Annotations,
    /// As commanded.
    pub(crate) max_instances: u32,
}

/// How a provider's health changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Passed,
    Failed,
    Same,
}

impl Events {
    pub(crate) fn new(nats: Client, lattice: &str, host: &str) -> Self {
        Self { nats, lattice: lattice.to_owned(), host: host.to_owned() }
    }

    pub(crate) async fn publish(&self, name: &str, data: Value) {
        let body = json!({
            "specversion": "1.0",
            "id": uuid::Uuid::new_v4().to_string(),
            "type": format!("com.wasmcloud.lattice.{name}"),
            "source": self.host,
            "datacontenttype": "application/json",
            "time": rfc3339(SystemTime::now()),
            "data": data,
        });
        let subject = format!("wasmbus.evt.{}.{name}", self.lattice);
        tracing::debug!(event = name, "telling the lattice");
        if let Err(error) = self.nats.publish(subject, body.to_string().into()).await {
            // The next heartbeat tells the state again.
            tracing::error!(event = name, %error, "an event was lost");
        }
    }

    /// Everything sent so far has left the process.
    pub(crate) async fn flush(&self) {
        if let Err(error) = self.nats.flush().await {
            tracing::warn!(%error, "events may not have left");
        }
    }

    pub(crate) async fn component_scaled(&self, scaled: Scaled<'_>) {
        self.publish("component_scaled", self.component(&scaled)).await;
    }

    pub(crate) async fn component_scale_failed(&self, scaled: Scaled<'_>, error: &str) {
        let mut data = self.component(&scaled);
        insert(&mut data, "error", json!(error));
        self.publish("component_scale_failed", data).await;
    }

    fn component(&self, scaled: &Scaled<'_>) -> Value {
        json!({
            "component_id": scaled.id, "image_ref": scaled.reference, "annotations": scaled.annotations,
            "max_instances": scaled.max_instances, "host_id": self.host,
        })
    }

    /// wash waits for a reference without `file://` here, and for one with it when the start failed.
    pub(crate) async fn provider_started(&self, id: &str, reference: &str, annotations: &Annotations) {
        let data = json!({
            "provider_id": id, "image_ref": shown_reference(reference), "annotations": annotations, "host_id": self.host,
        });
        self.publish("provider_started", data).await;
    }

    pub(crate) async fn provider_start_failed(&self, id: &str, reference: &str, error: &str) {
        let data = json!({"provider_id": id, "provider_ref": reference, "error": error, "host_id": self.host});
        self.publish("provider_start_failed", data).await;
    }

    pub(crate) async fn provider_stopped(&self, id: &str, annotations: &Annotations, reason: &str) {
        let data = json!({
            "provider_id": id, "annotations": annotations, "reason": reason, "host_id": self.host,
            "instance_id": id, "public_key": id, "link_name": "default",
        });
        self.publish("provider_stopped", data).await;
    }

    pub(crate) async fn health(&self, id: &str, health: Health) {
        let name = match health {
            Health::Passed => "health_check_passed",
            Health::Failed => "health_check_failed",
            Health::Same => "health_check_status",
        };
        self.publish(name, json!({"provider_id": id, "host_id": self.host})).await;
    }

    pub(crate) async fn link_set(&self, link: &Link) {
        self.publish("linkdef_set", link.json()).await;
    }

    pub(crate) async fn link_failed(&self, link: &Link, error: &str) {
        let mut data = link.json();
        insert(&mut data, "error", json!(error));
        self.publish("linkdef_set_failed", data).await;
    }

    pub(crate) async fn link_deleted(&self, key: &LinkKey, was: Option<&Link>) {
        let mut data = json!({
            "source_id": key.source_id, "name": key.name, "wit_namespace": key.wit_namespace, "wit_package": key.wit_package,
        });
        if let Some(link) = was {
            insert(&mut data, "target", json!(link.target));
            insert(&mut data, "interfaces", json!(link.interfaces));
        }
        self.publish("linkdef_deleted", data).await;
    }

    pub(crate) async fn config(&self, name: &str, deleted: bool) {
        let event = if deleted { "config_deleted" } else { "config_set" };
        self.publish(event, json!({"config_name": name})).await;
    }
}

fn insert(data: &mut Value, key: &str, value: Value) {
    if let Some(map) = data.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// How a provider's reference stands in events and inventories.
pub(crate) fn shown_reference(reference: &str) -> &str {
    reference.strip_prefix("file://").unwrap_or(reference)
}
