//! Whether this host should be sent traffic: it has started, everything that it registered is well, and it is not shutting down.
//! Who is not known to be well counts as not well: a new source is not ready, and a source whose owner is gone is not ready for good.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const STARTING: u8 = 0;
const SERVING: u8 = 1;
const DRAINING: u8 = 2;

/// All sources of readiness. Clones share them.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    phase: AtomicU8,
    sources: Mutex<Sources>,
}

#[derive(Default)]
struct Sources {
    next: u64,
    /// By order of registration.
    all: BTreeMap<u64, Source>,
}

struct Source {
    name: String,
    state: State,
}

enum State {
    Flag(Arc<AtomicBool>),
    Check(Box<dyn Fn() -> bool + Send + Sync>),
}

/// One source's own end. Dropping it makes the source not ready; [`retire`](Self::retire) takes it away.
#[must_use = "dropping it makes the source not ready for good"]
pub struct ReadinessHandle {
    readiness: Readiness,
    number: u64,
    ready: Arc<AtomicBool>,
}

/// A source that is asked. Dropping it takes the source away.
#[must_use = "dropping it takes the source away"]
pub struct CheckHandle {
    readiness: Readiness,
    number: u64,
}

impl Drop for CheckHandle {
    fn drop(&mut self) {
        self.readiness.sources().all.remove(&self.number);
    }
}

impl Readiness {
    /// Adds a source, not ready yet.
    pub fn register(&self, name: impl Into<String>) -> ReadinessHandle {
        let ready = Arc::new(AtomicBool::new(false));
        let number = self.add(name.into(), State::Flag(ready.clone()));
        ReadinessHandle { readiness: self.clone(), number, ready }
    }

    /// Adds a source that is asked each time; `check` must not block, nor use this `Readiness`. It is one until the handle is dropped.
    pub fn register_check(
        &self,
        name: impl Into<String>,
        check: impl Fn() -> bool + Send + Sync + 'static,
    ) -> CheckHandle {
        CheckHandle { readiness: self.clone(), number: self.add(name.into(), State::Check(Box::new(check))) }
    }

    /// Start-up is over: all sources are registered.
    pub fn started(&self) {
        let _ = self.0.phase.compare_exchange(STARTING, SERVING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Shutdown has begun: never ready again.
    pub fn draining(&self) {
        self.0.phase.store(DRAINING, Ordering::Release);
    }

    /// Whether traffic is welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    /// What stands in the way: `start-up`, `shutdown`, or the names of sources that are not ready, in the order of registration.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let phase = match self.0.phase.load(Ordering::Acquire) {
            STARTING => Some("start-up".to_owned()),
            DRAINING => Some("shutdown".to_owned()),
            _ => None,
        };
        let sources = self.sources();
        let unwell = sources.all.values().filter(|source| !source.is_ready());
        phase.into_iter().chain(unwell.map(|source| source.name.clone())).collect()
    }

    fn add(&self, name: String, state: State) -> u64 {
        let mut sources = self.sources();
        let number = sources.next;
        sources.next += 1;
        sources.all.insert(number, Source { name, state });
        number
    }

    /// A poisoned lock is still right: no change of the map is ever half done.
    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.0.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    fn is_ready(&self) -> bool {
        match &self.state {
            State::Flag(ready) => ready.load(Ordering::Acquire),
            State::Check(check) => check(),
        }
    }
}

impl ReadinessHandle {
    /// Says whether this source is well.
    pub fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Release);
    }

    /// Takes the source away: it is not needed any more.
    pub fn retire(self) {
        self.readiness.sources().all.remove(&self.number);
    }
}

impl Drop for ReadinessHandle {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_started_and_all_well_and_not_draining() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing(), ["start-up"]);
        let database = readiness.register("database");
        let up = Arc::new(AtomicBool::new(true));
        let seen = up.clone();
        let _edge = readiness.register_check("edge", move || seen.load(Ordering::Relaxed));
        assert_eq!(readiness.missing(), ["start-up", "database"]);
        readiness.started();
        database.set(true);
        assert!(readiness.is_ready());
        database.set(false);
        up.store(false, Ordering::Relaxed);
        assert_eq!(readiness.missing(), ["database", "edge"]);
        database.set(true);
        up.store(true, Ordering::Relaxed);
        readiness.draining();
        readiness.started();
        assert_eq!(readiness.missing(), ["shutdown"]);
    }

    #[test]
    fn a_lost_source_is_not_ready_and_a_retired_one_is_gone() {
        let readiness = Readiness::default();
        readiness.started();
        let (lost, retired) = (readiness.register("lost"), readiness.register("retired"));
        lost.set(true);
        drop(lost);
        retired.retire();
        assert_eq!(readiness.missing(), ["lost"]);
    }
}
