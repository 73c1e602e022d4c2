//! External providers: programs of others that this host starts, tells their links and settings, watches, and ends (wasmCloud v1). Invariant:
//! a provider id runs at most once here, every process has a task that owns it, and none outlives the host.
//!
//! [`Providers`] is the owner. [`Providers::start`] answers at once; what comes of it, and everything after, is told as [`ProviderEvent`]s, in the
//! sequence in which it happened to a provider. `archive` makes a program of a file, `process` is the operating system's side, `host_data` what a
//! provider is told, `supervisor` the life of one provider.
//!
//! Two facts of the protocol that no host can change: nobody acknowledges links; and two hosts that run the same provider id share its subjects
//! for health and deletions, so either's answer counts for both.

mod archive;
mod claims;
mod health;
mod host_data;
mod links;
mod process;
mod supervisor;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use nkeys::XKey;
use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub use archive::{ArchiveError, Program, open};
pub use claims::{ClaimsError, ProviderClaims};
use process::Spawner;
pub use process::guard;
use supervisor::{Stop, Supervisor};

use crate::limits;
use crate::manifest::{LinkPlan, Settings};

/// What all providers of this host have in common.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// Public key of this host.
    pub host_id: String,
    /// Name of the lattice.
    pub lattice: String,
    /// Where providers connect for calls.
    pub nats_url: String,
    /// Their credentials there; empty: none. The public SDK knows a token with its seed, and nothing else.
    pub user_jwt: String,
    /// See `user_jwt`.
    pub user_seed: SecretString,
    /// How long their calls may take; `None`: as they like.
    pub rpc_timeout: Option<Duration>,
    /// Whether their logs are JSON.
    pub structured_logging: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: Option<String>,
    /// Variables of the environment that they see: those of this process that [`passed_on`] lets through.
    pub environment: Vec<(OsString, OsString)>,
    /// Time for one to end in good order before it is killed.
    pub shutdown_delay: Duration,
    /// Their programs are unpacked here; made if missing, private to this user.
    pub folder: PathBuf,
    /// Whether they end when this process is killed. Needs a `main` that calls [`guard`] first.
    pub guarded: bool,
    /// From this age on silence counts against a provider.
    pub first_health: Duration,
    /// Between two health checks.
    pub health_interval: Duration,
}

impl ProviderSettings {
    /// Without credentials, guard and environment; the rest as wasmCloud v1 has it.
    #[must_use]
    pub fn new(host_id: &str, lattice: &str, nats_url: &str, folder: PathBuf) -> Self {
        Self {
            host_id: host_id.to_owned(),
            lattice: lattice.to_owned(),
            nats_url: nats_url.to_owned(),
            user_jwt: String::new(),
            user_seed: SecretString::default(),
            rpc_timeout: None,
            structured_logging: false,
            log_level: None,
            environment: Vec::new(),
            // What the command line tool of wasmCloud passes by default.
            shutdown_delay: Duration::from_millis(300),
            folder,
            guarded: false,
            first_health: limits::PROVIDER_FIRST_HEALTH,
            health_interval: limits::PROVIDER_HEALTH,
        }
    }
}

/// Whether providers may see a variable of the host's environment: how to log and where to send telemetry, nothing else.
#[must_use]
pub fn passed_on(variable: &str) -> bool {
    variable == "RUST_LOG" || variable.starts_with("OTEL_")
}

/// A provider that shall run.
#[derive(Clone, Debug)]
pub struct ProviderSpec {
    /// Its id on the lattice: letters, digits, `_`, `-`.
    pub id: String,
    /// The reference as events and inventory spell it: a file's without `file://`.
    pub image_ref: String,
    /// The archive or program on this machine; it is read again at every start, not at a restart.
    pub file: PathBuf,
    /// Given back in events and inventory, unread.
    pub annotations: BTreeMap<String, String>,
    /// Its own settings, merged.
    pub config: Settings,
}

