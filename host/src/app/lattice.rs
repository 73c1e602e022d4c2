//! The composition root of a host on a lattice: connections, engine, workload, control plane; until a signal or a command ends it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::frame::Frame;
use super::parts::{Credentials, Programs, ServedCalls};
use crate::config::{LatticeConfig, ProcessSecrets};
use crate::health::{AdminError, AdminServer, Readiness};
use crate::lattice::rpc::{NatsRemote, Server};
use crate::lattice::{self, Connections, Identity, Parts};
use crate::link::Surroundings;
use crate::runtime::{ArtifactOptions, Artifacts, Engine, RegistryCredentials, RegistryOptions};
use crate::workload::Ground;

/// Runs until a signal or a command comes. Returns the process's exit code.
///
/// # Errors
/// When the host cannot start.
pub async fn run(config: LatticeConfig) -> anyhow::Result<u8> {
    let identity = Identity::new(config.host_seed.as_ref(), config.friendly_name.as_deref())?;
    let admin = admin(&config).await?;
    tracing::info!(lattice = config.lattice, host = identity.id, admin = %admin.address(), "starting");
    let connections = tokio::select! {
        connections = Connections::open(&config, &identity.friendly_name) => connections?,
        // Nothing runs yet, so a signal during a start that waits for NATS ends it at once.
        () = terminated() => return Ok(0),
    };
    let engine = Engine::new()?;
    let artifacts = Arc::new(Artifacts::with(engine.clone(), artifact_options(&config)));
    let remote = Arc::new(NatsRemote::new(connections.calls.clone(), &config.lattice));
    let ground = Ground {
        engine,
        artifacts: artifacts.clone(),
        migrations_root: config.migrations_root.clone(),
        surroundings: Surroundings { remote: Some(remote), late_links: true, ..Surroundings::default() },
        restart_triggers: true,
        readiness: Readiness::default(),
    };
    let known = json!({"host": {"id": identity.id, "name": identity.friendly_name}, "lattice": config.lattice});
    let (mut frame, _failures) = Frame::raise(ground, admin, config.drain_timeout, known)?;
    frame.workload.open().await?;
    let (programs, program_events) =
        Programs::new(&config, &identity.id, connections.calls.clone(), artifacts.clone())?;
    let ready = CancellationToken::new();
    let parts = Parts {
        notices: frame.workload.notices(),
        work: Arc::new(frame.workload.clone()),
        calls: Arc::new(ServedCalls(Server::new(connections.calls.clone(), &config.lattice))),
        processes: Some((Arc::new(programs), program_events)),
        registries: Arc::new(Credentials(artifacts)),
        secrets: Arc::new(ProcessSecrets),
        ready: ready.clone(),
    };
    let announcing = tokio::spawn({
        let (readiness, stop) = (frame.readiness.clone(), frame.shutdown.stop_accepting.clone());
        async move {
            tokio::select! {
                () = ready.cancelled() => {
                    tracing::info!("ready: a member of the lattice");
                    readiness.started();
                }
                () = stop.cancelled() => {}
            }
            stop.cancelled().await;
            readiness.draining();
        }
    });
    let outcome = lattice::run(&config, identity, connections, parts, frame.shutdown.stop_accepting.clone()).await;
    frame.shutdown.stop_accepting.cancel();
    let _ = announcing.await;
    let ending = frame.end().await?;
    outcome?;
    Ok(ending.exit_code())
}

fn artifact_options(config: &LatticeConfig) -> ArtifactOptions {
    let credentials = config.oci_credentials.iter().map(|(registry, username, password)| {
        let login = RegistryCredentials::Basic { username: username.clone(), password: password.clone() };
        (registry.clone(), login)
    });
    ArtifactOptions {
        root: config.artifact_root.clone(),
        cache: Some(config.cache_dir.clone()),
        absolute_files: config.allow_file_load,
        registry: RegistryOptions {
            allow_latest: config.oci_allow_latest,
            insecure: config.oci_allowed_insecure.clone(),
            credentials: credentials.collect(),
        },
    }
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

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
