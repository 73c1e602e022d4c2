//! The policy of one link at work. Layers, from the caller's side: the deadline bounds everything; retries wrap single attempts; the breaker
//! refuses an attempt before it waits for anything; the bulkhead comes last, so that only what is really called takes a place. Invariant: an
//! attempt that was let through is counted once, also when its caller gives up and drops it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::Val;

use super::breaker::{Admission, Breaker, BreakerState, Forced};
use super::bulkhead::Bulkhead;
use super::measure::Measures;
use super::outcome::{self, Verdict};
use super::path::Path;
use super::retry::{Course, Retrying};
use super::window::Mark;
use crate::manifest::LinkPolicy;
use crate::runtime::{CallContext, CallError};

/// A call that its caller cut short earlier than this says nothing about the callee, unless the policy has a shorter word for slow.
const PATIENCE: Duration = Duration::from_secs(1);

/// A callee that gets this share of it had its time: some is spent on the way to it.
const ENOUGH: f64 = 0.9;

/// What stands before one link for as long as this host knows it; its policy may come, change and go.
pub struct Guard {
    path: Path,
    active: ArcSwapOption<Active>,
}

/// A policy with its state. A change of policy takes over the state of what did not change.
pub(crate) struct Active {
    path: Path,
    policy: LinkPolicy,
    breaker: Option<Arc<Mutex<Breaker>>>,
    bulkhead: Option<Arc<Bulkhead>>,
    retrying: Option<Arc<Retrying>>,
    measures: Arc<Measures>,
}

impl Guard {
    pub(super) fn new(path: Path) -> Self {
        Self { path, active: ArcSwapOption::empty() }
    }

    /// The policy of this moment, if there is one.
    pub(crate) fn active(&self) -> Option<Arc<Active>> {
        self.active.load_full()
    }

    /// Whether its breaker would let no call pass at this moment. Asking changes nothing.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let breaker = self.active().and_then(|active| active.breaker.clone());
        breaker.is_some_and(|breaker| lock(&breaker).refuses(Instant::now()))
    }

    /// Another policy holds from now on; calls under way end under theirs. One caller at a time.
    pub(super) fn set(&self, policy: LinkPolicy) {
        let before = self.active();
        if before.as_ref().map_or(policy.is_empty(), |before| before.policy == policy) {
            return;
        }
        tracing::info!(
            source = self.path.source,
            target = self.path.target,
            interface = self.path.interface,
            ?policy,
            "link policy"
        );
        let after = (!policy.is_empty()).then(|| Arc::new(Active::new(&self.path, policy, before.as_deref())));
        if after.as_ref().is_none_or(|after| after.breaker.is_none())
            && let Some(before) = before
        {
            before.measures.breaker(BreakerState::Closed, false);
        }
        self.active.store(after);
    }
}

impl Active {
    fn new(path: &Path, policy: LinkPolicy, before: Option<&Self>) -> Self {
        let measures = before.map_or_else(|| Arc::new(Measures::new(path)), |before| before.measures.clone());
        let breaker = policy.breaker.map(|wanted| {
            let Some(kept) = before.and_then(|before| before.breaker.clone()) else {
                measures.breaker(BreakerState::Closed, false);
                return Arc::new(Mutex::new(Breaker::new(wanted)));
            };
            lock(&kept).configure(wanted);
            kept
        });
        let same_bulkhead = before.filter(|before| before.policy.bulkhead == policy.bulkhead);
        let bulkhead = policy.bulkhead.map(|wanted| {
            let kept = same_bulkhead.and_then(|before| before.bulkhead.clone());
            kept.unwrap_or_else(|| Arc::new(Bulkhead::new(wanted, measures.queued.clone())))
        });
        let same_retry = before.filter(|before| before.policy.retry == policy.retry);
        let retrying = policy.retry.map(|wanted| {
            let kept = same_retry.and_then(|before| before.retrying.clone());
            kept.unwrap_or_else(|| Arc::new(Retrying::new(wanted)))
        });
        Self { path: path.clone(), policy, breaker, bulkhead, retrying, measures }
    }

    /// The call with the time that this link gives it, never more than it has.
    pub(crate) fn within(&self, call: CallContext) -> CallContext {
        let Some(deadline) = self.policy.deadline.map(|deadline| Instant::now() + deadline) else { return call };
        CallContext { deadline: call.deadline.min(deadline), ..call }
    }

