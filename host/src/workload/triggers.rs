//! What sets components in motion: edges, consumers, timers, and the relays that publish their outboxes. Each runs while its capability, its
//! link and its component are here, and ends before its component does. One task each, owned by [`Triggers`].

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::{Context as _, anyhow};
use futures::future::{BoxFuture, join_all};
use secrecy::ExposeSecret as _;
use swiftcart_provider_http as http;
use swiftcart_provider_kafka as kafka;
use swiftcart_provider_outbox as outbox;
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::settings::{self, Fingerprint, settings};
use super::{Notice, connect, lock};
use crate::capability::http_server::Gateway;
use crate::capability::kafka::Consumer;
use crate::capability::timer;
use crate::health::{CheckHandle, Readiness};
use crate::limits;
use crate::manifest::Plan;
use crate::runtime::Slot;

/// In this order they are started: the edge comes last, so that nothing is accepted that cannot be served.
const KINDS: [&str; 4] = ["outbox", "kafka", "timer", "http-server"];

/// The tasks.
pub(super) struct Triggers {
    open: bool,
    restart: bool,
    running: BTreeMap<Key, Task>,
    shared: Shared,
    failures: mpsc::Sender<anyhow::Error>,
}

/// Where edges listen, by capability.
pub(super) type Listening = Arc<Mutex<HashMap<String, SocketAddr>>>;

/// What the tasks tell.
#[derive(Clone)]
struct Shared {
    readiness: Readiness,
    listening: Listening,
    /// Why something does not work, by what it is.
    unwell: Arc<Mutex<BTreeMap<Key, String>>>,
}

/// The capability, and the component and name of the link; a relay has no component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    capability: String,
    target: String,
    link: String,
}

struct Task {
    made_of: Fingerprint,
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

/// What shall run.
#[derive(Clone)]
struct Wanted {
    key: Key,
    kind: String,
    settings: BTreeMap<String, String>,
    slot: Option<Arc<Slot>>,
}

/// What is ready to run: ports are bound, settings are right.
struct Motion {
    listening: Option<SocketAddr>,
    check: Option<CheckHandle>,
    run: BoxFuture<'static, anyhow::Result<()>>,
}

impl Triggers {
    /// Nothing runs. The receiver hears of tasks that ended, unless they are started again.
    pub(super) fn new(restart: bool, readiness: Readiness) -> (Self, mpsc::Receiver<anyhow::Error>) {
        let (failures, receiver) = mpsc::channel(KINDS.len());
        let shared = Shared { readiness, listening: Arc::default(), unwell: Arc::default() };
        (Self { open: false, restart, running: BTreeMap::new(), shared, failures }, receiver)
    }

    /// From the next [`settle`](Self::settle) on things run.
    pub(super) fn open(&mut self) {
        self.open = true;
    }

    /// Where edges listen, as it changes.
    pub(super) fn listening(&self) -> Listening {
        self.shared.listening.clone()
    }

    /// Ends what is not wanted any more and starts what is not there yet. What changed its settings ends before it begins anew, because it
    /// may need the same port.
    ///
    /// # Errors
    /// The first that cannot start; with `restart`, none: it is tried again.
    pub(super) async fn settle(
        &mut self,
        plan: &Plan,
        running: impl Fn(&str) -> Option<Arc<Slot>>,
        notices: &broadcast::Sender<Notice>,
    ) -> anyhow::Result<()> {
        if !self.open {
            return Ok(());
        }
        let wanted = wanted(plan, running);
        let made_of: BTreeMap<&Key, Fingerprint> = wanted.iter().map(|one| (&one.key, one.fingerprint())).collect();
        let ending: Vec<Key> = self
            .running
            .iter()
            .filter(|(key, task)| made_of.get(key) != Some(&task.made_of))
            .map(|(key, _)| key.clone())
            .collect();
        join_all(ending.iter().filter_map(|key| self.running.remove(key)).map(|task| end(task, true))).await;
        for one in &wanted {
            if self.running.contains_key(&one.key) {
                continue;
            }
            let stop = CancellationToken::new();
            let handle = if self.restart {
                tokio::spawn(supervise(one.clone(), self.shared.clone(), stop.clone(), notices.clone()))
            } else {
                let motion = prepare(one, &self.shared.readiness, &stop).await.with_context(|| one.place())?;
                let (one, shared, failures, stop) =
                    (one.clone(), self.shared.clone(), self.failures.clone(), stop.clone());
                tokio::spawn(async move {
                    if let Err(error) = move_on(&one, motion, &shared, &stop).await {
                        let _ = failures.send(error.context(one.place())).await;
                    }
                })
            };
            self.running.insert(one.key.clone(), Task { made_of: one.fingerprint(), stop, handle });
        }
        Ok(())
    }

