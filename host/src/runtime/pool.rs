//! Instances of one component version: at most `max_instances` at once, a bounded queue with a deadline before them, and warm instances
//! kept for reuse where the manifest says so. An instance that trapped or was cut off is never used again.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::identity::Identity;
use super::measure::Measures;
use super::{CallContext, CallError, Engine, Guest, slice};
use crate::capability::Grants;
use crate::manifest::{Reuse, RuntimeOptions};

/// One instance with its store.
struct Resident {
    store: Store<Guest>,
    instance: Instance,
    uses: u32,
}

/// The instances of one component version.
pub struct Pool {
    engine: Engine,
    template: InstancePre<Guest>,
    identity: Arc<Identity>,
    grants: Arc<Grants>,
    options: RuntimeOptions,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    idle: Mutex<Vec<Resident>>,
    retired: AtomicBool,
    measures: Measures,
    /// How the calls of this version ended, for whoever decides whether it is any good.
    pub record: Record,
}

/// How the calls of one version ended.
#[derive(Default)]
pub struct Record {
    ended: AtomicU64,
    broken: AtomicU64,
    /// Told at each call that broke an instance.
    pub broke: Notify,
}

impl Record {
    /// Calls that ended, and those of them that trapped or found no instance.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.ended.load(Ordering::Relaxed), self.broken.load(Ordering::Relaxed))
    }

    fn count(&self, broken: bool) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        if broken {
            self.broken.fetch_add(1, Ordering::Relaxed);
            self.broke.notify_one();
        }
    }
}

