//! This host as a member of a wasmCloud v1 lattice, driven by unmodified `wash` and `wadm`: identity, control interface, events, heartbeats,
//! links and configs. Written down with its facts in `docs/lattice.md`.
//!
//! Invariants: every request is answered within the client's time, before slow work; every command ends in an event that tells what runs
//! afterwards; whatever fails leaves running what ran; no value of a config or secret is in an event, an inventory or a log.

mod changes;
mod clock;
mod commands;
mod connection;
mod control;
mod events;
mod heartbeat;
mod identity;
mod inventory;
mod labels;
mod links;
mod member;
mod ports;
pub mod provider;
mod routes;
pub mod rpc;
mod settings;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use async_nats::jetstream;
use serde_json::json;
use tokio::sync::{Notify, broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use connection::Connections;
pub use identity::Identity;
pub use ports::{Calls, ProcessEvent, ProcessPlan, Processes, Registries, Work};
pub use wire::{Annotations, Link};

use crate::config::LatticeConfig;
use crate::limits;
use crate::manifest::SecretSource;
use crate::workload::Notice;
use changes::Changes;
use commands::component::Command;
use commands::{Components, Providers};
use control::Control;
use events::Events;
use labels::Labels;
use member::Member;
use routes::Routes;
use store::Store;

/// Why a host cannot be, or stay, a member of its lattice.
#[derive(Debug, thiserror::Error)]
pub enum LatticeError {
    /// The seed is none of a host.
    #[error("the host's seed is no seed of an nkey of type server (`SN...`)")]
    Seed,
    /// NATS is not there or refuses.
    #[error("NATS at {url} cannot be used: {reason}")]
    Connect {
        /// The server.
        url: String,
        /// What it or the client says.
        reason: String,
    },
    /// JetStream is not there or refuses.
    #[error("the lattice's bucket {bucket} cannot be used: {reason}. Is JetStream enabled (`nats-server -js`)?")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// What JetStream says.
        reason: String,
    },
    /// The control interface cannot be listened to.
    #[error("the control interface cannot be subscribed: {0}")]
    Subscribe(String),
}

/// What the control plane works with.
pub struct Parts {
    /// Runs components and built-ins.
    pub work: Arc<dyn Work>,
    /// Serves calls from other hosts.
    pub calls: Arc<dyn Calls>,
    /// Runs providers as processes, and tells what happens to them; none: built-ins only.
    pub processes: Option<(Arc<dyn Processes>, mpsc::Receiver<ProcessEvent>)>,
    /// Takes credentials of registries.
    pub registries: Arc<dyn Registries>,
    /// Gives secrets by reference.
    pub secrets: Arc<dyn SecretSource + Send + Sync>,
    /// What happens to the workload without being asked for.
    pub notices: broadcast::Receiver<Notice>,
    /// Cancelled as soon as the lattice knows this host and it takes commands.
    pub ready: CancellationToken,
}

