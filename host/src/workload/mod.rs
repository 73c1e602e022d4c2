//! What runs here. Invariant: there is one road from what is wanted (a component, its links, its settings) to what runs, whether a manifest
//! or a lattice wants it; whatever cannot run leaves in place what ran before.

mod change;
mod connect;
mod inventory;
mod linking;
mod probation;
mod settings;
mod triggers;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::health::Readiness;
use crate::limits;
use crate::link::Surroundings;
use crate::manifest::{CapabilityPlan, ComponentPlan, LinkPlan, Plan};
use crate::policy::Guards;
use crate::runtime::{Artifact, ArtifactError, Artifacts, Engine, Slot};
use connect::Connected;
use settings::Fingerprint;
use triggers::Triggers;

pub(crate) use linking::{Unfit, verify};
pub(crate) use settings::check as check_settings;

/// What everything needs to run.
pub struct Ground {
    /// The engine of the process.
    pub engine: Engine,
    /// Where code comes from.
    pub artifacts: Arc<Artifacts>,
    /// Holds one folder of SQL migrations per database.
    pub migrations_root: Option<PathBuf>,
    /// Other hosts, and whether links may come after components.
    pub surroundings: Surroundings,
    /// Whether what a capability sets in motion is started again when it ends, or ends the host.
    pub restart_triggers: bool,
    /// Where edges say whether they are ready.
    pub readiness: Readiness,
}

/// The components, capabilities and links of this host. Clones are the same workload.
#[derive(Clone)]
pub struct Workload(Arc<Inner>);

struct Inner {
    ground: Ground,
    plan: Mutex<Plan>,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
    running: Mutex<BTreeMap<String, Running>>,
    turns: Mutex<HashMap<String, Arc<Turn>>>,
    triggers: tokio::sync::Mutex<Triggers>,
    listening: triggers::Listening,
    notices: broadcast::Sender<Notice>,
}

/// What a component that runs was made of.
#[derive(Clone)]
struct Running {
    plan: ComponentPlan,
    artifact: Artifact,
    connected: Connected,
    recipe: Fingerprint,
}

/// Changes of one component happen one after the other, in the order in which they came.
#[derive(Default)]
struct Turn {
    order: tokio::sync::Mutex<()>,
    /// Cancelled by a stop, so that a start that waits for a service does not keep it waiting.
    given_up: Mutex<CancellationToken>,
}

/// What a change did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Digest of the code that runs now.
    pub digest: String,
    /// Digest of the code that ran before, if another did.
    pub replaced: Option<String>,
    /// Nothing had to be done.
    pub unchanged: bool,
}

/// Why a change was refused. What ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The code cannot be had.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The code does not fit its links, one line each.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// Settings that cannot work, or a service that is not there.
    #[error("{0}")]
    Settings(String),
    /// It was stopped while it waited for a service.
    #[error("component {0} was stopped before it ran")]
    Stopped(String),
}

/// What happened without being asked for.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A new version failed too often in its first seconds; the one before serves again.
    RolledBack {
        /// The component.
        id: String,
        /// Digest that was given up.
        from: String,
        /// Digest that serves again.
        to: String,
        /// What was seen.
        reason: String,
    },
    /// Whether something that a built-in capability sets in motion works (an edge's port, a consumer, a relay).
    Health {
        /// The capability.
        id: String,
        /// Whether all of it works.
        healthy: bool,
        /// What does not.
        message: String,
    },
}

impl Workload {
    /// Nothing runs yet, and nothing is set in motion until [`open`](Self::open). The receiver tells of tasks that ended although they
    /// should not have, unless such are started again.
    #[must_use]
    pub fn new(ground: Ground) -> (Self, mpsc::Receiver<anyhow::Error>) {
        let (triggers, failures) = Triggers::new(ground.restart_triggers, ground.readiness.clone());
        let inner = Inner {
            ground,
            plan: Mutex::new(Plan::empty()),
            slots: Mutex::default(),
            running: Mutex::default(),
            turns: Mutex::default(),
            listening: triggers.listening(),
            triggers: tokio::sync::Mutex::new(triggers),
            notices: broadcast::channel(limits::NOTICES).0,
        };
        (Self(Arc::new(inner)), failures)
    }

    /// From now on edges, consumers and timers run, as soon as what they need is here.
    ///
    /// # Errors
    /// What cannot be started, unless it is tried again.
    pub async fn open(&self) -> anyhow::Result<()> {
        self.0.triggers.lock().await.open();
        self.settle_triggers().await
    }

    /// Starts a component, or brings the running one to this plan: other code is loaded, linked and instantiated first, then replaces the
    /// old between two calls.
    ///
    /// # Errors
    /// [`ChangeError`]: nothing has changed.
    pub async fn start(&self, plan: ComponentPlan) -> Result<Started, ChangeError> {
        let started = self.0.start(plan).await?;
        if !started.unchanged {
            self.settle_triggers().await.map_err(|error| ChangeError::Settings(format!("{error:#}")))?;
            if let Some(before) = &started.replaced {
                tracing::info!(digest = %started.digest, %before, "new code serves");
            }
        }
        Ok(started)
    }

