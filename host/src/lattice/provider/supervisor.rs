//! One external provider, from its file to its end. Invariant: what the provider was told last is what is wanted, whatever happened on the way:
//! a restart, a link that changed while it started, a deletion that overtook a put.
//!
//! `Supervisor` lives as long as the provider is wanted; a `Life` as long as one process.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use nkeys::XKey;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::archive::{self, Program};
use super::health::{self, Answer, Tracker, Verdict};
use super::host_data::{self, Keys, Subjects};
use super::links::{self, Repeats};
use super::process::{Launch, Process};
use super::{ProviderClaims, ProviderSpec, Shared, What};
use crate::limits;
use crate::manifest::{LinkPlan, Settings};

/// Somebody wants it to end and waits for that.
pub(super) struct Stop {
    pub(super) reason: String,
    pub(super) done: oneshot::Sender<()>,
}

/// Watches over one provider.
pub(super) struct Supervisor {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: Arc<ProviderSpec>,
    pub(super) links: watch::Receiver<Vec<LinkPlan>>,
    pub(super) config: watch::Receiver<Settings>,
    pub(super) stop: mpsc::Receiver<Stop>,
    pub(super) health: Tracker,
    /// `Started` was told.
    pub(super) started: bool,
    /// What its archive says.
    pub(super) claims: Option<ProviderClaims>,
}

/// How a life ended.
enum Ended {
    /// `None`: nobody is left who could want it.
    Asked(Option<Stop>),
    /// By itself, or it could not even begin.
    Itself(String),
    /// It must begin again to take what only a start can give.
    Renew,
}

