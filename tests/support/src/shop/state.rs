//! The state file of a data folder: what runs where. Invariant: it names a process by number and start time, so `down` never ends a stranger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};

use crate::place::write_private;
use crate::process::{Lifetime, ProcessId, STOP_BOUND, StopSignal};
use crate::service::Service;

/// A program that holds a shop stops a host (which may drain) and all services; so long it may take.
const OWNER_BOUND: Duration = Duration::from_secs(40);

/// Where everything of a shop is. Holds passwords, so it is kept in a file of mode 0600 and not printed whole.
#[derive(Clone, Deserialize, Serialize)]
pub struct Addresses {
    /// PostgreSQL as administrator.
    pub admin_database_url: String,
    /// Each service's database as its own role, by database name.
    pub database_urls: BTreeMap<String, String>,
    /// Redis.
    pub redis_url: String,
    /// Kafka.
    pub kafka_bootstrap_servers: String,
    /// NATS.
    pub nats_url: Option<String>,
    /// Where mails are handed in.
    pub smtp_url: String,
    /// The inbox.
    pub mail_web_url: Option<String>,
    /// The PSP.
    pub psp_base_url: String,
    /// The PSP's key.
    pub psp_secret_key: String,
    /// What the PSP signs webhooks with.
    #[serde(default)]
    pub psp_webhook_secret: String,
    /// `iss` of tokens.
    pub issuer_url: String,
    /// `aud` of tokens.
    pub issuer_audience: String,
    /// The issuer's public keys.
    pub issuer_jwks_url: String,
    /// Folder of the issuer's keys.
    pub issuer_keys: PathBuf,
    /// The shop's API, if there is a host.
    pub edge_url: Option<String>,
    /// The host's health, metrics and inventory, if there is a host.
    pub admin_url: Option<String>,
    /// The name of the lattice on NATS, if the host is a member of one.
    #[serde(default)]
    pub lattice: Option<String>,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Addresses")
            .field("edge_url", &self.edge_url)
            .field("admin_url", &self.admin_url)
            .finish_non_exhaustive()
    }
}

/// One process of a shop.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Recorded {
    /// Name of the service.
    pub name: String,
    /// Which process.
    pub process: ProcessId,
    /// How to stop it.
    pub stop_signal: StopSignal,
}

impl Recorded {
    pub(super) fn of(service: &Service) -> Option<Self> {
        Some(Self { name: service.name().to_owned(), process: service.process()?, stop_signal: service.stop_signal() })
    }
}

/// The content of the state file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    /// The program that holds the shop and stops it when it is stopped; `None` for a detached shop.
    pub owner: Option<ProcessId>,
    /// What runs, the host first.
    pub processes: Vec<Recorded>,
    /// Where it is.
    pub addresses: Addresses,
}

impl State {
    /// Reads the state of a shop that was started; `None` when there is none.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path(data_dir);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display())).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// True while any of its processes runs.
    #[must_use]
    pub fn running(&self) -> bool {
        self.processes.iter().any(|recorded| recorded.process.alive())
    }

    pub(super) fn write(
        data_dir: &Path,
        lifetime: Lifetime,
        processes: Vec<Recorded>,
        addresses: Addresses,
    ) -> anyhow::Result<()> {
        let owner = if lifetime == Lifetime::WithParent { ProcessId::own() } else { None };
        write_private(&path(data_dir), &serde_json::to_vec_pretty(&Self { owner, processes, addresses })?)
    }

    pub(super) fn forget(data_dir: &Path) -> anyhow::Result<()> {
        match std::fs::remove_file(path(data_dir)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("removing the state file"),
            _ => Ok(()),
        }
    }
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("state.json")
}

/// Stops the shop of a data folder from outside: the program that holds it, then whatever is left. Blocks.
///
/// # Errors
/// When a process cannot be ended.
///
/// Returns the names of what was stopped.
pub fn down(data_dir: &Path) -> anyhow::Result<Vec<String>> {
    let Some(state) = State::read(data_dir)? else { return Ok(Vec::new()) };
    let stopped = state
        .processes
        .iter()
        .filter(|recorded| recorded.process.alive())
        .map(|recorded| recorded.name.clone())
        .collect();
    if let Some(owner) = state.owner.filter(|owner| owner.alive() && ProcessId::own() != Some(*owner)) {
        owner.end(StopSignal::Terminate, OWNER_BOUND)?;
    }
    end_left_over(data_dir)?;
    Ok(stopped)
}

/// Ends what an earlier run left behind, the host before the services that it needs.
pub(super) fn end_left_over(data_dir: &Path) -> anyhow::Result<()> {
    let Some(state) = State::read(data_dir)? else { return Ok(()) };
    let (host, rest): (Vec<_>, Vec<_>) = state.processes.iter().partition(|recorded| recorded.name == "host");
    for group in [host, rest] {
        std::thread::scope(|scope| {
            let ending: Vec<_> = group
                .into_iter()
                .map(|recorded| scope.spawn(|| recorded.process.end(recorded.stop_signal, STOP_BOUND)))
                .collect();
            ending.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread ended in a panic"))?)
        })?;
    }
    State::forget(data_dir)
}