/// Something that happened to a provider.
#[derive(Clone, Debug)]
pub struct ProviderEvent {
    /// What it was started as.
    pub spec: Arc<ProviderSpec>,
    /// From its archive, once that is open.
    pub claims: Option<ProviderClaims>,
    /// What happened.
    pub what: What,
}

/// What can happen to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It runs.
    Started,
    /// It does not run, and its id is free again.
    StartFailed {
        /// Why.
        error: String,
    },
    /// It ran and was stopped; its id is free again. One that ends by itself is started again instead and is unhealthy meanwhile.
    Stopped {
        /// Why.
        reason: String,
    },
    /// What a health check said, or that there was no answer for long, or that the process ended by itself.
    Health {
        /// Whether it is well.
        healthy: bool,
        /// What it said; may be empty.
        message: String,
        /// False when the same was told before.
        changed: bool,
    },
}

/// A provider that runs here, for the inventory.
#[derive(Clone, Debug)]
pub struct RunningProvider {
    /// What it was started as.
    pub spec: Arc<ProviderSpec>,
    /// What is known of it.
    pub facts: Facts,
}

/// What is known of a provider.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// From its archive.
    pub claims: Option<ProviderClaims>,
    /// `sha256:<hex>` of its program.
    pub digest: Option<String>,
    /// Its process, unless it is between two lives.
    pub pid: Option<u32>,
    /// How often it ended by itself.
    pub restarts: u64,
    /// What was told last about its health.
    pub healthy: Option<bool>,
    started: bool,
}

/// Why a start is refused at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It runs, starts, or has not ended yet.
    #[error("provider `{0}` is already running on this host")]
    AlreadyRunning(String),
    /// Not a name that can stand in a subject.
    #[error("`{0}` is no provider id: expected letters, digits, `_` and `-`")]
    BadId(String),
    /// The host ends.
    #[error("the host is stopping")]
    Stopping,
}

/// The external providers of this host. Dropping it kills them; [`Providers::shutdown_all`] ends them in good order.
pub struct Providers {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the tasks of all providers share.
struct Shared {
    settings: ProviderSettings,
    nats: Client,
    /// Secrets are sealed with it.
    key: XKey,
    spawner: Spawner,
    events: mpsc::Sender<ProviderEvent>,
    board: Mutex<Board>,
}

#[derive(Default)]
struct Board {
    entries: BTreeMap<String, Entry>,
    /// Of the whole lattice.
    links: Vec<LinkPlan>,
    stopping: bool,
}

struct Entry {
    spec: Arc<ProviderSpec>,
    links: watch::Sender<Vec<LinkPlan>>,
    config: watch::Sender<Settings>,
    stop: mpsc::Sender<Stop>,
    facts: Facts,
}

impl Providers {
    /// Nothing runs yet. Call it in a runtime. Whoever takes the events must go on taking them: one that nobody takes is lost after
    /// [`limits::PROVIDER_EVENT_WAIT`].
    ///
    /// # Errors
    /// When the thread that starts providers cannot be made.
    pub fn new(settings: ProviderSettings, nats: Client) -> std::io::Result<(Self, mpsc::Receiver<ProviderEvent>)> {
        let (events, received) = mpsc::channel(limits::PROVIDER_EVENTS);
        let shared =
            Shared { settings, nats, key: XKey::new(), spawner: Spawner::start()?, events, board: Mutex::default() };
        Ok((Self { shared: Arc::new(shared), tasks: Mutex::default() }, received))
    }

