//! The clients of a provider that is called: one for each component and link name, made from the settings of that component's links over the
//! provider's own. Invariants: a call meets no other component's client; a link that is gone serves no call; a link that is put again with
//! the same settings keeps its connections.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::host_data::Pairs;
use super::link::{LinkId, OwnLink, Role};
use super::server::Caller;
use super::{Health, Provider};
use crate::limits;

/// Why there is no client (now).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Worth trying again.
    #[error("{0}")]
    Away(String),
    /// The settings cannot work.
    #[error("{0}")]
    Refused(String),
}

/// A library that is called, as the runtime sees it.
#[async_trait]
pub(crate) trait Library: Send + Sync + 'static {
    /// Its client; clones share connections.
    type Client: Clone + Send + Sync + 'static;

    /// Makes a client from settings. `own` are the provider's alone.
    async fn connect(&self, pairs: Pairs) -> Result<Self::Client, ConnectError>;

    /// Asks the outside system for a sign of life.
    async fn ping(&self, client: &Self::Client) -> Result<(), String>;

    /// Says goodbye to the outside system.
    async fn close(&self, client: Self::Client);
}

/// Why a call gets no client. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoClient {
    /// No link allows it.
    #[error("{interface} is not linked for {source_id:?} under the name {link_name:?}")]
    NotLinked {
        /// What was called.
        interface: &'static str,
        /// Who called.
        source_id: String,
        /// The name that was chosen.
        link_name: String,
    },
    /// It is linked and cannot be used now.
    #[error("{0}")]
    Unavailable(String),
}

/// All clients.
pub(crate) struct Clients<L: Library> {
    library: Arc<L>,
    state: Mutex<State<L::Client>>,
    /// Counts changes, for calls that wait for one.
    changes: watch::Sender<u64>,
}

struct State<C> {
    own: Pairs,
    links: BTreeMap<LinkId, OwnLink>,
    lanes: HashMap<(String, String), Lane<C>>,
}

/// The way of one component under one link name.
struct Lane<C> {
    interfaces: BTreeSet<String>,
    pairs: Pairs,
    progress: watch::Receiver<Progress<C>>,
    /// Held to end with the lane.
    _connecting: Connecting,
}

/// The task that makes a client.
struct Connecting(AbortHandle);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Clone)]
enum Progress<C> {
    Connecting(String),
    Ready(C),
    Refused(String),
}

