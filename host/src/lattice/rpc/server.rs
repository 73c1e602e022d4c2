//! Serves components of this host to the lattice. Invariants: a call is answered by whatever version runs when it arrives, by that version's
//! types; what has arrived when serving ends is still answered.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use wrpc_transport_nats::invocation_subject;

use super::{HTTP_FUNCTION, HTTP_INSTANCE, codec, prefix};
use crate::capability::http_server;
use crate::limits;
use crate::manifest::Interface;
use crate::runtime::{CallError, Component, Slot};

mod http;
mod invocation;

/// Why a component cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nothing runs there.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The id would be a pattern or several words of a subject.
    #[error("{0:?} cannot be part of a subject: ids consist of letters, digits, `_` and `-`")]
    Id(String),
    /// The lattice does not take a subscription.
    #[error("component {id} cannot be served to the lattice: {reason}")]
    Lattice {
        /// The component.
        id: String,
        /// What the connection said.
        reason: String,
    },
}

/// Links by which requests of HTTP may come with an identity: source and target.
pub type Edges = HashSet<(String, String)>;

/// What this host serves. Calls of [`Server::serve`] and [`Server::stop`] for one id come one after the other; the control plane has a queue
/// for each id.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    nats: async_nats::Client,
    lattice: String,
    large: Arc<Semaphore>,
    edges: Arc<ArcSwap<Edges>>,
    served: Mutex<HashMap<String, Served>>,
}

struct Served {
    callee: Arc<Callee>,
    listeners: HashMap<Endpoint, Listener>,
}

/// One component, as its listeners see it.
struct Callee {
    id: String,
    nats: async_nats::Client,
    slot: ArcSwap<Slot>,
    /// Calls that are being served.
    permits: Arc<Semaphore>,
    /// Calls with large parameters that are being read, of the whole host.
    large: Arc<Semaphore>,
    /// Of the whole host.
    edges: Arc<ArcSwap<Edges>>,
}

/// What a caller can name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Endpoint {
    /// A function with plain values.
    Function { interface: String, function: String },
    /// `wasi:http/incoming-handler`, whatever its version.
    Http,
}

impl Endpoint {
    fn subject(&self, prefix: &str) -> String {
        match self {
            Self::Function { interface, function } => invocation_subject(prefix, interface, function),
            Self::Http => invocation_subject(prefix, HTTP_INSTANCE, HTTP_FUNCTION),
        }
    }
}

impl Server {
    /// Serves nothing yet.
    #[must_use]
    pub fn new(nats: async_nats::Client, lattice: &str) -> Self {
        Self(Arc::new(Inner {
            nats,
            lattice: lattice.to_owned(),
            large: Arc::new(Semaphore::new(limits::MAX_LARGE_REMOTE_CALLS)),
            edges: Arc::default(),
            served: Mutex::new(HashMap::new()),
        }))
    }

    /// From now on requests of HTTP keep the identity of their client along these links, if their source vouches for it, and along no other.
    pub fn set_edges(&self, edges: Edges) {
        self.0.edges.store(Arc::new(edges));
    }