    /// Begins a call; [`Course::next`] says whether an attempt is followed by another.
    pub(crate) fn begin(&self) -> Attempts<'_> {
        Attempts { active: self, course: Course::begin(self.retrying.as_deref(), &self.measures) }
    }

    /// Asks for one attempt.
    ///
    /// # Errors
    /// [`CallError::BreakerOpen`] and [`CallError::BulkheadFull`]: the callee was not called.
    pub(crate) async fn admit(self: &Arc<Self>, call: &CallContext) -> Result<Pass, CallError> {
        let component = || self.path.target.clone();
        let open = || {
            self.measures.rejected_open.increment(1);
            CallError::BreakerOpen { component: component() }
        };
        let mut probe = match &self.breaker {
            Some(breaker) => {
                let admission = self.changing(breaker, |breaker, now| breaker.admit(now)).map_err(|_| open())?;
                Some(Probe { active: self, breaker, admission: Some(admission) })
            }
            None => None,
        };
        let place = match &self.bulkhead {
            Some(bulkhead) => {
                let (place, waited) = bulkhead.enter(call.remaining()).await.map_err(|_| {
                    self.measures.rejected_full.increment(1);
                    CallError::BulkheadFull { component: component() }
                })?;
                // What waited while the callee fell ill does not go on to it.
                if waited && probe.as_ref().is_some_and(|probe| !probe.still()) {
                    return Err(open());
                }
                Some(place)
            }
            None => None,
        };
        let admission = probe.as_mut().and_then(|probe| probe.admission.take());
        let place = Place::new(place, &self.measures.in_flight);
        Ok(Pass {
            active: self.clone(),
            admission,
            began: Instant::now(),
            hurried: call.remaining() < self.patience().mul_f64(ENOUGH),
            place: Some(place),
        })
    }

    /// Changes the breaker in one step, and tells when its state is another afterwards.
    fn changing<T>(&self, breaker: &Mutex<Breaker>, change: impl FnOnce(&mut Breaker, Instant) -> T) -> T {
        let now = Instant::now();
        let mut breaker = lock(breaker);
        let (before, was_forced) = (breaker.state(), breaker.forced());
        let outcome = change(&mut breaker, now);
        let (after, forced) = (breaker.state(), breaker.forced());
        if (before, was_forced) == (after, forced) {
            return outcome;
        }
        let opens_for = breaker.opens_for(now);
        self.measures.breaker(after, forced.is_some());
        drop(breaker);
        if let Some(wait) = opens_for.filter(|_| after == BreakerState::Open) {
            self.measures.opened();
            tracing::warn!(
                source = self.path.source,
                target = self.path.target,
                interface = self.path.interface,
                for_ms = wait.as_millis(),
                "breaker opened: calls are refused"
            );
        } else {
            tracing::info!(source = self.path.source, target = self.path.target, interface = self.path.interface, state = ?after, ?forced, "breaker changed");
        }
        outcome
    }

    /// Does as an operator says. False: this link has no breaker.
    fn force(&self, forced: Option<Forced>) -> bool {
        let Some(breaker) = &self.breaker else { return false };
        self.changing(breaker, |breaker, now| breaker.force(forced, now));
        true
    }

    /// An attempt that was let through ended.
    fn ended(&self, admission: Option<Admission>, failed: bool, elapsed: Duration) {
        let slow = self.policy.breaker.and_then(|breaker| breaker.slow_call).is_some_and(|slow| elapsed >= slow);
        let measures = &self.measures;
        if failed {
            measures.failed.increment(1)
        } else {
            measures.succeeded.increment(1)
        }
        if slow {
            measures.slow.increment(1);
        }
        if let (Some(breaker), Some(admission)) = (&self.breaker, admission) {
            let (mark, chance) = (Mark { failed, slow }, rand::random());
            self.changing(breaker, |breaker, now| breaker.record(admission, mark, now, chance));
        }
    }

    /// An attempt says nothing about the callee.
    fn cut(&self, admission: Option<Admission>) {
        self.measures.cut.increment(1);
        if let (Some(breaker), Some(admission)) = (&self.breaker, admission) {
            lock(breaker).give_back(admission);
        }
    }

    /// How long a callee must have had before silence is its failure.
    fn patience(&self) -> Duration {
        let slow = self.policy.breaker.and_then(|breaker| breaker.slow_call);
        [self.policy.deadline, slow].into_iter().flatten().fold(PATIENCE, Duration::min)
    }
}

/// A breaker's admission that is given back when dropped with it.
struct Probe<'a> {
    active: &'a Active,
    breaker: &'a Mutex<Breaker>,
    admission: Option<Admission>,
}

impl Probe<'_> {
    fn still(&self) -> bool {
        self.admission.is_some_and(|admission| lock(self.breaker).still(admission))
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            self.active.changing(self.breaker, |breaker, _| breaker.give_back(admission));
        }
    }
}

/// A place in the bulkhead, if there is one, and in the count of calls under way, until it is dropped.
pub(crate) struct Place {
    _permit: Option<OwnedSemaphorePermit>,
    in_flight: metrics::Gauge,
}

