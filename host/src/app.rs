//! The composition root: start-up and shutdown, read from top to bottom.
//!
//! Start: the admin port answers first, so that one can see why the host is not ready; then a manifest is verified as a whole, and what cannot
//! be linked ends the host before anything connects; then services are connected, databases migrated, and components put in their slots;
//! then relays, consumers and timers start; the edge comes last. On a lattice the same happens piece by piece, as the lattice asks for it.
//! Stop: no new requests, messages or ticks; what runs is finished within the drain time; then the process ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::HostConfig;
use crate::health::{AdminServer, AdminState, Readiness};
use crate::limits;
use crate::link::Surroundings;
use crate::manifest::Plan;
use crate::runtime::{Artifacts, Engine};
use crate::shutdown::{Ending, Shutdown};
use crate::telemetry;
use crate::workload::{self, Ground, Workload};

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
    let (mut frame, mut failures) =
        Frame::raise(ground, config.admin_address, config.drain_timeout, application).await?;
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

/// What every way of running has around it: admin port, metrics, signals.
struct Frame {
    workload: Workload,
    readiness: Readiness,
    shutdown: Shutdown,
    admin: SocketAddr,
    listening: JoinHandle<Ending>,
    upkeep: JoinHandle<()>,
    serving_admin: JoinHandle<()>,
}

impl Frame {
    async fn raise(
        ground: Ground,
        admin_address: SocketAddr,
        drain_timeout: Duration,
        application: Value,
    ) -> anyhow::Result<(Self, mpsc::Receiver<anyhow::Error>)> {
        let metrics = telemetry::init_metrics()?;
        let (shutdown, listener) = Shutdown::listen(drain_timeout)?;
        let admin = AdminServer::bind(admin_address).await?;
        let address = admin.address();
        let readiness = ground.readiness.clone();
        let (workload, failures) = Workload::new(ground);
        let state = AdminState {
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            inventory: Box::new(inventory(workload.clone(), application)),
        };
        let frame = Self {
            workload,
            readiness,
            admin: address,
            listening: tokio::spawn(listener.run()),
            upkeep: tokio::spawn(telemetry::keep_up(metrics, shutdown.drained.clone())),
            serving_admin: tokio::spawn(admin.run(state, shutdown.drained.clone())),
            shutdown,
        };
        Ok((frame, failures))
    }

    fn ready(&self) {
        self.readiness.started();
        tracing::info!(listening = ?self.workload.listening(), "ready");
    }

    /// From the first signal to the end.
    async fn lower(&mut self) -> anyhow::Result<Ending> {
        self.readiness.draining();
        tokio::select! {
            () = async {
                self.workload.close().await;
                self.workload.drain(limits::DRAIN).await;
            } => {}
            () = self.shutdown.drained.cancelled() => {}
        }
        self.shutdown.drained.cancel();
        let ending = (&mut self.listening).await.context("the signal listener ended")?;
        let _ = tokio::join!(&mut self.serving_admin, &mut self.upkeep);
        tracing::info!(?ending, "stopped");
        Ok(ending)
    }
}

fn inventory(workload: Workload, application: Value) -> impl Fn() -> Value + Send + Sync {
    let began = Instant::now();
    move || {
        let mut all = workload.inventory();
        if let Some(all) = all.as_object_mut() {
            all.insert(
                "host".to_owned(),
                json!({"version": env!("CARGO_PKG_VERSION"), "uptimeSeconds": began.elapsed().as_secs()}),
            );
            all.insert("application".to_owned(), application.clone());
        }
        all
    }
}
