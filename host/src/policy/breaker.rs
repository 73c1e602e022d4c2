//! The circuit breaker as a pure state machine: time and chance come in as arguments. Invariants: in the half-open state no more calls are let
//! through than probes are asked for; a call that was let through in an earlier state changes nothing any more; what an operator forces stays
//! until he takes it back.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::window::{Mark, Totals, Window};
use crate::manifest::BreakerPolicy;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Some calls pass, to try whether it is better.
    HalfOpen,
    /// No call passes.
    Open,
}

/// What an operator wants, whatever the calls say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forced {
    /// Calls pass.
    Closed,
    /// No call passes.
    Open,
}

/// The right to make one call. It must come back by [`Breaker::record`] or [`Breaker::give_back`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// Counts the changes of state; a later one is another time.
    generation: u64,
}

#[derive(Debug)]
enum State {
    Closed,
    Open { until: Instant },
    HalfOpen { admitted: u32, totals: Totals },
}

/// One breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    policy: BreakerPolicy,
    state: State,
    window: Window,
    generation: u64,
    forced: Option<Forced>,
    /// How often in a row it has opened.
    openings: u32,
    /// When it was closed after having been open.
    closed_at: Option<Instant>,
}

impl Breaker {
    pub(super) fn new(policy: BreakerPolicy) -> Self {
        let window = Window::new(policy.window);
        Self { policy, state: State::Closed, window, generation: 0, forced: None, openings: 0, closed_at: None }
    }

    /// Takes another policy over. The state and what an operator forced stay; the window begins anew if it has another size.
    pub(super) fn configure(&mut self, policy: BreakerPolicy) {
        if policy.window != self.policy.window {
            self.window = Window::new(policy.window);
        }
        self.policy = policy;
    }

    /// Asks whether a call may be made.
    ///
    /// # Errors
    /// How long it stays closed to calls at least, as far as that is known.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Admission, Option<Duration>> {
        if self.refuses(now) {
            return Err(self.opens_for(now));
        }
        if self.forced.is_none() {
            self.wait_over(now);
            if let State::HalfOpen { admitted, .. } = &mut self.state {
                *admitted += 1;
            }
        }
        Ok(Admission { generation: self.generation })
    }

    /// Whether [`Breaker::admit`] would refuse. Changes nothing.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        match (self.forced, &self.state) {
            (Some(forced), _) => forced == Forced::Open,
            (None, State::Closed) => false,
            (None, State::Open { until }) => now < *until,
            (None, State::HalfOpen { admitted, .. }) => *admitted >= self.policy.half_open_probes,
        }
    }

    /// Whether a call that was let through, and waited since, may still be made.
    pub(super) fn still(&self, admission: Admission) -> bool {
        self.forced != Some(Forced::Open)
            && (admission.generation == self.generation || matches!(self.state, State::Closed))
    }

    /// A call that was let through ended. `chance`, from 0 to 1, spreads the times at which several hosts try again.
    pub(super) fn record(&mut self, admission: Admission, mark: Mark, now: Instant, chance: f64) {
        if self.forced.is_some() || admission.generation != self.generation {
            return;
        }
        match &mut self.state {
            State::Open { .. } => {}
            State::Closed => {
                self.window.push(mark, now);
                let totals = self.window.totals(now);
                if totals.calls >= self.policy.minimum_calls && too_bad(&self.policy, totals, totals.calls) {
                    self.open(now, chance);
                }
            }
            State::HalfOpen { totals, .. } => {
                totals.add(mark);
                let (totals, probes) = (*totals, self.policy.half_open_probes);
                // As soon as it is certain, whatever the other probes will say.
                if too_bad(&self.policy, totals, probes) {
                    self.open(now, chance);
                } else if totals.calls >= probes {
                    self.close(now);
                }
            }
        }
    }

    /// A call that was let through was not made after all, or its end says nothing about the callee: another may try in its place.
    pub(super) fn give_back(&mut self, admission: Admission) {
        if let State::HalfOpen { admitted, .. } = &mut self.state
            && admission.generation == self.generation
        {
            *admitted = admitted.saturating_sub(1);
        }
    }

    /// Does as an operator says; without, as the calls say, beginning with a clean window.
    pub(super) fn force(&mut self, forced: Option<Forced>, now: Instant) {
        if self.forced.is_some() && forced.is_none() {
            self.close(now);
            (self.openings, self.closed_at) = (0, None);
        }
        self.forced = forced;
        self.generation += 1;
        if let State::HalfOpen { admitted, totals } = &mut self.state {
            (*admitted, *totals) = (0, Totals::default());
        }
    }

    pub(super) fn forced(&self) -> Option<Forced> {
        self.forced
    }

    /// Where it stands for the next call.
    pub(super) fn state(&self) -> BreakerState {
        match (self.forced, &self.state) {
            (Some(Forced::Open), _) | (None, State::Open { .. }) => BreakerState::Open,
            (Some(Forced::Closed), _) | (None, State::Closed) => BreakerState::Closed,
            (None, State::HalfOpen { .. }) => BreakerState::HalfOpen,
        }
    }

    /// How long no call passes, if that is known.
    pub(super) fn opens_for(&self, now: Instant) -> Option<Duration> {
        match &self.state {
            State::Open { until } if self.forced.is_none() => Some(until.saturating_duration_since(now)),
            _ => None,
        }
    }

    /// What its window, or its probes, hold.
    pub(super) fn totals(&mut self, now: Instant) -> Totals {
        match &self.state {
            State::HalfOpen { totals, .. } => *totals,
            _ => self.window.totals(now),
        }
    }

    fn wait_over(&mut self, now: Instant) {
        if matches!(self.state, State::Open { until } if now >= until) {
            self.state = State::HalfOpen { admitted: 0, totals: Totals::default() };
            self.generation += 1;
        }
    }

    fn open(&mut self, now: Instant, chance: f64) {
        // Who was closed for a moment only has not recovered: the waits go on growing.
        let recovered =
            self.closed_at.is_some_and(|closed| now.saturating_duration_since(closed) >= self.policy.open_max);
        self.openings = if recovered { 1 } else { self.openings.saturating_add(1) };
        let doubled = 2_u32.saturating_pow(self.openings.saturating_sub(1));
        let whole = self.policy.open.saturating_mul(doubled).min(self.policy.open_max);
        let wait = whole.mul_f64(0.75 + 0.25 * chance.clamp(0.0, 1.0));
        self.state = State::Open { until: now + wait };
        self.generation += 1;
        self.window.clear();
    }

    fn close(&mut self, now: Instant) {
        self.state = State::Closed;
        self.closed_at = Some(now);
        self.generation += 1;
        self.window.clear();
    }
}

/// Whether failed or slow calls are too large a part of `of` calls.
fn too_bad(policy: &BreakerPolicy, totals: Totals, of: u32) -> bool {
    let share = |count: u32, percent: u32| count > 0 && u64::from(count) * 100 >= u64::from(percent) * u64::from(of);
    share(totals.failed, policy.failure_rate_percent)
        || (policy.slow_call.is_some() && share(totals.slow, policy.slow_rate_percent))
}

#[cfg(test)]
mod tests;