impl Pool {
    /// An empty pool; instances are made when calls come.
    #[must_use]
    pub fn new(
        engine: Engine,
        template: InstancePre<Guest>,
        identity: Arc<Identity>,
        grants: Arc<Grants>,
        options: RuntimeOptions,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(options.max_instances as usize));
        let measures = Measures::new(&identity.name);
        Self {
            engine,
            template,
            identity,
            grants,
            options,
            permits,
            waiting: AtomicUsize::new(0),
            idle: Mutex::new(Vec::new()),
            retired: AtomicBool::new(false),
            measures,
            record: Record::default(),
        }
    }

    /// An instance for one call, as soon as one may run.
    ///
    /// # Errors
    /// [`CallError::Overloaded`] or [`CallError::Instantiate`]: the component did nothing.
    pub async fn lease(self: &Arc<Self>, call: CallContext) -> Result<Lease, CallError> {
        let permit = self.permit(&call).await.inspect_err(|error| self.measures.failed(error.class()))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut resident = match idle {
            Some(resident) => resident,
            None => self.instantiate().await.inspect_err(|error| {
                self.record.count(true);
                self.measures.failed(error.class());
            })?,
        };
        let timeout = call.remaining().min(self.options.execution_timeout);
        resident.uses += 1;
        resident.store.data_mut().begin(call);
        Ok(Lease {
            pool: self.clone(),
            resident,
            timeout,
            began: Instant::now(),
            _running: Running::new(&self.measures.running),
            _permit: permit,
        })
    }

    async fn permit(&self, call: &CallContext) -> Result<OwnedSemaphorePermit, CallError> {
        let overloaded = |reason| CallError::Overloaded { component: self.identity.name.clone(), reason };
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::enter(&self.waiting, self.options.queue_limit as usize)
            .ok_or_else(|| overloaded("its queue is full"))?;
        self.measures.queued.increment(1);
        let wait = self.options.queue_timeout.min(call.remaining());
        let began = Instant::now();
        let waited = tokio::time::timeout(wait, self.permits.clone().acquire_owned()).await;
        self.measures.queued.decrement(1);
        self.measures.waited(began.elapsed());
        match waited {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(CallError::NotRunning { component: self.identity.name.clone() }),
            Err(_) => Err(overloaded("no instance became free in time")),
        }
    }

    async fn instantiate(&self) -> Result<Resident, CallError> {
        let guest = Guest::new(self.identity.clone(), self.grants.clone(), self.options.memory_limit_bytes);
        let mut store = Store::new(self.engine.wasmtime(), guest);
        store.limiter(|guest| &mut guest.limits);
        // A guest never blocks the thread for much longer than a tick; how long it may run in all is the lease's time-out.
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|_| Ok(slice::at_new_epoch()));
        let instance = self.template.instantiate_async(&mut store).await.map_err(|error| CallError::Instantiate {
            component: self.identity.name.clone(),
            reason: format!("{error:#}"),
        })?;
        self.measures.instances.increment(1);
        Ok(Resident { store, instance, uses: 0 })
    }

    fn give_back(&self, resident: Resident) {
        let Reuse::Warm { max_uses } = self.options.reuse else { return };
        if resident.uses < max_uses && !self.retired.load(Ordering::Acquire) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(resident);
        }
    }

    /// Makes one instance, so that what cannot even start is found before it serves anybody.
    ///
    /// # Errors
    /// [`CallError::Instantiate`].
    pub async fn rehearse(&self) -> Result<(), CallError> {
        let resident = self.instantiate().await?;
        self.give_back(resident);
        Ok(())
    }

    /// Another version serves now, or (`false`) this one does again: the instances of a retired version go as their calls end.
    pub fn retire(&self, retired: bool) {
        self.retired.store(retired, Ordering::Release);
        if retired {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    /// Waits until every instance is free and lets no new call in.
    pub async fn drain(&self, limit: Duration) -> bool {
        let all = self.options.max_instances;
        let drained = tokio::time::timeout(limit, self.permits.acquire_many(all)).await.is_ok();
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        drained
    }

    /// Instances that serve a call right now, and warm ones that wait.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        let busy = (self.options.max_instances as usize).saturating_sub(self.permits.available_permits());
        (busy, self.idle.lock().unwrap_or_else(PoisonError::into_inner).len())
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize, limit: usize) -> Option<Self> {
        if count.fetch_add(1, Ordering::Relaxed) >= limit {
            count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(count))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An instance for the time of one call. Dropping it without [`Lease::conclude`] throws the instance away.
pub struct Lease {
    pool: Arc<Pool>,
    resident: Resident,
    timeout: Duration,
    began: Instant,
    _running: Running,
    _permit: OwnedSemaphorePermit,
}

/// Counts a call as running until it is dropped, however it ends.
struct Running(metrics::Gauge);

impl Running {
    fn new(gauge: &metrics::Gauge) -> Self {
        gauge.increment(1);
        Self(gauge.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl Lease {
    /// How long the call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The store and the instance, to look up and call an export.
    pub fn parts(&mut self) -> (&mut Store<Guest>, Instance) {
        (&mut self.resident.store, self.resident.instance)
    }

    /// Ends the lease with what the call gave: a healthy instance goes back to the pool, a broken one is dropped, logged and counted.
    ///
    /// # Errors
    /// The call's failure as a [`CallError`].
    pub fn conclude<T>(
        self,
        outcome: Result<wasmtime::Result<T>, tokio::time::error::Elapsed>,
    ) -> Result<T, CallError> {
        let component = || self.pool.identity.name.clone();
        let error = match outcome {
            Ok(Ok(value)) => {
                self.pool.measures.answered(self.began.elapsed());
                self.pool.record.count(false);
                self.pool.give_back(self.resident);
                return Ok(value);
            }
            Ok(Err(error)) => match error.downcast_ref::<CallError>() {
                Some(inner) => CallError::Nested { component: component(), inner: Box::new(inner.clone()) },
                None => CallError::Trap { component: component(), reason: format!("{error:?}") },
            },
            Err(_) => CallError::DeadlineExceeded { component: component() },
        };
        let identity = &self.pool.identity;
        self.pool.record.count(matches!(error, CallError::Trap { .. }));
        self.pool.measures.failed(error.class());
        tracing::error!(component = %identity.name, digest = %identity.digest, trace_id = %self.resident.store.data().call.trace.trace_id(), %error, "call failed");
        Err(error)
    }
}
