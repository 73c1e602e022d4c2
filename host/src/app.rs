//! The composition root: start-up and shutdown, read from top to bottom.
//!
//! Start: the admin port answers first, so that one can see why the host is not ready; then the plan is loaded and linked, and what cannot
//! be linked ends the host before anything connects; then services are connected and databases migrated; then components are put in their
//! slots; then relays, consumers and timers start; the edge comes last.
//! Stop: no new requests, messages or ticks; what runs is finished within the drain time; then the process ends.

mod assembly;
mod connect;
mod inventory;
pub mod lattice;
mod settings;
mod triggers;

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::HostConfig;
use crate::health::{AdminServer, AdminState, Readiness};
use crate::limits;
use crate::runtime::{Artifacts, Component, Engine};
use crate::shutdown::Shutdown;
use crate::telemetry;
use assembly::{Assembly, AssemblyError};
use inventory::Running;

/// Runs the application until a signal comes. Returns the process's exit code.
///
/// # Errors
/// When the application cannot start.
pub async fn run(config: HostConfig) -> anyhow::Result<u8> {
    let metrics = telemetry::init_metrics()?;
    let readiness = Readiness::default();
    let running = Running::new(&config.plan);
    let (shutdown, listener) = Shutdown::listen(config.drain_timeout)?;
    let admin = AdminServer::bind(config.admin_address).await?;
    tracing::info!(application = %config.plan.application, version = config.plan.version, admin = %admin.address(), "starting");
    let state =
        AdminState { readiness: readiness.clone(), metrics: metrics.clone(), inventory: Box::new(running.clone()) };
    let serving_admin = tokio::spawn(admin.run(state, shutdown.drained.clone()));
    let upkeep = tokio::spawn(telemetry::keep_up(metrics, shutdown.drained.clone()));

    let listening = tokio::spawn(listener.run());
    let started = tokio::select! {
        started = start(&config, &readiness, &running, &shutdown) => started?,
        // A signal during a start that waits for its databases ends it at once: nothing runs yet.
        () = shutdown.stop_accepting.cancelled() => {
            shutdown.drained.cancel();
            return Ok(0);
        }
    };
    readiness.started();
    tracing::info!(listening = ?started.listening, "ready");

    let failed = watch(started, &readiness, &shutdown, &running).await;
    shutdown.drained.cancel();
    let ending = listening.await.context("the signal listener ended")?;
    let _ = tokio::join!(serving_admin, upkeep);
    tracing::info!(?ending, failed, "stopped");
    Ok(if failed { 1 } else { ending.exit_code() })
}

/// Checks everything that can be checked without connecting: manifest, configuration, files, code, links.
///
/// # Errors
/// Everything that is wrong.
pub async fn check(config: HostConfig) -> anyhow::Result<u8> {
    let engine = Engine::new()?;
    let Assembly { components, .. } = load(&config, &engine).await?;
    tracing::info!(application = %config.plan.application, components = components.len(), links = config.plan.links.len(), "the application can be linked");
    Ok(0)
}

async fn load(config: &HostConfig, engine: &Engine) -> anyhow::Result<Assembly> {
    let artifacts = Artifacts::new(engine.clone(), config.artifact_root.clone(), Some(config.cache_dir.clone()));
    let settings = settings::check(&config.plan);
    let assembled = assembly::assemble(engine, Arc::new(artifacts), &config.plan).await;
    // All that is wrong is told at once, so that one start shows everything that there is to mend.
    match (assembled, settings) {
        (Ok(assembly), Ok(())) => Ok(assembly),
        (assembled, settings) => {
            let linking = assembled.err().map(|AssemblyError(problems)| problems).unwrap_or_default();
            Err(AssemblyError([linking, settings.err().unwrap_or_default()].concat()).into())
        }
    }
}

async fn start(
    config: &HostConfig,
    readiness: &Readiness,
    running: &Running,
    shutdown: &Shutdown,
) -> anyhow::Result<triggers::Triggers> {
    let engine = Engine::new()?;
    let Assembly { slots, components } = load(config, &engine).await?;

    let connecting = components.into_iter().map(|linked| {
        let (plan, root) = (&config.plan, config.migrations_root.as_deref());
        async move { connect::grants(plan, &linked.plan, root).await.map(|grants| (linked, Arc::new(grants))) }
    });
    for (linked, grants) in futures::future::try_join_all(connecting).await? {
        let name = linked.plan.name.clone();
        let component =
            Component::new(engine.clone(), &name, linked.artifact, linked.template, grants, linked.plan.runtime);
        if let Some(slot) = slots.get(&name) {
            slot.install(component);
        }
    }
    running.set_slots(slots.clone());

    let triggers = triggers::start(&config.plan, &slots, readiness, &shutdown.stop_accepting).await?;
    running.set_listening(triggers.listening.clone());
    Ok(triggers)
}

/// Waits until everything has ended. A task that ends before it was asked to ends the host: half a shop is worse than a restart.
async fn watch(
    mut triggers: triggers::Triggers,
    readiness: &Readiness,
    shutdown: &Shutdown,
    running: &Running,
) -> bool {
    let mut failed = false;
    let mut draining = false;
    loop {
        let ended = tokio::select! {
            ended = triggers.tasks.join_next() => ended,
            () = shutdown.stop_accepting.cancelled(), if !draining => {
                draining = true;
                readiness.draining();
                continue;
            }
            () = shutdown.drained.cancelled() => break,
        };
        let Some(ended) = ended else { break };
        let (name, outcome) = ended.unwrap_or_else(|panic| ("a task".to_owned(), Err(panic.into())));
        match outcome {
            Ok(()) if shutdown.stop_accepting.is_cancelled() => tracing::debug!(task = name, "ended"),
            Ok(()) => {
                tracing::error!(task = name, "ended before it was asked to");
                failed = true;
            }
            Err(error) => {
                tracing::error!(task = name, error = format!("{error:#}"), "failed");
                failed = true;
            }
        }
        if failed {
            shutdown.stop_accepting.cancel();
        }
    }
    running.drain(limits::DRAIN).await;
    failed
}