    /// Ends everything; nothing starts again.
    pub(super) async fn close(&mut self) {
        self.open = false;
        let tasks = std::mem::take(&mut self.running);
        for task in tasks.values() {
            task.stop.cancel();
        }
        join_all(tasks.into_values().map(|task| end(task, false))).await;
    }
}

async fn end(mut task: Task, limited: bool) {
    task.stop.cancel();
    let limit = if limited { limits::DRAIN } else { std::time::Duration::MAX };
    if tokio::time::timeout(limit, &mut task.handle).await.is_err() {
        task.handle.abort();
    }
}

impl Wanted {
    fn fingerprint(&self) -> Fingerprint {
        settings::fingerprint(&(&self.kind, &self.settings))
    }

    fn place(&self) -> String {
        match &self.slot {
            None => format!("capability {}", self.key.capability),
            Some(_) => format!("the link from {} to {}", self.key.capability, self.key.target),
        }
    }
}

/// What the plan sets in motion on this host, in the order in which it starts.
fn wanted(plan: &Plan, running: impl Fn(&str) -> Option<Arc<Slot>>) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for kind in KINDS {
        for capability in plan.capabilities.iter().filter(|capability| capability.kind.as_str() == kind) {
            let key = |target: &str, link: &str| Key {
                capability: capability.name.clone(),
                target: target.to_owned(),
                link: link.to_owned(),
            };
            if kind == "outbox" {
                let settings = capability.config.pairs().collect();
                wanted.push(Wanted { key: key("", ""), kind: kind.to_owned(), settings, slot: None });
                continue;
            }
            for link in plan.links_from(&capability.name) {
                let Some(slot) = running(&link.target) else { continue };
                let settings = settings(plan, &link.source, &link.source_config);
                let key = key(&link.target, &link.name);
                wanted.push(Wanted { key, kind: kind.to_owned(), settings, slot: Some(slot) });
            }
        }
    }
    wanted
}