    /// Stops a component: no new calls, running ones are finished. False if it did not run.
    pub async fn stop(&self, id: &str) -> bool {
        let turn = self.0.turn(id);
        turn.give_up();
        let _order = turn.order.lock().await;
        let Some(_) = lock(&self.0.running).remove(id) else { return false };
        lock(&self.0.plan).components.retain(|component| component.name != id);
        if let Err(error) = self.settle_triggers().await {
            tracing::warn!(component = id, error = format!("{error:#}"), "stopping what called it");
        }
        if let Some(component) = self.0.slot(id).clear()
            && !component.pool.drain(limits::DRAIN).await
        {
            tracing::warn!(component = id, "calls were cut short");
        }
        true
    }

    /// Makes a built-in capability available here, or changes its settings; what is linked to it follows.
    ///
    /// # Errors
    /// [`ChangeError`] when this host has no such kind, or the settings cannot work.
    pub async fn put_capability(&self, plan: CapabilityPlan) -> Result<(), ChangeError> {
        if let Some(problem) = linking::unknown_kind(&plan.name, plan.kind.as_str()) {
            return Err(ChangeError::Refused(vec![problem]));
        }
        settings::check_capability(&plan).map_err(|error| ChangeError::Settings(format!("{error:#}")))?;
        {
            let mut wanted = lock(&self.0.plan);
            wanted.capabilities.retain(|capability| capability.name != plan.name);
            wanted.capabilities.push(plan);
        }
        self.follow().await;
        Ok(())
    }

    /// Takes a built-in capability away. False if it was not there.
    pub async fn remove_capability(&self, id: &str) -> bool {
        let there = {
            let mut wanted = lock(&self.0.plan);
            let before = wanted.capabilities.len();
            wanted.capabilities.retain(|capability| capability.name != id);
            wanted.capabilities.len() != before
        };
        if there {
            self.follow().await;
        }
        there
    }

    /// The links there are now, of the whole lattice; components and capabilities that they concern follow while traffic flows. A component
    /// whose new links cannot work keeps the old ones: the errors name it. Policies hold from now on, without any restart.
    pub async fn set_links(&self, links: Vec<LinkPlan>) -> Vec<(String, ChangeError)> {
        let mut problems = self.guards().set(&links);
        let plan = {
            let mut plan = lock(&self.0.plan);
            plan.links = links;
            plan.clone()
        };
        problems.extend(settings::misplaced(&plan));
        let mut errors: Vec<_> =
            problems.into_iter().map(|problem| ("link policy".to_owned(), ChangeError::Settings(problem))).collect();
        errors.extend(self.follow().await);
        errors
    }

    /// The policies of links, with the states of their breakers.
    #[must_use]
    pub fn guards(&self) -> Arc<Guards> {
        self.0.ground.surroundings.guards.clone()
    }

    /// The place of a component that runs here.
    #[must_use]
    pub fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        lock(&self.0.running).contains_key(id).then(|| self.0.slot(id))
    }

    /// What happens from now on.
    #[must_use]
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        self.0.notices.subscribe()
    }

    /// Ends edges, consumers, timers and relays: no new work is taken.
    pub async fn close(&self) {
        self.0.triggers.lock().await.close().await;
    }

    /// Waits until no component serves a call, at most `limit`. [`close`](Self::close) first.
    pub async fn drain(&self, limit: Duration) {
        let slots: Vec<Arc<Slot>> = lock(&self.0.slots).values().cloned().collect();
        let running = slots.iter().filter_map(|slot| slot.current().ok());
        futures::future::join_all(running.map(|component| async move {
            if !component.pool.drain(limit).await {
                tracing::warn!(component = %component.identity.name, "calls were cut short");
            }
        }))
        .await;
    }

    /// Brings everything that runs to what is wanted now.
    async fn follow(&self) -> Vec<(String, ChangeError)> {
        let ids: Vec<String> = lock(&self.0.running).keys().cloned().collect();
        let following =
            ids.into_iter().map(|id| async move { self.0.relink(&id).await.err().map(|error| (id, error)) });
        let mut errors: Vec<_> = futures::future::join_all(following).await.into_iter().flatten().collect();
        for (component, error) in &errors {
            tracing::error!(%component, %error, "the component keeps its links as they were");
        }
        if let Err(error) = self.settle_triggers().await {
            errors.push(("capabilities".to_owned(), ChangeError::Settings(format!("{error:#}"))));
        }
        errors
    }

    async fn settle_triggers(&self) -> anyhow::Result<()> {
        let mut triggers = self.0.triggers.lock().await;
        let plan = lock(&self.0.plan).clone();
        let running = |id: &str| lock(&self.0.running).contains_key(id).then(|| self.0.slot(id));
        triggers.settle(&plan, running, &self.0.notices).await
    }
}

impl Inner {
    /// The one place of this name, made when it is first asked for.
    fn slot(&self, id: &str) -> Arc<Slot> {
        lock(&self.slots).entry(id.to_owned()).or_insert_with(|| Arc::new(Slot::empty(id))).clone()
    }

    fn turn(&self, id: &str) -> Arc<Turn> {
        lock(&self.turns).entry(id.to_owned()).or_default().clone()
    }
}

impl Turn {
    fn give_up(&self) {
        lock(&self.given_up).cancel();
    }

    /// The token of the change that begins now.
    fn begin(&self) -> CancellationToken {
        let mut token = lock(&self.given_up);
        if token.is_cancelled() {
            *token = CancellationToken::new();
        }
        token.clone()
    }
}

/// What these locks guard is changed in one step, so a poisoned one is still right.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