    /// Starts a provider with the links that concern it. Ends in `Started` or `StartFailed`.
    ///
    /// # Errors
    /// [`ProviderError`], and then there is no event.
    pub fn start(&self, spec: ProviderSpec) -> Result<(), ProviderError> {
        let good = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        if spec.id.is_empty() || !spec.id.chars().all(good) {
            return Err(ProviderError::BadId(spec.id));
        }
        let spec = Arc::new(spec);
        let mut board = self.shared.board();
        if board.stopping {
            return Err(ProviderError::Stopping);
        }
        if board.entries.contains_key(&spec.id) {
            return Err(ProviderError::AlreadyRunning(spec.id.clone()));
        }
        let (links, links_seen) = watch::channel(concerning(&board.links, &spec.id));
        let (config, config_seen) = watch::channel(spec.config.clone());
        let (stop, stops) = mpsc::channel(1);
        let entry = Entry { spec: spec.clone(), links, config, stop, facts: Facts::default() };
        board.entries.insert(spec.id.clone(), entry);
        drop(board);
        let supervisor = Supervisor {
            shared: self.shared.clone(),
            spec,
            links: links_seen,
            config: config_seen,
            stop: stops,
            health: health::Tracker::default(),
            started: false,
            claims: None,
        };
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(supervisor.run());
        Ok(())
    }

    /// Stops a provider in good order, and returns when it has ended: `Stopped` is told before. False if it did not run.
    pub async fn stop(&self, id: &str, reason: &str) -> bool {
        let Some(stop) = self.shared.board().entries.get(id).map(|entry| entry.stop.clone()) else { return false };
        let (done, ended) = oneshot::channel();
        // Both fail only if it has ended meanwhile.
        let _ = stop.send(Stop { reason: reason.to_owned(), done }).await;
        let _ = ended.await;
        true
    }

    /// The links of the whole lattice, with their settings; each provider here hears of what changed for it.
    pub fn set_links(&self, links: Vec<LinkPlan>) {
        let mut board = self.shared.board();
        for (id, entry) in &board.entries {
            let wanted = concerning(&links, id);
            entry.links.send_if_modified(|now| {
                let same =
                    now.len() == wanted.len() && now.iter().zip(&wanted).all(|(one, other)| links::same(one, other));
                if !same {
                    *now = wanted;
                }
                !same
            });
        }
        board.links = links;
    }

    /// New settings of a provider. Values reach it while it runs; for a changed secret it is started again. False if it does not run here.
    pub fn set_config(&self, id: &str, config: Settings) -> bool {
        match self.shared.board().entries.get(id) {
            Some(entry) => {
                entry.config.send_if_modified(|now| {
                    let same = now.values == config.values && links::same_secrets(now, &config);
                    if !same {
                        *now = config;
                    }
                    !same
                });
                true
            }
            None => false,
        }
    }

    /// Those that have started and have not ended, by id.
    #[must_use]
    pub fn list(&self) -> Vec<RunningProvider> {
        let board = self.shared.board();
        let started = board.entries.values().filter(|entry| entry.facts.started);
        started.map(|entry| RunningProvider { spec: entry.spec.clone(), facts: entry.facts.clone() }).collect()
    }

    /// Whether the id is taken here: it runs, starts, or has not ended yet.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.shared.board().entries.contains_key(id)
    }

    /// Stops all of them at once and takes no more. Returns when they have ended.
    pub async fn shutdown_all(&self, reason: &str) {
        let ids: Vec<String> = {
            let mut board = self.shared.board();
            board.stopping = true;
            board.entries.keys().cloned().collect()
        };
        futures::future::join_all(ids.iter().map(|id| self.stop(id, reason))).await;
    }
}

impl Shared {
    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is known of a provider.
    fn note(&self, id: &str, change: impl FnOnce(&mut Facts)) {
        if let Some(entry) = self.board().entries.get_mut(id) {
            change(&mut entry.facts);
        }
    }

    /// Takes a provider off the board, so that its id is free before anybody hears that it has ended.
    fn leave(&self, id: &str) {
        self.board().entries.remove(id);
    }

    async fn tell(&self, spec: &Arc<ProviderSpec>, claims: Option<ProviderClaims>, what: What) {
        let event = ProviderEvent { spec: spec.clone(), claims, what };
        if let Err(error) = self.events.send_timeout(event, limits::PROVIDER_EVENT_WAIT).await {
            tracing::warn!(provider = spec.id, %error, "an event of a provider is lost");
        }
    }
}

fn concerning(links: &[LinkPlan], id: &str) -> Vec<LinkPlan> {
    links.iter().filter(|link| link.source == id || link.target == id).cloned().collect()
}
