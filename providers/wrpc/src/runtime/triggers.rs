//! What a provider that calls components does for each of its links: it runs one task per link. Invariants: of one link there is never more than
//! one task at work; a link that is put again with the same settings goes on undisturbed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::host_data::Pairs;
use super::link::{LinkId, OwnLink, Role};
use super::{Health, Provider, Target};
use crate::limits;

/// The work of one link: it ends soon after its token is cancelled; an end before that is a failure.
pub(crate) type Running = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// A library that calls, as the runtime sees it.
pub(crate) trait Trigger: Send + Sync + 'static {
    /// Checks the settings, and gives the work. Nothing has begun when it fails.
    fn work(&self, pairs: Pairs, target: Target, stop: CancellationToken) -> Result<Running, String>;
}

/// Where components are called from.
pub(crate) struct Origin {
    pub(crate) nats: async_nats::Client,
    pub(crate) lattice: String,
    pub(crate) id: String,
}

/// All links.
pub(crate) struct Triggers<T: Trigger> {
    trigger: Arc<T>,
    origin: Origin,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    own: Pairs,
    links: HashMap<LinkId, OwnLink>,
    tasks: HashMap<LinkId, Task>,
}

struct Task {
    /// With which it runs.
    pairs: Pairs,
    stop: CancellationToken,
    /// Empty while all is well.
    complaint: watch::Receiver<Option<String>>,
    handle: JoinHandle<()>,
}

impl<T: Trigger> Triggers<T> {
    /// No links yet; `own` are the provider's own settings.
    pub(crate) fn new(trigger: T, own: Pairs, origin: Origin) -> Arc<Self> {
        let state = Mutex::new(State { own, ..State::default() });
        Arc::new(Self { trigger: Arc::new(trigger), origin, state })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renew(&self, state: &mut State, id: &LinkId) {
        let wanted: Option<Pairs> =
            state.links.get(id).map(|link| state.own.clone().into_iter().chain(link.pairs.clone()).collect());
        if wanted.is_some() && wanted.as_ref() == state.tasks.get(id).map(|task| &task.pairs) {
            return;
        }
        let old = state.tasks.remove(id);
        if let Some(old) = &old {
            old.stop.cancel();
        }
        match wanted {
            Some(pairs) => {
                let task = self.begin(id, pairs, old);
                state.tasks.insert(id.clone(), task);
            }
            // Kept until it has ended, so that a link that comes back waits for it and `close` does too.
            None => {
                if let Some(old) = old.filter(|old| !old.handle.is_finished()) {
                    state.tasks.insert(id.clone(), Task { pairs: Pairs::new(), ..old });
                }
            }
        }
    }

    fn begin(&self, id: &LinkId, pairs: Pairs, before: Option<Task>) -> Task {
        let (complaints, complaint) = watch::channel(None);
        let stop = CancellationToken::new();
        let origin = &self.origin;
        let target = Target::new(origin.nats.clone(), &origin.lattice, &origin.id, &id.peer, &id.name);
        let (trigger, settings, token, id) = (self.trigger.clone(), pairs.clone(), stop.clone(), id.clone());
        let handle = tokio::spawn(async move {
            if let Some(before) = before
                && before.handle.await.is_err()
            {
                tracing::debug!(link = %id, "the task before this one broke off");
            }
            if token.is_cancelled() {
                return;
            }
            let outcome = match trigger.work(settings, target, token.clone()) {
                Ok(work) => work.await,
                Err(refused) => Err(refused),
            };
            let complaint = match outcome {
                Ok(()) if token.is_cancelled() => return,
                Ok(()) => "it ended by itself".to_owned(),
                Err(reason) => reason,
            };
            tracing::error!(link = %id, reason = complaint, "the link does not work");
            complaints.send_replace(Some(complaint));
        });
        Task { pairs, stop, complaint, handle }
    }
}

#[async_trait]
impl<T: Trigger> Provider for Triggers<T> {
    fn put_link(&self, link: OwnLink) {
        if link.role != Role::Source {
            tracing::warn!(link = %link.id, "a link on which we are called is not taken: we only call");
            return;
        }
        let mut state = self.state();
        let id = link.id.clone();
        state.links.insert(id.clone(), link);
        self.renew(&mut state, &id);
    }

    fn delete_link(&self, id: &LinkId) {
        let mut state = self.state();
        state.links.remove(id);
        self.renew(&mut state, id);
    }

    fn configure(&self, own: Pairs) {
        let mut state = self.state();
        state.own = own;
        let ids: Vec<LinkId> = state.links.keys().cloned().collect();
        for id in ids {
            self.renew(&mut state, &id);
        }
    }

    /// Healthy when the task of every link runs.
    async fn health(&self) -> Health {
        let state = self.state();
        let linked = state.tasks.iter().filter(|(id, _)| state.links.contains_key(id));
        Health::of(linked.filter_map(|(id, task)| {
            let complaint = task.complaint.borrow().clone();
            complaint.map(|reason| format!("the link to {}: {reason}", id.peer))
        }))
    }

    /// Ends all tasks, within the bound.
    async fn close(&self) {
        let tasks: Vec<Task> = self.state().tasks.drain().map(|(_, task)| task).collect();
        for task in &tasks {
            task.stop.cancel();
        }
        let ends = futures::future::join_all(tasks.into_iter().map(|task| task.handle));
        if tokio::time::timeout(limits::DRAIN, ends).await.is_err() {
            tracing::warn!("some links do not end; they are cut off");
        }
    }
}

#[cfg(test)]
#[path = "triggers/tests.rs"]
mod tests;