impl<L: Library> Clients<L> {
    /// No links yet; `own` are the provider's own settings.
    pub(crate) fn new(library: L, own: Pairs) -> Arc<Self> {
        let state = State { own, links: BTreeMap::new(), lanes: HashMap::new() };
        Arc::new(Self { library: Arc::new(library), state: Mutex::new(state), changes: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State<L::Client>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a lane what the links say now.
    fn renew(&self, state: &mut State<L::Client>, key: (String, String)) {
        let links = state.links.values().filter(|link| (&link.id.peer, &link.id.name) == (&key.0, &key.1));
        let mut interfaces = BTreeSet::new();
        let mut settings = Ok(Pairs::new());
        for link in links {
            interfaces.extend(link.interfaces.iter().cloned());
            settings = settings.and_then(|pairs| joined(pairs, &link.pairs));
        }
        // What the provider itself is given holds where no link says otherwise.
        let settings = settings.map(|pairs| state.own.clone().into_iter().chain(pairs).collect::<Pairs>());
        let old = state.lanes.remove(&key);
        if !interfaces.is_empty() {
            let pairs = settings.clone().unwrap_or_default();
            let lane = match old {
                Some(old) if settings.is_ok() && old.pairs == pairs => Lane { interfaces, ..old },
                old => {
                    // Calls that run on the old client have a clone, and end on it; the last clone takes the connections along.
                    drop(old);
                    let (progress, connecting) = self.connect(settings, &key.0);
                    Lane { interfaces, pairs, progress, _connecting: connecting }
                }
            };
            state.lanes.insert(key, lane);
        }
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Connects in the background until it works or is refused.
    fn connect(
        &self,
        settings: Result<Pairs, String>,
        source: &str,
    ) -> (watch::Receiver<Progress<L::Client>>, Connecting) {
        let (sender, receiver) = watch::channel(Progress::Connecting("not connected yet".to_owned()));
        let (library, source) = (self.library.clone(), source.to_owned());
        let task = tokio::spawn(async move {
            let progress = loop {
                let attempt = match settings.clone() {
                    Ok(pairs) => library.connect(pairs).await,
                    Err(reason) => Err(ConnectError::Refused(reason)),
                };
                match attempt {
                    Ok(client) => break Progress::Ready(client),
                    Err(ConnectError::Refused(reason)) => {
                        tracing::error!(source, reason, "the link cannot be used");
                        break Progress::Refused(reason);
                    }
                    Err(ConnectError::Away(reason)) => {
                        tracing::warn!(source, reason, "not there yet; trying again");
                        sender.send_replace(Progress::Connecting(reason));
                        tokio::time::sleep(limits::CONNECT_RETRY).await;
                    }
                }
            };
            sender.send_replace(progress);
        });
        (receiver, Connecting(task.abort_handle()))
    }

    /// The client for one call of an interface (`ns:package/interface`). Waits a moment for a link or a connection that is on its way.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn client(&self, caller: &Caller, interface: &'static str) -> Result<L::Client, NoClient> {
        let deadline = Instant::now() + limits::LINK;
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            let mut progress = match self.progress(caller, interface) {
                Ok(progress) => progress,
                Err(none) => match timeout_at(deadline, changes.changed()).await {
                    Ok(Ok(())) => continue,
                    _ => return Err(none),
                },
            };
            let now = progress.borrow_and_update().clone();
            match now {
                Progress::Ready(client) => return Ok(client),
                Progress::Refused(reason) => return Err(NoClient::Unavailable(reason)),
                Progress::Connecting(reason) => {
                    let none = NoClient::Unavailable(reason);
                    // A link that is put anew has another progress, so both are watched.
                    tokio::select! {
                        changed = progress.changed() => {
                            // Without its task it will get no further; only another lane can help.
                            if changed.is_err() && timeout_at(deadline, changes.changed()).await.is_err() {
                                return Err(none);
                            }
                        }
                        _ = changes.changed() => {}
                        () = tokio::time::sleep_until(deadline) => return Err(none),
                    }
                }
            }
        }
    }

    fn progress(
        &self,
        caller: &Caller,
        interface: &'static str,
    ) -> Result<watch::Receiver<Progress<L::Client>>, NoClient> {
        let key = (caller.source_id.clone(), caller.link_name.clone());
        match self.state().lanes.get(&key) {
            Some(lane) if lane.interfaces.contains(interface) => Ok(lane.progress.clone()),
            _ => Err(NoClient::NotLinked { interface, source_id: key.0, link_name: key.1 }),
        }
    }
}

#[async_trait]
impl<L: Library> Provider for Clients<L> {
    fn put_link(&self, link: OwnLink) {
        if link.role != Role::Target {
            tracing::warn!(link = %link.id, "a link on which we call is not taken: we are only called");
            return;
        }
        let lane = (link.id.peer.clone(), link.id.name.clone());
        let mut state = self.state();
        state.links.insert(link.id.clone(), link);
        self.renew(&mut state, lane);
    }

    fn delete_link(&self, id: &LinkId) {
        let mut state = self.state();
        state.links.remove(id);
        self.renew(&mut state, (id.peer.clone(), id.name.clone()));
    }

    fn configure(&self, own: Pairs) {
        let mut state = self.state();
        state.own = own;
        let lanes: Vec<_> = state.lanes.keys().cloned().collect();
        for lane in lanes {
            self.renew(&mut state, lane);
        }
    }

    /// Healthy when every link's outside system answers.
    async fn health(&self) -> Health {
        let lanes: Vec<(String, Progress<L::Client>)> = {
            let state = self.state();
            state.lanes.iter().map(|(key, lane)| (key.0.clone(), lane.progress.borrow().clone())).collect()
        };
        let looks = lanes.into_iter().map(|(source, progress)| async move {
            let reason = match progress {
                Progress::Connecting(reason) | Progress::Refused(reason) => reason,
                Progress::Ready(client) => match timeout(limits::PING, self.library.ping(&client)).await {
                    Ok(Ok(())) => return None,
                    Ok(Err(reason)) => reason,
                    Err(_) => "no answer to a ping".to_owned(),
                },
            };
            Some(format!("the link from {source}: {reason}"))
        });
        Health::of(futures::future::join_all(looks).await.into_iter().flatten())
    }

    /// Ends all clients.
    async fn close(&self) {
        let lanes: Vec<_> = self.state().lanes.drain().map(|(_, lane)| lane).collect();
        for lane in lanes {
            let progress = lane.progress.borrow().clone();
            drop(lane);
            if let Progress::Ready(client) = progress
                && timeout(limits::PING, self.library.close(client)).await.is_err()
            {
                tracing::debug!("an outside system does not take our goodbye");
            }
        }
    }
}

/// A component has one client under a link name, so the settings of its links are put together.
fn joined(mut pairs: Pairs, more: &Pairs) -> Result<Pairs, String> {
    for (key, value) in more {
        if pairs.get(key).is_some_and(|before| before != value) {
            return Err(format!("two links of the same name give {key} two different values"));
        }
        pairs.insert(key.clone(), value.clone());
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "clients/tests.rs"]
mod tests;