/// Joins the lattice and does what it says until `stop` is cancelled, by whoever owns it or by a command to stop the host. Then nothing
/// new is taken, running calls are finished within `config.drain_timeout`, providers are stopped, and the lattice is told.
///
/// # Errors
/// [`LatticeError`] when the lattice cannot be joined. Later losses of the connection are waited out.
pub async fn run(
    config: &LatticeConfig,
    identity: Identity,
    connections: Connections,
    parts: Parts,
    stop: CancellationToken,
) -> Result<(), LatticeError> {
    let jetstream = match &config.js_domain {
        Some(domain) => jetstream::with_domain(connections.control.clone(), domain),
        None => jetstream::new(connections.control.clone()),
    };
    let store = Arc::new(Store::open(&jetstream, &config.lattice).await?);
    let (processes, process_events) =
        parts.processes.map_or((None, None), |(owner, events)| (Some(owner), Some(events)));
    let member = Arc::new(Member {
        lattice: config.lattice.clone(),
        began: Instant::now(),
        labels: Labels::new(&config.labels),
        events: Events::new(connections.control.clone(), &config.lattice, &identity.id),
        identity,
        store: store.clone(),
        work: parts.work,
        calls: parts.calls,
        processes,
        registries: parts.registries,
        secrets: parts.secrets,
        rpc: connections.calls.clone(),
        max_execution_time: config.max_execution_time,
        inventory: Mutex::default(),
        tasks: TaskTracker::new(),
    });
    let routes = Arc::new(Routes::new(member.clone()));
    let components = Arc::new(Components::new(member.clone(), routes.clone()));
    let providers = Arc::new(Providers::new(member.clone(), routes.clone()));
    routes.apply().await;

    let beat = Arc::new(Notify::new());
    // What listens ends first, so that no command is taken while work ends.
    let (listening, tasks) = (stop.child_token(), TaskTracker::new());
    let _ends_what_listens = listening.clone().drop_guard();
    let (changes_in, changes_out) = mpsc::channel(limits::MAX_WAITING_CHANGES);
    tasks.spawn(store.watch(changes_in, listening.clone()));
    let changes =
        Changes { member: member.clone(), routes, components: components.clone(), providers: providers.clone() };
    tasks.spawn(changes.run(changes_out, listening.clone()));
    tasks.spawn(notice(parts.notices, components.clone(), providers.clone(), listening.clone()));
    let control =
        Control::new(member.clone(), components, providers.clone(), &config.control_prefix, beat.clone(), stop.clone());
    Arc::new(control).listen(&connections.control, &tasks, &listening).await?;
    tasks.close();

    let started = json!({
        "labels": member.labels.get(), "friendly_name": member.identity.friendly_name, "uptime_seconds": 0,
        "version": member::VERSION,
    });
    member.events.publish("host_started", started).await;
    let beating = CancellationToken::new();
    let heart = tokio::spawn(heartbeat::run(member.clone(), config.heartbeat_interval, beat, beating.clone()));
    tracing::info!(
        lattice = config.lattice,
        host = member.identity.id,
        name = member.identity.friendly_name,
        "member of the lattice"
    );
    parts.ready.cancel();

    let watching = CancellationToken::new();
    let watched = tokio::spawn(watch_processes(process_events, providers, watching.clone()));
    stop.cancelled().await;
    tasks.wait().await;
    end(&member, config).await;
    beating.cancel();
    watching.cancel();
    for task in [heart, watched] {
        if let Err(error) = task.await {
            tracing::error!(%error, "a task of the lattice failed");
        }
    }
    member.events.publish("host_stopped", json!({"labels": member.labels.get()})).await;
    member.events.flush().await;
    connections.calls.flush().await.unwrap_or_default();
    Ok(())
}

/// Finishes what runs.
async fn end(member: &Member, config: &LatticeConfig) {
    member.tasks.close();
    if tokio::time::timeout(config.drain_timeout, member.tasks.wait()).await.is_err() {
        tracing::warn!("commands were cut short");
    }
    let ids: Vec<String> = member.inventory().components.keys().cloned().collect();
    futures::future::join_all(ids.iter().map(|id| member.calls.stop(id))).await;
    member.work.drain(config.drain_timeout).await;
    if let Some(processes) = &member.processes {
        processes.shutdown_all().await;
    }
}

/// What happens to the workload by itself becomes events.
async fn notice(
    mut notices: broadcast::Receiver<Notice>,
    components: Arc<Components>,
    providers: Arc<Providers>,
    stop: CancellationToken,
) {
    loop {
        let notice = tokio::select! {
            notice = notices.recv() => notice,
            () = stop.cancelled() => return,
        };
        match notice {
            Ok(Notice::RolledBack { id, from, to, reason }) => {
                if let Err(error) = components.submit(&id, Command::RolledBack { from, to, reason }) {
                    tracing::error!(id, %error, "the lattice does not hear of a rollback");
                }
            }
            Ok(Notice::Health { id, healthy, message }) => {
                if !healthy {
                    tracing::warn!(id, message, "capability does not work");
                }
                providers.health(&id, healthy);
            }
            Err(broadcast::error::RecvError::Lagged(lost)) => tracing::error!(lost, "notices were lost"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

async fn watch_processes(
    events: Option<mpsc::Receiver<ProcessEvent>>,
    providers: Arc<Providers>,
    stop: CancellationToken,
) {
    let Some(mut events) = events else { return };
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => providers.process(event),
                None => return,
            },
            () = stop.cancelled() => return,
        }
    }
}
