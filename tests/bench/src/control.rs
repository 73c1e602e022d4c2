//! Commands of a lattice's control interface, as `wash` gives them. Invariant: what returns without an error runs.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_support::lattice::Lattice;

/// Longer than anything takes that a single command sets off, compilation on a busy machine included.
const RUNNING: Duration = Duration::from_secs(120);

/// A lattice that does what it is told.
pub(crate) struct Control(pub(crate) Lattice);

impl Control {
    /// Runs a component on a host, with so many instances.
    pub(crate) async fn component(
        &self,
        host: &str,
        (id, reference): (&str, &str),
        instances: u64,
        configs: &[String],
    ) -> anyhow::Result<()> {
        let scale = json!({
            "component_id": id, "component_ref": reference, "host_id": host, "count": instances, "config": configs,
            "annotations": {}, "allow_update": false,
        });
        self.command(&format!("component.scale.{host}"), &scale).await?;
        self.listed(host, "components", id).await
    }

    /// Runs a capability on a host: a built-in, or a program.
    pub(crate) async fn capability(
        &self,
        host: &str,
        (id, reference): (&str, &str),
        configs: &[String],
    ) -> anyhow::Result<()> {
        let start = json!({
            "provider_id": id, "provider_ref": reference, "host_id": host, "config": configs, "annotations": {},
        });
        self.command(&format!("provider.start.{host}"), &start).await?;
        self.listed(host, "providers", id).await
    }

    /// Puts a link, in the form of the interface.
    pub(crate) async fn link(&self, link: &Value) -> anyhow::Result<()> {
        self.command("link.put", link).await
    }

    async fn command(&self, operation: &str, body: &Value) -> anyhow::Result<()> {
        let answer = self.0.control(operation, body).await?;
        ensure!(answer.get("success") == Some(&Value::Bool(true)), "{operation} gives {answer}");
        Ok(())
    }

    async fn listed(&self, host: &str, what: &str, id: &str) -> anyhow::Result<()> {
        eventually(RUNNING, &format!("{id} to run"), async || {
            let inventory = self.0.inventory(host).await?;
            let mut all = inventory.get(what).and_then(Value::as_array).into_iter().flatten();
            ensure!(all.any(|one| one.get("id").is_some_and(|found| found == id)), "the host runs {inventory}");
            Ok(())
        })
        .await
    }
}
