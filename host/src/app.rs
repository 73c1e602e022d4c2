//! The composition root: start-up and shutdown, read from top to bottom.
//!
//! Start: the admin port answers first, so that one can see why the host is not ready; then a manifest is verified as a whole, and what cannot
//! be linked ends the host before anything connects; then services are connected, databases migrated, and components put in their slots;
//! then relays, consumers and timers start; the edge comes last. On a lattice the same happens piece by piece, as the lattice asks for it.
//! Stop: no new requests, messages or ticks; what runs is finished within the drain time; then the process ends.

pub mod breaker;
mod frame;
pub mod lattice;
mod parts;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use crate::config::HostConfig;
use crate::health::{AdminServer, Readiness};
use crate::link::Surroundings;
use crate::manifest::Plan;
use crate::runtime::{Artifacts, Engine};
use crate::workload::{self, Ground, Workload};
use frame::Frame;

/// Runs the application of a manifest until a signal comes. Returns the process's exit code.
///
/// # Errors
/// When the application cannot start.
pub async fn run(config: HostConfig) -> anyhow::Result<u8> {
    let engine = Engine::new()?;
    let artifacts = artifacts(&engine, &config);
    let ground = Ground {
        engine: engine.clone(),
        artifacts: artifacts.clone(),
        migrations_root: config.migrations_root.clone(),
        surroundings: Surroundings::default(),
        restart_triggers: false,
        readiness: Readiness::default(),
    };
    let application = json!({"name": config.plan.application, "version": config.plan.version});
    let admin = AdminServer::bind(config.admin_address).await?;
    let (mut frame, mut failures) =
        Frame::raise(ground, admin, config.drain_timeout, json!({"application": application}))?;
    tracing::info!(application = %config.plan.application, version = config.plan.version, admin = %frame.admin, "starting");
    tokio::select! {
        started = feed(&engine, &artifacts, &config.plan, &frame.workload) => started?,
        // A signal during a start that waits for its databases ends it at once: nothing runs yet.
        () = frame.shutdown.stop_accepting.cancelled() => {
            frame.shutdown.drained.cancel();
            return Ok(0);
        }
    }
    frame.ready();
    let failed = tokio::select! {
        failure = failures.recv() => {
            // Half a shop is worse than a restart.
            if let Some(error) = failure {
                tracing::error!(error = format!("{error:#}"), "failed");
            }
            frame.shutdown.stop_accepting.cancel();
            true
        }
        () = frame.shutdown.stop_accepting.cancelled() => false,
    };
    let ending = frame.lower().await?;
    Ok(if failed { 1 } else { ending.exit_code() })
}

/// Checks everything that can be checked without connecting: manifest, configuration, files, code, links.
///
/// # Errors
/// Everything that is wrong.
pub async fn check(config: HostConfig) -> anyhow::Result<u8> {
    let engine = Engine::new()?;
    verify(&engine, &artifacts(&engine, &config), &config.plan).await?;
    tracing::info!(application = %config.plan.application, components = config.plan.components.len(), links = config.plan.links.len(), "the application can be linked");
    Ok(0)
}

fn artifacts(engine: &Engine, config: &HostConfig) -> Arc<Artifacts> {
    let (root, cache): (PathBuf, PathBuf) = (config.artifact_root.clone(), config.cache_dir.clone());
    Arc::new(Artifacts::new(engine.clone(), root, Some(cache)))
}

/// All that is wrong is told at once, so that one start shows everything that there is to mend.
async fn verify(engine: &Engine, artifacts: &Arc<Artifacts>, plan: &Plan) -> anyhow::Result<()> {
    let linking = workload::verify(engine, artifacts, plan).await.err().map(|unfit| unfit.0);
    let settings = workload::check_settings(plan).err();
    let problems: Vec<String> = linking.into_iter().chain(settings).flatten().collect();
    if problems.is_empty() { Ok(()) } else { Err(workload::Unfit(problems).into()) }
}

/// Feeds a manifest to the workload: the whole of it, or the host does not start.
async fn feed(engine: &Engine, artifacts: &Arc<Artifacts>, plan: &Plan, workload: &Workload) -> anyhow::Result<()> {
    verify(engine, artifacts, plan).await?;
    for capability in &plan.capabilities {
        workload.put_capability(capability.clone()).await?;
    }
    workload.set_links(plan.links.clone()).await;
    futures::future::try_join_all(plan.components.iter().cloned().map(|component| workload.start(component))).await?;
    workload.open().await
}