impl Supervisor {
    pub(super) async fn run(mut self) {
        let program = match self.open().await {
            Ok(program) => program,
            Err(reason) => return self.fail(reason).await,
        };
        self.claims.clone_from(&program.claims);
        self.shared.note(&self.spec.id, |facts| {
            facts.claims.clone_from(&program.claims);
            facts.digest = Some(program.digest.clone());
        });
        let mut in_a_row = 0;
        loop {
            let born = Instant::now();
            match self.live(&program).await {
                Ended::Asked(stop) => return self.finish(stop).await,
                Ended::Renew => {}
                Ended::Itself(reason) if !self.started => return self.fail(reason).await,
                Ended::Itself(reason) => {
                    in_a_row = if born.elapsed() >= limits::PROVIDER_WELL { 0 } else { in_a_row + 1 };
                    if let Some(stop) = self.pause(reason, in_a_row).await {
                        return self.finish(stop).await;
                    }
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Program, String> {
        let (file, folder) = (self.spec.file.clone(), self.shared.settings.folder.clone());
        let opened = tokio::task::spawn_blocking(move || archive::open(&file, &folder)).await;
        opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// It never ran: whoever waits for its end is told, and its id is free.
    async fn fail(&mut self, error: String) {
        tracing::error!(provider = self.spec.id, image = self.spec.image_ref, error, "cannot start a provider");
        self.shared.leave(&self.spec.id);
        self.tell(What::StartFailed { error }).await;
    }

    async fn finish(&mut self, stop: Option<Stop>) {
        let reason = stop.as_ref().map_or_else(|| "host has stopped".to_owned(), |stop| stop.reason.clone());
        tracing::info!(provider = self.spec.id, reason, "provider has stopped");
        self.shared.leave(&self.spec.id);
        let what = if self.started {
            What::Stopped { reason }
        } else {
            What::StartFailed { error: format!("stopped before it ran: {reason}") }
        };
        self.tell(what).await;
        if let Some(stop) = stop {
            // Whoever asked may have gone.
            let _ = stop.done.send(());
        }
    }

    /// Says that it is down and waits until it may begin again; `Some`: it may not.
    async fn pause(&mut self, reason: String, in_a_row: u32) -> Option<Option<Stop>> {
        let pause = backoff(in_a_row, rand::random_range(0.5..=1.0));
        tracing::warn!(
            provider = self.spec.id,
            reason,
            in_a_row,
            pause_ms = pause.as_millis(),
            "provider ended; starting it again"
        );
        self.shared.note(&self.spec.id, |facts| facts.restarts = facts.restarts.saturating_add(1));
        let verdict = self.health.ended(format!("{reason}; {in_a_row} in a row, starting it again"));
        self.report(verdict).await;
        tokio::select! {
            stop = self.stop.recv() => Some(stop),
            () = tokio::time::sleep(pause) => None,
        }
    }

    async fn report(&self, verdict: Verdict) {
        let Verdict { healthy, message, changed } = verdict;
        self.shared.note(&self.spec.id, |facts| facts.healthy = Some(healthy));
        self.tell(What::Health { healthy, message, changed }).await;
    }

    async fn tell(&self, what: What) {
        self.shared.tell(&self.spec, self.claims.clone(), what).await;
    }

    async fn announce(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            tracing::info!(provider = self.spec.id, image = self.spec.image_ref, "provider has started");
            self.shared.note(&self.spec.id, |facts| facts.started = true);
            self.tell(What::Started).await;
        }
    }

    /// One process, from start to end.
    async fn live(&mut self, program: &Program) -> Ended {
        let mut life = match Life::begin(self, program).await {
            Ok(life) => life,
            Err(reason) => return Ended::Itself(format!("it cannot be started: {reason}")),
        };
        let ended = life.run(self).await;
        if !matches!(ended, Ended::Itself(_)) {
            life.end(self).await;
        }
        self.shared.note(&self.spec.id, |facts| facts.pid = None);
        ended
    }
}

/// Doubles with every end in a row, up to a limit; `jitter` keeps many of them apart.
fn backoff(in_a_row: u32, jitter: f64) -> Duration {
    let doubled = limits::PROVIDER_RESTART.saturating_mul(2_u32.saturating_pow(in_a_row.saturating_sub(1)));
    doubled.min(limits::PROVIDER_RESTART_MAX).mul_f64(jitter)
}

/// One process and what it was told.
struct Life {
    process: Process,
    keys: Keys,
    subjects: Subjects,
    deletions: Subscriber,
    /// What it has, as far as we know.
    links: Vec<LinkPlan>,
    config: Settings,
    /// It may have missed messages, because it was still starting.
    deaf: bool,
    /// What it was given at its birth or later and may still have, though it is not wanted.
    gone: Vec<LinkPlan>,
    repeats: Repeats,
    born: Instant,
    answered: bool,
}

impl Life {
    async fn begin(supervisor: &mut Supervisor, program: &Program) -> Result<Self, String> {
        let (shared, id) = (supervisor.shared.clone(), supervisor.spec.id.clone());
        let keys = Keys { host: shared.key.clone(), provider: XKey::new() };
        let subjects = Subjects::new(&shared.settings.lattice, &id, &keys);
        // Before the provider is there, so that no deletion passes unseen.
        let deletions = shared.nats.subscribe(subjects.delete.clone()).await.map_err(|error| error.to_string())?;
        let links = supervisor.links.borrow_and_update().clone();
        let config = supervisor.config.borrow_and_update().clone();
        let line = host_data::line(&shared.settings, &id, &config, &links, &keys)?;
        let launch = Launch {
            id: &id,
            program: &program.path,
            environment: &shared.settings.environment,
            guarded: shared.settings.guarded,
            line,
        };
        let process = Process::start(&shared.spawner, &launch).await.map_err(|error| error.to_string())?;
        shared.note(&id, |facts| facts.pid = process.pid());
        Ok(Self {
            process,
            keys,
            subjects,
            deletions,
            links,
            config,
            deaf: false,
            gone: Vec::new(),
            repeats: Repeats::default(),
            born: Instant::now(),
            answered: false,
        })
    }

    async fn run(&mut self, supervisor: &mut Supervisor) -> Ended {
        let mut question = self.question(supervisor);
        let grace = self.born + limits::PROVIDER_START;
        loop {
            tokio::select! {
                status = self.process.wait() => return Ended::Itself(match status {
                    Ok(status) => format!("it ended by itself: {status}"),
                    Err(error) => format!("it cannot be waited for: {error}"),
                }),
                stop = supervisor.stop.recv() => return Ended::Asked(stop),
                Ok(()) = supervisor.links.changed() => {
                    let wanted = supervisor.links.borrow_and_update().clone();
                    self.relink(supervisor, wanted).await;
                }
                Ok(()) = supervisor.config.changed() => {
                    let wanted = supervisor.config.borrow_and_update().clone();
                    if !links::same_secrets(&wanted, &self.config) {
                        // A secret does not travel in a message: it takes a new start.
                        return Ended::Renew;
                    }
                    self.reconfigure(supervisor, wanted).await;
                }
                Some(message) = self.deletions.next() => {
                    if let Some(pair) = links::pair(&message.payload) {
                        self.repeats.plan(pair, Instant::now());
                    }
                }
                () = self.repeats.due() => self.repeat(supervisor).await,
                () = tokio::time::sleep_until(grace), if !supervisor.started => supervisor.announce().await,
                answer = &mut question => {
                    self.hear(supervisor, answer).await;
                    question = self.question(supervisor);
                }
            }
        }
    }

    /// The next health check.
    fn question(&self, supervisor: &Supervisor) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        let settings = &supervisor.shared.settings;
        let until_first = (self.born + settings.first_health).saturating_duration_since(Instant::now());
        let after = match (self.answered, until_first.is_zero()) {
            (true, true) => settings.health_interval,
            (true, false) => until_first,
            // It starts slowly, or hangs: soon enough to notice either.
            (false, true) => settings.first_health,
            (false, false) => limits::PROVIDER_PROBE,
        };
        Box::pin(health::ask(supervisor.shared.nats.clone(), self.subjects.health.clone(), after))
    }

    async fn hear(&mut self, supervisor: &mut Supervisor, answer: Answer) {
        let early = self.born.elapsed() < supervisor.shared.settings.first_health;
        if answer == Answer::Silence && early {
            return;
        }
        if answer != Answer::Silence {
            supervisor.announce().await;
            self.answered = true;
            if std::mem::replace(&mut self.deaf, false) {
                // It listens now: once more what it may have missed.
                self.tell_again(supervisor).await;
            }
        }
        if let Some(verdict) = supervisor.health.judge(answer) {
            supervisor.report(verdict).await;
        }
    }

    /// Brings its links to what is wanted.
    async fn relink(&mut self, supervisor: &Supervisor, wanted: Vec<LinkPlan>) {
        self.deaf |= !self.answered;
        for link in &self.links {
            // A changed link is deleted, and put when the deletion has passed: the SDK ignores a put for a link that it has.
            if !wanted.iter().any(|other| links::same(link, other)) {
                self.delete(supervisor, link).await;
                self.gone.push(link.clone());
            }
        }
        for link in &wanted {
            self.gone.retain(|gone| !links::same_key(gone, link));
            if !self.links.iter().any(|other| links::same_key(link, other)) {
                self.put(supervisor, link).await;
            }
        }
        self.links = wanted;
        if self.answered {
            self.gone.clear();
        }
    }

    async fn reconfigure(&mut self, supervisor: &Supervisor, wanted: Settings) {
        if wanted.values != self.config.values {
            self.deaf |= !self.answered;
            self.config = wanted;
            self.tell_config(supervisor).await;
        }
    }

    async fn tell_config(&self, supervisor: &Supervisor) {
        let update = serde_json::to_vec(&self.config.values).map_err(|error| error.to_string());
        self.publish(supervisor, self.subjects.config.clone(), update).await;
    }

    async fn tell_again(&mut self, supervisor: &Supervisor) {
        self.tell_config(supervisor).await;
        for link in std::mem::take(&mut self.gone) {
            self.delete(supervisor, &link).await;
        }
        for link in &self.links {
            // As if each had been deleted: a link whose settings changed meanwhile is one that the SDK ignores otherwise.
            self.delete(supervisor, link).await;
        }
    }

    /// Puts again what a deletion may have taken along.
    async fn repeat(&mut self, supervisor: &Supervisor) {
        for pair in self.repeats.take(Instant::now()) {
            for link in self.links.iter().filter(|link| pair.joins(link)) {
                self.put(supervisor, link).await;
            }
        }
    }

    async fn put(&self, supervisor: &Supervisor, link: &LinkPlan) {
        let message = host_data::put(link, &supervisor.spec.id, &self.keys);
        self.publish(supervisor, self.subjects.put.clone(), message).await;
    }

    async fn delete(&self, supervisor: &Supervisor, link: &LinkPlan) {
        self.publish(supervisor, self.subjects.delete.clone(), host_data::delete(link)).await;
    }

    async fn publish(&self, supervisor: &Supervisor, subject: String, message: Result<Vec<u8>, String>) {
        let sent = match message {
            Ok(message) => {
                let sent = supervisor.shared.nats.publish(subject.clone(), message.into()).await;
                sent.map_err(|error| error.to_string())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            tracing::error!(provider = supervisor.spec.id, subject, error, "cannot tell a provider");
        }
    }

    /// Asks it to end, waits as long as providers may take, then ends it by force.
    async fn end(&mut self, supervisor: &Supervisor) {
        let settings = &supervisor.shared.settings;
        let deadline = Instant::now() + settings.shutdown_delay;
        let request = serde_json::json!({ "host_id": settings.host_id }).to_string();
        let asked = supervisor.shared.nats.request(self.subjects.shutdown.clone(), request.into());
        tokio::select! {
            _ = tokio::time::timeout_at(deadline, asked) => {}
            _ = self.process.wait() => {}
        }
        if tokio::time::timeout_at(deadline, self.process.wait()).await.is_err() {
            tracing::warn!(provider = supervisor.spec.id, "provider did not stop in time and is killed");
            self.process.kill().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let millis: Vec<_> = [1, 2, 3, 4].map(|n| backoff(n, 1.0).as_millis()).into();
        assert_eq!(millis, [100, 200, 400, 800]);
        assert_eq!(backoff(u32::MAX, 1.0), limits::PROVIDER_RESTART_MAX);
        assert_eq!(backoff(2, 0.5).as_millis(), 100);
    }
}
