//! Brings an application onto a lattice in the way that `wash app deploy` does. Invariant: what returns without an error is deployed and serves.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use async_nats::jetstream::{self, kv};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::application::{Application, Configs};
use crate::eventually;
use crate::lattice::Lattice;

/// wadm looks at a new version within milliseconds.
const NOTICE: Duration = Duration::from_secs(2);

/// Writes configs straight into the lattice's store, so that hosts which start later find them at once; hosts that run see the change. Makes
/// the store if no host did so before. Returns how many were new or changed.
///
/// # Errors
/// When the server is away or has no JetStream.
pub async fn store_configs(lattice: &Lattice, configs: &Configs) -> anyhow::Result<usize> {
    let bucket = format!("CONFIGDATA_{}", lattice.name());
    let context = jetstream::new(lattice.client().clone());
    let store = match context.get_key_value(&bucket).await {
        Ok(store) => store,
        // The settings of wasmCloud's own host.
        Err(_) => context
            .create_key_value(kv::Config { bucket: bucket.clone(), ..kv::Config::default() })
            .await
            .with_context(|| format!("making the bucket {bucket}"))?,
    };
    let mut changed = 0;
    for (config, pairs) in configs {
        let before = store.get(config.as_str()).await.with_context(|| format!("reading the config {config}"))?;
        let same = before
            .is_some_and(|bytes| serde_json::from_slice::<Value>(&bytes).is_ok_and(|before| before == json!(pairs)));
        if !same {
            let text = serde_json::to_vec(pairs)?;
            store.put(config.as_str(), text.into()).await.with_context(|| format!("writing the config {config}"))?;
            changed += 1;
        }
    }
    Ok(changed)
}

/// Hands a manifest to wadm under a version pinned to its content, deploys that version, and waits until wadm says that it is deployed.
///
/// # Errors
/// What wadm has against it, or at the deadline what is still missing.
pub async fn deploy(lattice: &Lattice, application: &Application, deadline: Duration) -> anyhow::Result<()> {
    let application = application.clone().pinned();
    let (name, version) = (application.name(), application.version());
    let put = lattice.model("put", application.document()).await.context("handing the manifest to wadm")?;
    let (result, message) = said(&put);
    // The same content has the same version, so it is there already after a restart.
    ensure!(
        matches!(result, "created" | "newversion") || message.ends_with("already exists"),
        "wadm does not take the manifest: {message}"
    );
    let mut statuses = lattice.client().subscribe(format!("wadm.status.{}.{name}", lattice.name())).await?;
    lattice.client().flush().await?;
    let deployed = lattice.model(&format!("deploy.{name}"), &json!({ "version": version })).await?;
    let (result, message) = said(&deployed);
    ensure!(result == "acknowledged", "wadm does not deploy {name}: {message}");
    // Until wadm has looked at the new version, it answers with the state of the old. It says nothing if nothing is to be done.
    let _ = tokio::time::timeout(NOTICE, statuses.next()).await;
    eventually(deadline, &format!("the deployment of {name}"), async || {
        let answer = lattice.model(&format!("status.{name}"), &Value::Null).await?;
        let status = answer.pointer("/status/status/type").and_then(Value::as_str).unwrap_or("unknown");
        if status == "deployed" {
            return Ok(());
        }
        bail!("wadm says {status}: {}", unfinished(&answer).join("; "))
    })
    .await
}

/// Result and message of an answer of wadm.
fn said(answer: &Value) -> (&str, &str) {
    let text = |member: &str| answer.get(member).and_then(Value::as_str).unwrap_or_default();
    (text("result"), text("message"))
}

/// What wadm has not brought about yet, one sentence each.
fn unfinished(status: &Value) -> Vec<String> {
    let scalers = status.pointer("/status/scalers").and_then(Value::as_array).into_iter().flatten();
    scalers
        .filter_map(|scaler| {
            let info = scaler.get("status").or_else(|| scaler.get("info"))?;
            let what = format!("{} {}", scaler["kind"].as_str()?, scaler["name"].as_str()?);
            let said = info["message"].as_str().unwrap_or_default();
            (info["type"] != "deployed")
                .then(|| format!("{what}: {} {said}", info["type"].as_str().unwrap_or_default()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_deployed_is_told() {
        let status = json!({"status": {"status": {"type": "reconciling"}, "scalers": [
            {"id": "1", "kind": "SpreadScaler", "name": "shop-order", "status": {"type": "failed", "message": "no host"}},
            {"id": "2", "kind": "LinkScaler", "name": "a -> b", "status": {"type": "deployed"}},
        ]}});
        assert_eq!(unfinished(&status), ["SpreadScaler shop-order: failed no host"]);
        assert!(unfinished(&Value::Null).is_empty());
    }
}
