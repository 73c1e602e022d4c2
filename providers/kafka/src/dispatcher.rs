//! The consumer's heart: takes events of the poll thread, gives work to the handler, and decides what every result
//! means. One task owns all of this state, so there are no locks. Invariants: an offset is committed only through the
//! watermark; a result counts only for the assignment that it was begun under.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::assignment::{Assignment, Flow, Offsets, TopicPartition};
use crate::backoff::Backoff;
use crate::config::ConsumerConfig;
use crate::dead_letter;
use crate::delivery::{Delivery, Finished, Workshop, wall_clock_ms};
use crate::lanes::{AssignmentId, LaneId, Lanes};
use crate::message::Message;
use crate::status::Status;
use crate::step::Steps;
use crate::telemetry;

mod results;
#[cfg(test)]
mod tests;

/// An asynchronous commit ends without a word: librdkafka tells how it went only on a queue that its Rust binding does not have. So every so many looks
/// all positions are committed again, also those that have not moved: one that failed is made up for, and one that did not is the same.
const REPEAT_EVERY: u32 = 150;

/// How many events are taken from the poll thread at once.
const EVENT_BATCH: usize = 64;

/// What the poll thread tells, in the order in which it happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// These partitions are ours from now on.
    Assigned(Vec<TopicPartition>),
    /// These partitions are about to be taken away; the poll thread waits for the offsets to commit. `lost`: they are
    /// gone already, nothing can be committed.
    Revoked { partitions: Vec<TopicPartition>, lost: bool, reply: SyncSender<Offsets> },
    /// A message of an assigned partition.
    Message(Box<Message>),
    /// The client is beyond repair.
    Fatal(String),
}

/// What the dispatcher asks of the broker client. None of these may block for long.
pub(crate) trait Control: Send + 'static {
    fn pause(&self, partition: &TopicPartition);
    fn resume(&self, partition: &TopicPartition);
    fn commit(&self, offsets: &Offsets);
}

/// The numbers of a [`ConsumerConfig`] that matter here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    concurrency: usize,
    max_attempts: u32,
    max_in_flight: usize,
    backoff: Backoff,
    commit_interval: Duration,
    revoke_timeout: Duration,
    drain_timeout: Duration,
}

impl From<&ConsumerConfig> for Rules {
    fn from(config: &ConsumerConfig) -> Self {
        Self {
            concurrency: config.concurrency,
            max_attempts: config.max_attempts,
            max_in_flight: config.max_in_flight_per_partition,
            backoff: Backoff::new(
                Duration::from_millis(config.retry_initial_ms),
                Duration::from_millis(config.retry_max_ms),
            ),
            commit_interval: Duration::from_millis(config.commit_interval_ms),
            revoke_timeout: config.revoke_timeout(),
            drain_timeout: config.drain_timeout(),
        }
    }
}

/// Partitions being taken away, while handlers of theirs still run.
struct Revocation {
    assignments: Vec<AssignmentId>,
    deadline: Instant,
    reply: SyncSender<Offsets>,
}

/// Why [`Dispatcher::run`] ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Shutdown was asked for.
    Shutdown,
    /// The client is beyond repair.
    Fatal(String),
}

pub(crate) struct Dispatcher<C> {
    rules: Rules,
    workshop: Workshop,
    control: C,
    status: watch::Sender<Status>,
    lanes: Lanes<Delivery>,
    assignments: HashMap<AssignmentId, Assignment>,
    current: HashMap<TopicPartition, AssignmentId>,
    revocations: Vec<Revocation>,
    running: JoinSet<Finished>,
    last_assignment: u64,
}

impl<C: Control> Dispatcher<C> {
    pub(crate) fn new(rules: Rules, workshop: Workshop, control: C, status: watch::Sender<Status>) -> Self {
        Self {
            rules,
            workshop,
            control,
            status,
            lanes: Lanes::default(),
            assignments: HashMap::new(),
            current: HashMap::new(),
            revocations: Vec::new(),
            running: JoinSet::new(),
            last_assignment: 0,
        }
    }

    /// Works until `shutdown` or a fatal error; then lets running handlers finish and returns the offsets that are
    /// still to be committed.
    pub(crate) async fn run(
        mut self,
        events: &mut mpsc::Receiver<Event>,
        shutdown: &CancellationToken,
    ) -> (Ended, Offsets) {
        let ended = self.serve(events, shutdown).await;
        self.drain(events).await;
        let ids: Vec<AssignmentId> = self.assignments.keys().copied().collect();
        self.status.send_modify(|status| *status = Status::default());
        telemetry::assignment(&self.workshop.group, 0, 0);
        (ended, self.positions(&ids))
    }

