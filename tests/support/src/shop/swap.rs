//! Replaces the code of a component on a running lattice. Invariant: nothing is stopped here; a host that cannot run the new code goes on with
//! the old, and that is an error with the host's reason.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::lattice::Lattice;

/// The ids of the hosts that run a component now.
///
/// # Errors
/// When the lattice does not answer.
pub async fn hosts_of(lattice: &Lattice, component: &str) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for host in lattice.hosts().await? {
        let Some(id) = host.get("id").and_then(Value::as_str) else { continue };
        let inventory = lattice.inventory(id).await?;
        let components = inventory.get("components").and_then(Value::as_array).into_iter().flatten();
        if components.into_iter().any(|running| text(running, "id") == component) {
            found.push(id.to_owned());
        }
    }
    Ok(found)
}

/// Has one host run other code for a component, and waits until that serves. Returns how long it took.
///
/// # Errors
/// What the host has against it.
pub async fn swap(
    lattice: &Lattice,
    host: &str,
    component: &str,
    reference: &str,
    deadline: Duration,
) -> anyhow::Result<Duration> {
    let mut events = lattice.client().subscribe(format!("wasmbus.evt.{}.*", lattice.name())).await?;
    lattice.client().flush().await?;
    let began = Instant::now();
    let request = json!({"component_id": component, "host_id": host, "new_component_ref": reference});
    let answer = lattice.control(&format!("component.update.{host}"), &request).await?;
    ensure!(answer.get("success") == Some(&Value::Bool(true)), "{}", text(&answer, "message"));
    let waiting = async {
        while let Some(message) = events.next().await {
            if let Some(outcome) = outcome(&message.payload, host, component, reference) {
                return outcome.map(|()| began.elapsed());
            }
        }
        bail!("the connection to the lattice is gone")
    };
    tokio::time::timeout(deadline, waiting).await.with_context(|| format!("no word of the host within {deadline:?}"))?
}

/// What an event says about this swap, if anything.
fn outcome(event: &[u8], host: &str, component: &str, reference: &str) -> Option<anyhow::Result<()>> {
    let event: Value = serde_json::from_slice(event).ok()?;
    let data = event.get("data")?;
    let this = text(&event, "source") == host
        && text(data, "component_id") == component
        && text(data, "image_ref") == reference;
    match text(&event, "type").rsplit('.').next()? {
        "component_scaled" if this => Some(Ok(())),
        "component_scale_failed" if this => Some(Err(anyhow::anyhow!("{}", text(data, "error")))),
        _ => None,
    }
}

fn text<'value>(value: &'value Value, member: &str) -> &'value str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn event(kind: &str, reference: &str) -> Vec<u8> {
        let data = json!({"component_id": "c", "image_ref": reference, "max_instances": 4, "error": "no export"});
        let whole = json!({"type": format!("com.wasmcloud.lattice.{kind}"), "source": "N1", "data": data});
        whole.to_string().into_bytes()
    }

    #[test]
    fn only_the_events_of_this_swap_end_it() {
        assert!(outcome(&event("component_scaled", "file://new"), "N1", "c", "file://new").unwrap().is_ok());
        let failed = outcome(&event("component_scale_failed", "file://new"), "N1", "c", "file://new").unwrap();
        assert_eq!(failed.unwrap_err().to_string(), "no export");
        assert!(outcome(&event("component_scaled", "file://old"), "N1", "c", "file://new").is_none());
        assert!(outcome(&event("component_scaled", "file://new"), "N2", "c", "file://new").is_none());
        assert!(outcome(&event("host_heartbeat", "file://new"), "N1", "c", "file://new").is_none());
        assert!(outcome(b"no event", "N1", "c", "file://new").is_none());
    }
}
