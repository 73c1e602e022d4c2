//! The composition root of a host on a lattice: connections, engine, workload, control plane; until a signal or a command ends it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::config::{LatticeConfig, ProcessSecrets};
use crate::health::{AdminError, AdminServer, AdminState, Readiness};
use crate::lattice::{self, Connections, Identity, Parts};
use crate::runtime::{Artifacts, Engine};
use crate::shutdown::Shutdown;
use crate::telemetry;
use crate::workload::{Ground, Workload};

/// Runs until a signal or a command comes. Returns the process's exit code.
///
/// # Errors
/// When the host cannot start.
pub async fn run(config: LatticeConfig) -> anyhow::Result<u8> {
    let metrics = telemetry::init_metrics()?;
    let readiness = Readiness::default();
    let (shutdown, listener) = Shutdown::listen(config.drain_timeout)?;
    let identity = Identity::new(config.host_seed.as_ref(), config.friendly_name.as_deref())?;
    let admin = admin(&config).await?;
    tracing::info!(lattice = config.lattice, host = identity.id, admin = %admin.address(), "starting");
    let shown = json!({"host": {"id": identity.id, "version": env!("CARGO_PKG_VERSION")}, "lattice": config.lattice});
    let state = AdminState {
        readiness: readiness.clone(),
        metrics: metrics.clone(),
        inventory: Box::new(move || shown.clone()),
    };
    let serving_admin = tokio::spawn(admin.run(state, shutdown.drained.clone()));
    let upkeep = tokio::spawn(telemetry::keep_up(metrics, shutdown.drained.clone()));
    let listening = tokio::spawn(listener.run());

    let connections = tokio::select! {
        connections = Connections::open(&config, &identity.friendly_name) => connections?,
        // A signal during a start that waits for NATS ends it at once: nothing runs yet.
        () = shutdown.stop_accepting.cancelled() => {
            shutdown.drained.cancel();
            return Ok(0);
        }
    };
    let engine = Engine::new()?;
    let artifacts = Artifacts::new(engine.clone(), config.artifact_root.clone(), Some(config.cache_dir.clone()));
    let migrations_root = config.migrations_root.clone();
    let workload = Workload::new(Ground { engine, artifacts: Arc::new(artifacts), migrations_root, remote: None });
    let ready = CancellationToken::new();
    let parts = Parts {
        notices: workload.notices(),
        work: Arc::new(workload),
        calls: Arc::new(()),
        processes: None,
        registries: Arc::new(()),
        secrets: Arc::new(ProcessSecrets),
        ready: ready.clone(),
    };
    let announcing = tokio::spawn({
        let (readiness, stop) = (readiness.clone(), shutdown.stop_accepting.clone());
        async move {
            tokio::select! {
                () = ready.cancelled() => readiness.started(),
                () = stop.cancelled() => {}
            }
            stop.cancelled().await;
            readiness.draining();
        }
    });
    let outcome = lattice::run(&config, identity, connections, parts, shutdown.stop_accepting.clone()).await;
    shutdown.stop_accepting.cancel();
    shutdown.drained.cancel();
    let ending = listening.await.context("the signal listener ended")?;
    let _ = tokio::join!(serving_admin, upkeep, announcing);
    outcome?;
    tracing::info!(?ending, "stopped");
    Ok(ending.exit_code())
}

/// Several hosts may be on one machine: unless an address was asked for, any free port will do.
async fn admin(config: &LatticeConfig) -> Result<AdminServer, AdminError> {
    match AdminServer::bind(config.admin_address).await {
        Err(error) if config.admin_port_may_differ => {
            tracing::info!(%error, "taking another admin port");
            AdminServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
        }
        outcome => outcome,
    }
}