    async fn serve(&mut self, events: &mut mpsc::Receiver<Event>, shutdown: &CancellationToken) -> Ended {
        let mut batch = Vec::with_capacity(EVENT_BATCH);
        let mut commits = tokio::time::interval(self.rules.commit_interval);
        let mut looks: u32 = 0;
        commits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.hand_out();
            let wake = self.next_wake();
            tokio::select! {
                () = shutdown.cancelled() => return Ended::Shutdown,
                Some(finished) = self.running.join_next() => self.joined(finished),
                received = events.recv_many(&mut batch, EVENT_BATCH) => {
                    if received == 0 {
                        return Ended::Fatal("the poll thread ended".to_owned());
                    }
                    for event in batch.drain(..) {
                        if let Some(fatal) = self.event(event) {
                            return Ended::Fatal(fatal);
                        }
                    }
                }
                _ = commits.tick() => {
                    looks = looks.wrapping_add(1);
                    if looks.is_multiple_of(REPEAT_EVERY) {
                        self.offer_again();
                    }
                    self.commit();
                    self.tell_age();
                }
                () = sleep_until(wake) => self.end_overdue_revocations(),
            }
        }
    }

    /// No new work; running handlers may finish. Events are still taken, because the poll thread must not block.
    async fn drain(&mut self, events: &mut mpsc::Receiver<Event>) {
        let deadline = tokio::time::Instant::now() + self.rules.drain_timeout;
        for (id, assignment) in &mut self.assignments {
            assignment.closing = true;
            self.lanes.close(*id);
        }
        while !self.running.is_empty() {
            tokio::select! {
                Some(finished) = self.running.join_next() => self.joined(finished),
                Some(event) = events.recv() => { self.event(event); }
                () = tokio::time::sleep_until(deadline) => {
                    let (group, running) = (&self.workshop.group, self.running.len());
                    tracing::warn!(%group, running, "handlers outlived the drain time-out; their messages come again");
                    break;
                }
            }
        }
        for revocation in std::mem::take(&mut self.revocations) {
            self.end_revocation(revocation);
        }
    }

    fn hand_out(&mut self) {
        let now = Instant::now();
        while self.running.len() < self.rules.concurrency {
            let Some((lane, delivery)) = self.lanes.next(now) else { return };
            if let Some(assignment) = self.assignments.get_mut(&lane.assignment) {
                assignment.running += 1;
            }
            self.running.spawn(self.workshop.clone().work(lane, delivery));
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        // With every place taken, a lane that becomes ready cannot be handed out; the end of a handler wakes us.
        let lane = self.lanes.next_wake().filter(|_| self.running.len() < self.rules.concurrency);
        self.revocations.iter().map(|revocation| revocation.deadline).chain(lane).min()
    }

    /// Returns the reason, if the client is beyond repair.
    fn event(&mut self, event: Event) -> Option<String> {
        match event {
            Event::Message(message) => self.received(*message),
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::Revoked { partitions, lost, reply } => self.revoked(&partitions, lost, reply),
            Event::Fatal(reason) => return Some(reason),
        }
        None
    }

    fn received(&mut self, message: Message) {
        let partition = TopicPartition { topic: message.topic.as_str().into(), partition: message.partition };
        let Some(&id) = self.current.get(&partition) else { return };
        let Some(assignment) = self.assignments.get_mut(&id) else { return };
        if assignment.closing || !assignment.receive(message.offset, message.bytes(), message.timestamp_ms) {
            return;
        }
        if dead_letter::is_replay_for_another(&message, &self.workshop.group) {
            telemetry::skipped(&message.topic, &self.workshop.group);
            assignment.done(message.offset, message.bytes());
            return self.regulate(id);
        }
        let lane = LaneId { assignment: id, key: message.key.as_deref().map(Arc::from) };
        self.lanes.push(&lane, Delivery::new(message));
        self.regulate(id);
    }

    fn assigned(&mut self, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            self.last_assignment += 1;
            let id = AssignmentId(self.last_assignment);
            self.lanes.open(id);
            if let Some(old) = self.current.insert(partition.clone(), id) {
                self.forget(old);
            }
            self.assignments.insert(id, Assignment::new(partition));
        }
        self.tell_status();
    }

    fn revoked(&mut self, partitions: &[TopicPartition], lost: bool, reply: SyncSender<Offsets>) {
        let assignments: Vec<AssignmentId> =
            partitions.iter().filter_map(|partition| self.current.remove(partition)).collect();
        for id in &assignments {
            self.lanes.close(*id);
            if let Some(assignment) = self.assignments.get_mut(id) {
                assignment.closing = true;
            }
        }
        let wait = if lost { Duration::ZERO } else { self.rules.revoke_timeout };
        self.revocations.push(Revocation { assignments, deadline: Instant::now() + wait, reply });
        self.end_overdue_revocations();
        self.tell_status();
    }

    /// Ends the revocations whose handlers are done, or have had their time.
    fn end_overdue_revocations(&mut self) {
        let now = Instant::now();
        let busy = |assignments: &HashMap<AssignmentId, Assignment>, revocation: &Revocation| {
            revocation.deadline > now
                && revocation
                    .assignments
                    .iter()
                    .any(|id| assignments.get(id).is_some_and(|assignment| assignment.running > 0))
        };
        let (waiting, ready): (Vec<_>, Vec<_>) = std::mem::take(&mut self.revocations)
            .into_iter()
            .partition(|revocation| busy(&self.assignments, revocation));
        self.revocations = waiting;
        for revocation in ready {
            self.end_revocation(revocation);
        }
    }

    /// From here on, results of these assignments are late: another member may already work on the same messages.
    fn end_revocation(&mut self, revocation: Revocation) {
        let offsets = self.positions(&revocation.assignments);
        for id in revocation.assignments {
            self.forget(id);
        }
        // The poll thread may have stopped waiting: then nothing is committed, and the messages are delivered again.
        let _ = revocation.reply.send(offsets);
    }

    fn forget(&mut self, id: AssignmentId) {
        self.lanes.close(id);
        self.assignments.remove(&id);
    }

    /// Pauses or resumes fetching, if that must change.
    fn regulate(&mut self, id: AssignmentId) {
        let held = self.lanes.is_held(id);
        let Some(assignment) = self.assignments.get_mut(&id) else { return };
        match assignment.flow(held, self.rules.max_in_flight) {
            Flow::Keep => {}
            Flow::Pause => self.control.pause(&assignment.partition),
            Flow::Resume => self.control.resume(&assignment.partition),
        }
    }

    fn commit(&mut self) {
        let ids: Vec<AssignmentId> = self.current.values().copied().collect();
        let offsets = self.positions(&ids);
        if offsets.is_empty() {
            return;
        }
        let row = Steps::begin("commit", || self.workshop.group.to_string());
        let step = row.next(|| format!("commit {} partitions", offsets.len()));
        let asked = step.before().and_then(|()| {
            self.control.commit(&offsets);
            step.after()
        });
        if asked.is_err() {
            self.offer_again();
        }
    }

    /// Nobody knows whether the last commits took place.
    fn offer_again(&mut self) {
        for id in self.current.values() {
            if let Some(assignment) = self.assignments.get_mut(id) {
                assignment.watermark.commit_failed();
            }
        }
    }

    /// The offsets of these assignments that have moved since they were last asked for.
    fn positions(&mut self, ids: &[AssignmentId]) -> Offsets {
        let position = |id: &AssignmentId| {
            let assignment = self.assignments.get_mut(id)?;
            Some((assignment.partition.clone(), assignment.watermark.take_position()?))
        };
        ids.iter().filter_map(position).collect()
    }

    /// How long the oldest message of each topic has waited that we know of and have not done.
    fn tell_age(&self) {
        let now = i64::try_from(wall_clock_ms()).unwrap_or(i64::MAX);
        let mut ages: HashMap<&str, i64> = HashMap::new();
        for assignment in self.current.values().filter_map(|id| self.assignments.get(id)) {
            let age = assignment.oldest_ms().map_or(0, |at| now.saturating_sub(at).max(0));
            let oldest = ages.entry(&assignment.partition.topic).or_default();
            *oldest = age.max(*oldest);
        }
        for (topic, age_ms) in ages {
            telemetry::oldest_message(topic, &self.workshop.group, age_ms);
        }
    }

    fn tell_status(&self) {
        let assigned = self.current.len();
        let held = self.current.values().filter(|id| self.lanes.is_held(**id)).count();
        telemetry::assignment(&self.workshop.group, assigned, held);
        self.status
            .send_modify(|status| *status = Status { assigned_partitions: assigned, held_partitions: held, ..*status });
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