    /// Serves the functions of the component that runs in `slot` as those of `id`; shares the load with other hosts that do. After another
    /// version was put in place, called again: functions that are new are added, those that are gone are dropped, the others are served
    /// without a gap. When this returns the lattice knows.
    ///
    /// # Errors
    /// [`ServeError`]; what was served before is served still.
    pub async fn serve(&self, id: &str, slot: Arc<Slot>) -> Result<(), ServeError> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return Err(ServeError::Id(id.to_owned()));
        }
        let wanted = endpoints(slot.current()?.as_ref());
        let (callee, known) = self.callee(id, slot);
        let mut added = Vec::new();
        for endpoint in wanted.iter().filter(|endpoint| !known.contains(*endpoint)) {
            let messages = self.subscribe(id, endpoint).await?;
            added.push((endpoint.clone(), Listener::start(callee.clone(), endpoint.clone(), messages)));
        }
        if !added.is_empty() {
            self.settled(id).await?;
        }
        let gone = self.replace(id, &wanted, added);
        for listener in gone {
            listener.stop().await;
        }
        Ok(())
    }

    /// Serves a component no longer. What has arrived is answered before this returns. False if it was not served.
    pub async fn stop(&self, id: &str) -> bool {
        let served = self.served().remove(id);
        let Some(served) = served else { return false };
        // All of them stop taking calls before the first is waited for.
        served.listeners.values().for_each(|listener| listener.stop.cancel());
        for listener in served.listeners.into_values() {
            listener.stop().await;
        }
        true
    }

    /// Serves nothing any longer.
    pub async fn shutdown(&self) {
        let ids: Vec<String> = self.served().keys().cloned().collect();
        futures::future::join_all(ids.iter().map(|id| self.stop(id))).await;
    }

    fn served(&self) -> std::sync::MutexGuard<'_, HashMap<String, Served>> {
        self.0.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The component's place in the list, made if it is new, and what is served of it.
    fn callee(&self, id: &str, slot: Arc<Slot>) -> (Arc<Callee>, HashSet<Endpoint>) {
        let mut served = self.served();
        if let Some(served) = served.get(id) {
            served.callee.slot.store(slot);
            return (served.callee.clone(), served.listeners.keys().cloned().collect());
        }
        let callee = Arc::new(Callee {
            id: id.to_owned(),
            nats: self.0.nats.clone(),
            slot: ArcSwap::new(slot),
            permits: Arc::new(Semaphore::new(limits::MAX_REMOTE_CALLS)),
            large: self.0.large.clone(),
            edges: self.0.edges.clone(),
        });
        served.insert(id.to_owned(), Served { callee: callee.clone(), listeners: HashMap::new() });
        (callee, HashSet::new())
    }

    /// Adds listeners and gives back those that are not wanted any longer.
    fn replace(&self, id: &str, wanted: &HashSet<Endpoint>, added: Vec<(Endpoint, Listener)>) -> Vec<Listener> {
        let mut all = self.served();
        let Some(served) = all.get_mut(id) else { return added.into_iter().map(|(_, listener)| listener).collect() };
        served.listeners.extend(added);
        served.listeners.extract_if(|endpoint, _| !wanted.contains(endpoint)).map(|(_, listener)| listener).collect()
    }

    async fn subscribe(&self, id: &str, endpoint: &Endpoint) -> Result<Subscriber, ServeError> {
        let prefix = prefix(&self.0.lattice, id);
        let subscribed = self.0.nats.queue_subscribe(endpoint.subject(&prefix), prefix).await;
        subscribed.map_err(|error| ServeError::Lattice { id: id.to_owned(), reason: error.to_string() })
    }

    /// Waits until the server knows all subscriptions so far: it works through what one connection sends in order, so it knows them when it
    /// gives a message back that was sent behind them.
    async fn settled(&self, id: &str) -> Result<(), ServeError> {
        let lattice = |reason: String| ServeError::Lattice { id: id.to_owned(), reason };
        let inbox = self.0.nats.new_inbox();
        let mut echo = self.0.nats.subscribe(inbox.clone()).await.map_err(|error| lattice(error.to_string()))?;
        self.0.nats.publish(inbox, bytes::Bytes::new()).await.map_err(|error| lattice(error.to_string()))?;
        match tokio::time::timeout(limits::SUBSCRIBE, echo.next()).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(_) => Err(lattice("its server does not confirm".to_owned())),
        }
    }
}

/// What of a component can be served: functions without resources, and requests of HTTP.
fn endpoints(component: &Component) -> HashSet<Endpoint> {
    let mut endpoints = HashSet::new();
    for (interface, function, ty) in component.exported() {
        if Interface::parse(interface).is_some_and(|interface| interface.path() == http_server::EXPORT) {
            endpoints.insert(Endpoint::Http);
            continue;
        }
        let mut types = ty.params().map(|(_, ty)| ty).chain(ty.results());
        match types.try_for_each(|ty| codec::supported(&ty)) {
            Ok(()) if !function.starts_with('[') => {
                endpoints.insert(Endpoint::Function { interface: interface.to_owned(), function: function.to_owned() });
            }
            Ok(()) => {}
            Err(reason) => {
                tracing::debug!(component = %component.identity.name, interface, function, reason, "not served");
            }
        }
    }
    endpoints
}

/// Takes the calls of one function.
struct Listener {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    fn start(callee: Arc<Callee>, endpoint: Endpoint, messages: Subscriber) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(callee, endpoint, messages, stop.clone()));
        Self { stop, task }
    }

    /// Takes no more calls and waits for those that have arrived.
    async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(limits::DRAIN, &mut self.task).await.is_err() {
            tracing::warn!("calls of other hosts did not end in time and are cut off");
            self.task.abort();
        }
    }
}

impl Drop for Listener {
    /// A listener that was given up (its host could not be told of it) ends by itself.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(callee: Arc<Callee>, endpoint: Endpoint, mut messages: Subscriber, stop: CancellationToken) {
    let endpoint = Arc::new(endpoint);
    let mut running = JoinSet::new();
    let mut draining = false;
    loop {
        tokio::select! {
            () = stop.cancelled(), if !draining => {
                draining = true;
                // The server sends nothing more; the stream ends behind what it has sent.
                if messages.drain().await.is_err() {
                    break;
                }
            }
            Some(_) = running.join_next(), if !running.is_empty() => {}
            message = messages.next() => {
                let Some(message) = message else { break };
                let Ok(permit) = callee.permits.clone().acquire_owned().await else { break };
                let (callee, endpoint) = (callee.clone(), endpoint.clone());
                running.spawn(async move {
                    answer(&callee, &endpoint, message).await;
                    drop(permit);
                });
            }
        }
    }
    while running.join_next().await.is_some() {}
}

async fn answer(callee: &Callee, endpoint: &Endpoint, message: Message) {
    match endpoint {
        Endpoint::Function { interface, function } => {
            invocation::answer(callee, interface, function, message).await;
        }
        Endpoint::Http => http::answer(callee, message).await,
    }
}