/// Runs it until it is told to stop; starts it again when it fails.
async fn supervise(wanted: Wanted, shared: Shared, stop: CancellationToken, notices: broadcast::Sender<Notice>) {
    let mut pause = limits::TRIGGER_RESTART.0;
    while !stop.is_cancelled() {
        let began = tokio::time::Instant::now();
        let outcome = tokio::select! {
            motion = prepare(&wanted, &shared.readiness, &stop) => match motion {
                Ok(motion) => {
                    lock(&shared.unwell).remove(&wanted.key);
                    tell(&wanted.key, &shared, &notices);
                    move_on(&wanted, motion, &shared, &stop).await
                }
                Err(error) => Err(error),
            },
            () = stop.cancelled() => break,
        };
        let Err(error) = outcome else { break };
        let message = format!("{}: {error:#}", wanted.place());
        tracing::error!(capability = %wanted.key.capability, error = message, "failed; it is started again");
        lock(&shared.unwell).insert(wanted.key.clone(), message);
        tell(&wanted.key, &shared, &notices);
        if began.elapsed() > limits::TRIGGER_RESTART.1 {
            pause = limits::TRIGGER_RESTART.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
        pause = (pause * 2).min(limits::TRIGGER_RESTART.1);
    }
    lock(&shared.unwell).remove(&wanted.key);
}

fn tell(key: &Key, shared: &Shared, notices: &broadcast::Sender<Notice>) {
    let unwell = lock(&shared.unwell);
    let messages: Vec<&str> = unwell
        .iter()
        .filter(|(other, _)| other.capability == key.capability)
        .map(|(_, message)| message.as_str())
        .collect();
    let (healthy, message) = (messages.is_empty(), messages.join("; "));
    drop(messages);
    drop(unwell);
    // Nobody listening is no fault.
    let _ = notices.send(Notice::Health { id: key.capability.clone(), healthy, message });
}

/// Runs what was prepared. An end that nobody asked for is an error.
async fn move_on(wanted: &Wanted, motion: Motion, shared: &Shared, stop: &CancellationToken) -> anyhow::Result<()> {
    if let Some(address) = motion.listening {
        lock(&shared.listening).insert(wanted.key.capability.clone(), address);
    }
    let _check = motion.check;
    let outcome = motion.run.await;
    if motion.listening.is_some() {
        lock(&shared.listening).remove(&wanted.key.capability);
    }
    outcome?;
    if stop.is_cancelled() { Ok(()) } else { Err(anyhow!("it ended before it was asked to")) }
}

async fn prepare(wanted: &Wanted, readiness: &Readiness, stop: &CancellationToken) -> anyhow::Result<Motion> {
    let (stop, settings) = (stop.clone(), wanted.settings.clone());
    let Some(slot) = wanted.slot.clone() else { return relay(&wanted.key.capability, settings, stop).await };
    let plain = |run| Motion { listening: None, check: None, run };
    match wanted.kind.as_str() {
        "kafka" => {
            let config = kafka::ConsumerConfig::from_pairs(settings)?;
            let handler = Arc::new(Consumer::new(slot));
            Ok(plain(Box::pin(async move { Ok(kafka::Consumer::run(config, handler, stop).await?) })))
        }
        "timer" => {
            let timers = timer::parse(settings).map_err(anyhow::Error::msg)?;
            Ok(plain(Box::pin(async move {
                join_all(timers.into_iter().map(|timer| timer::run(timer, slot.clone(), stop.clone()))).await;
                Ok(())
            })))
        }
        _ => server(wanted, slot, readiness, stop).await,
    }
}

async fn relay(name: &str, settings: BTreeMap<String, String>, stop: CancellationToken) -> anyhow::Result<Motion> {
    let config = outbox::Config::from_pairs(settings)?;
    // A connection that holds the lock and reads, and one to spare while it is replaced.
    let pairs = [("url", config.url.expose_secret()), ("max_connections", "2")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let database = Arc::new(connect::database(pairs.into(), None, name).await?);
    let producer = Arc::new(kafka::Producer::new(config.producer.clone())?);
    let relay = outbox::Relay::new(config, database, producer)?;
    Ok(Motion { listening: None, check: None, run: Box::pin(async move { Ok(relay.run(stop).await?) }) })
}

async fn server(
    wanted: &Wanted,
    slot: Arc<Slot>,
    readiness: &Readiness,
    stop: CancellationToken,
) -> anyhow::Result<Motion> {
    let config = http::ServerConfig::from_pairs(wanted.settings.clone())?;
    let server = Arc::new(http::Server::bind(config, Arc::new(Gateway::new(slot))).await?);
    let ready = server.clone();
    let check = readiness.register_check(format!("edge {}", wanted.key.capability), move || ready.ready());
    let listening = Some(server.local_addr());
    Ok(Motion { listening, check: Some(check), run: Box::pin(async move { Ok(server.run(stop).await?) }) })
}
