//! What every result means: done, again later, dead, or stop the partition. Invariant: a message leaves its lane only
//! when its handler succeeded or it is among the dead letters.

use std::sync::Arc;
use std::time::Instant;

use super::{Control, Dispatcher};
use crate::dead_letter::Class;
use crate::delivery::{Delivery, Finished, Outcome, wall_clock_ms};
use crate::lanes::LaneId;
use crate::message::Failure;
use crate::telemetry;

impl<C: Control> Dispatcher<C> {
    pub(super) fn joined(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
        match finished {
            Ok(finished) => self.finished(finished),
            // Work catches panics of handlers, so this is a fault of this crate. The message stays uncommitted and is
            // delivered again after a restart.
            Err(error) => tracing::error!(%error, group = %self.workshop.group, "work on a message was cut short"),
        }
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { lane, delivery, outcome, took } = finished;
        let group = Arc::clone(&self.workshop.group);
        if let Outcome::Handled(result) = &outcome {
            telemetry::handled(&delivery.message.topic, &group, word(result), took);
        }
        if let (Outcome::Buried, Some((class, _))) = (&outcome, &delivery.death) {
            telemetry::dead_lettered(&delivery.message.topic, &group, class.as_str());
        }
        let Some(assignment) = self.assignments.get_mut(&lane.assignment) else {
            telemetry::late(&group);
            return;
        };
        assignment.running = assignment.running.saturating_sub(1);
        let closing = assignment.closing;
        let finished_for_good = matches!(outcome, Outcome::Handled(Ok(())) | Outcome::Buried);
        if finished_for_good {
            assignment.done(delivery.message.offset, delivery.message.bytes());
        }
        if closing {
            // What failed now stays uncommitted and is delivered to whoever has the partition next.
            self.end_overdue_revocations();
            return;
        }
        let id = lane.assignment;
        self.next_step(&lane, delivery, outcome);
        self.regulate(id);
    }

    /// Decides what a result means for its lane.
    fn next_step(&mut self, lane: &LaneId, mut delivery: Delivery, outcome: Outcome) {
        let held = self.lanes.is_held(lane.assignment);
        match outcome {
            Outcome::Handled(Err(Failure::DependencyDown(reason))) => {
                delivery.failed(wall_clock_ms());
                self.hold(lane, delivery, "a dependency is down", &reason);
            }
            Outcome::NotBuried(error) => {
                self.hold(lane, delivery, "a dead letter was not accepted", &error.to_string())
            }
            settled => {
                if self.lanes.is_probe(lane) {
                    self.lanes.release(lane.assignment);
                    tracing::info!(group = %self.workshop.group, message = ?delivery.message, "the partition goes on");
                }
                delivery.probes = 0;
                match settled {
                    Outcome::Handled(Err(Failure::Retry(reason))) => self.retry(lane, delivery, reason),
                    Outcome::Handled(Err(Failure::Reject(reason))) => {
                        delivery.failed(wall_clock_ms());
                        self.condemn(lane, delivery, Class::Rejected, reason);
                    }
                    _ => self.lanes.done(lane),
                }
            }
        }
        if held != self.lanes.is_held(lane.assignment) {
            self.tell_status();
        }
    }

    fn retry(&mut self, lane: &LaneId, mut delivery: Delivery, reason: String) {
        delivery.failed(wall_clock_ms());
        delivery.retries += 1;
        if delivery.retries >= self.rules.max_attempts {
            self.condemn(lane, delivery, Class::RetriesExhausted, reason);
            return;
        }
        let delay = self.rules.backoff.retry(delivery.retries, rand::random());
        let group = &self.workshop.group;
        tracing::debug!(%group, message = ?delivery.message, reason, ?delay, "a message is tried again");
        telemetry::retried(&delivery.message.topic, group);
        self.lanes.park(lane, delivery, Instant::now() + delay);
    }

    /// The message goes back to its lane, to be buried instead of handled: burying takes a place like any other work,
    /// and keeps the order of the key.
    fn condemn(&mut self, lane: &LaneId, mut delivery: Delivery, class: Class, reason: String) {
        let (group, message) = (&self.workshop.group, &delivery.message);
        tracing::warn!(%group, ?message, class = class.as_str(), reason, "a message goes to the dead letters");
        delivery.death = Some((class, reason));
        self.lanes.put_back(lane, delivery);
    }

    fn hold(&mut self, lane: &LaneId, mut delivery: Delivery, what: &'static str, reason: &str) {
        delivery.probes = delivery.probes.saturating_add(1);
        let delay = self.rules.backoff.probe(delivery.probes, rand::random());
        let (group, message) = (&self.workshop.group, &delivery.message);
        if !self.lanes.is_held(lane.assignment) {
            tracing::warn!(%group, ?message, reason, "{what}: the partition pauses");
        }
        telemetry::retried(&message.topic, group);
        self.lanes.hold(lane, delivery, Instant::now() + delay);
    }
}

fn word(result: &Result<(), Failure>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(Failure::Retry(_)) => "retry",
        Err(Failure::Reject(_)) => "reject",
        Err(Failure::DependencyDown(_)) => "dependency-down",
    }
}