impl Place {
    fn new(permit: Option<OwnedSemaphorePermit>, in_flight: &metrics::Gauge) -> Self {
        in_flight.increment(1);
        Self { _permit: permit, in_flight: in_flight.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.decrement(1);
    }
}

/// The right to make one attempt.
pub(crate) struct Pass {
    active: Arc<Active>,
    admission: Option<Admission>,
    began: Instant,
    /// The callee has less time than its silence must last to count.
    hurried: bool,
    /// None once the attempt has ended.
    place: Option<Place>,
}

impl Pass {
    /// The attempt ended so. What is left is its place, for those whose answers go on after the call.
    pub(crate) fn end(mut self, outcome: &Result<(), CallError>, results: &[Val]) -> Option<Place> {
        let place = self.place.take();
        let elapsed = self.began.elapsed();
        let too_early = match outcome {
            Err(CallError::DeadlineExceeded { .. }) => elapsed < self.active.patience(),
            // That it does not know says nothing of a callee whose own callees were cut by the same caller.
            Ok(()) => self.hurried,
            Err(_) => false,
        };
        match outcome::verdict(outcome, results) {
            Verdict::Answered => self.active.ended(self.admission, false, elapsed),
            Verdict::NothingDone | Verdict::MayHaveActed if !too_early => {
                self.active.ended(self.admission, true, elapsed);
            }
            _ => self.active.cut(self.admission),
        }
        place
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.place.is_none() {
            return;
        }
        // Its caller ran out of time. Whether that is the callee's fault depends on how long it had.
        let elapsed = self.began.elapsed();
        if elapsed >= self.active.patience() {
            self.active.ended(self.admission, true, elapsed);
        } else {
            self.active.cut(self.admission);
        }
    }
}

/// All attempts of one call.
pub(crate) struct Attempts<'a> {
    active: &'a Active,
    course: Course<'a>,
}

impl Attempts<'_> {
    /// The pause before the next attempt, if there is to be one.
    pub(crate) fn next(
        &mut self,
        outcome: &Result<(), CallError>,
        results: &[Val],
        call: &CallContext,
    ) -> Option<Duration> {
        // What this very link refused is not tried again: it would be refused again, or be the load that it protects from.
        if is_refusal(outcome, &self.active.path) {
            return None;
        }
        self.course.next(outcome, outcome::verdict(outcome, results), results, call.deadline, rand::random())
    }

    /// What the caller is told in the end.
    pub(crate) fn conclude(self, outcome: Result<(), CallError>, results: &mut [Val]) -> Result<(), CallError> {
        let refused = outcome::verdict(&outcome, results) == Verdict::NothingDone;
        self.course.conclude(outcome, refused, results)
    }
}

fn is_refusal(outcome: &Result<(), CallError>, path: &Path) -> bool {
    matches!(outcome, Err(CallError::BreakerOpen { component } | CallError::BulkheadFull { component }) if *component == path.target)
}

impl Guard {
    /// What an operator is shown, if there is a breaker.
    pub(super) fn show(&self) -> Option<Value> {
        let active = self.active()?;
        let breaker = active.breaker.as_ref()?;
        let now = Instant::now();
        let mut breaker = lock(breaker);
        let (state, forced, totals) = (breaker.state(), breaker.forced(), breaker.totals(now));
        let opens_for = breaker.opens_for(now);
        drop(breaker);
        let mut shown = json!({
            "id": self.path.id(),
            "source": self.path.source,
            "target": self.path.target,
            "interface": self.path.interface,
            "state": state,
            "forced": forced,
            "calls": totals.calls,
            "failed": totals.failed,
            "slow": totals.slow,
        });
        if let (Some(wait), Some(object)) = (opens_for, shown.as_object_mut()) {
            object.insert("triesAgainInMs".to_owned(), json!(wait.as_millis()));
        }
        if let (Some(bulkhead), Some(object)) = (&active.bulkhead, shown.as_object_mut()) {
            let (in_flight, queued) = bulkhead.usage();
            object.insert("bulkhead".to_owned(), json!({"inFlight": in_flight, "queued": queued}));
        }
        Some(shown)
    }

    /// Does as an operator says. None: there is no breaker.
    pub(super) fn force(&self, forced: Option<Forced>) -> Option<Value> {
        self.active()?.force(forced).then(|| self.show()).flatten()
    }

    pub(super) fn id(&self) -> String {
        self.path.id()
    }

    /// The policy of the breaker, for tests.
    #[cfg(test)]
    pub(super) fn breaker_policy(&self) -> Option<crate::manifest::BreakerPolicy> {
        self.active()?.policy.breaker
    }
}

/// What this lock guards is changed in one step, so a poisoned one is still right.
fn lock(breaker: &Mutex<Breaker>) -> MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}
