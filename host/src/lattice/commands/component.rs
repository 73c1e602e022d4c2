//! Carries out commands to components. Invariant: whatever fails leaves running what ran, and every command ends in an event that tells
//! what runs afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::decision::{Decision, decide};
use super::queue::{Full, Queue};
use crate::lattice::inventory::{GivenUp, Refused, Running, Version, scaler};
use crate::lattice::member::Member;
use crate::lattice::routes::Routes;
use crate::lattice::settings::Owner;
use crate::lattice::wire::{Scale, Update};
use crate::limits;
use crate::manifest::{ComponentPlan, ImageReference, RuntimeOptions};
use crate::workload::Started;

/// Commands to components, and what became of them.
pub(crate) struct Components {
    member: Arc<Member>,
    routes: Arc<Routes>,
    queue: Queue<Command>,
}

/// What can be asked of a component.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Scale {
        scale: Scale,
        arrived: Instant,
    },
    Update {
        update: Update,
        arrived: Instant,
    },
    /// One of its configs has changed.
    Reconfigure,
    /// The workload went back to the version before by itself.
    RolledBack {
        from: String,
        to: String,
        reason: String,
    },
}

impl Components {
    pub(crate) fn new(member: Arc<Member>, routes: Arc<Routes>) -> Self {
        Self { member, routes, queue: Queue::default() }
    }

    /// Takes a command; it is done later.
    pub(crate) fn submit(self: &Arc<Self>, id: &str, command: Command) -> Result<(), Full> {
        if self.queue.push(id, command)? {
            let (components, id) = (self.clone(), id.to_owned());
            self.member.tasks.spawn(async move {
                while let Some(command) = components.queue.next(&id) {
                    components.carry_out(&id, command).await;
                }
            });
        }
        Ok(())
    }

    /// Every component that takes settings from this config gets them anew.
    pub(crate) fn reconfigure_users(self: &Arc<Self>, config: &str) {
        let (users, _) = self.member.inventory().users_of(config);
        for id in users {
            if let Err(error) = self.submit(&id, Command::Reconfigure) {
                tracing::error!(id, config, %error, "a changed config is not applied");
            }
        }
    }

    /// What runs under an id.
    pub(crate) fn running(&self, id: &str) -> Option<Running> {
        self.member.inventory().components.get(id).cloned()
    }

    async fn carry_out(&self, id: &str, command: Command) {
        match command {
            Command::Scale { scale, arrived } => self.scale(id, &scale, arrived).await,
            Command::Update { update, arrived } => {
                let Some(running) = self.running(id) else {
                    tracing::warn!(id, "the component to update has been stopped meanwhile");
                    return;
                };
                let mut version =
                    Version { reference: update.new_component_ref, digest: String::new(), ..running.version };
                if let Some(annotations) = update.annotations.filter(|annotations| !annotations.is_empty()) {
                    version.annotations = annotations;
                }
                self.start(id, version, arrived).await;
            }
            Command::Reconfigure => self.reconfigure(id).await,
            Command::RolledBack { from, to, reason } => self.rolled_back(id, &from, &to, &reason).await,
        }
    }

    async fn scale(&self, id: &str, command: &Scale, arrived: Instant) {
        let events = &self.member.events;
        let running = self.running(id);
        let annotations = command.annotations.clone().unwrap_or_default();
        let commanded = Version {
            reference: command.component_ref.clone(),
            annotations,
            max_instances: command.count,
            ..Version::default()
        };
        match decide(running.as_ref(), command, arrived) {
            Decision::NothingRuns => events.component_scaled(commanded.scaled(id)).await,
            Decision::Start(version) => self.start(id, *version, arrived).await,
            Decision::Stop => self.stop(id, running).await,
            Decision::StopsAnother => {
                events.component_scaled(commanded.scaled(id)).await;
                if let Some(running) = running {
                    // The event above makes wadm take the component from its record of this host; this one puts it back.
                    events.component_scaled(running.version.scaled(id)).await;
                }
            }
            Decision::GivenUp(reason) => events.component_scale_failed(commanded.scaled(id), &reason).await,
        }
    }

    async fn start(&self, id: &str, mut version: Version, arrived: Instant) {
        match self.bring(id, &version).await {
            Ok((started, granted)) => {
                version.digest.clone_from(&started.digest);
                self.record(id, version.clone(), granted, &started);
                tracing::info!(id, reference = version.reference, digest = started.digest, replaced = ?started.replaced, unchanged = started.unchanged, "component runs");
                self.member.events.component_scaled(version.scaled(id)).await;
            }
            Err(error) => {
                tracing::error!(id, reference = version.reference, error, "component not started");
                if let Some(running) = self.member.inventory().components.get_mut(id) {
                    let scaler = scaler(&version.annotations).map(str::to_owned);
                    running.refused = Some(Refused { scaler, arrived });
                }
                self.member.events.component_scale_failed(version.scaled(id), &error).await;
            }
        }
    }

    fn record(&self, id: &str, version: Version, granted: u32, started: &Started) {
        let mut inventory = self.member.inventory();
        let running = inventory.components.entry(id.to_owned()).or_default();
        let before = std::mem::replace(&mut running.version, version);
        if started.replaced.is_some() {
            running.previous = Some(before);
        }
        (running.granted, running.refused, running.given_up) = (granted, None, None);
    }

    /// Makes this version run, here and for callers elsewhere.
    async fn bring(&self, id: &str, version: &Version) -> Result<(Started, u32), String> {
        let (plan, granted) = self.plan(id, version).await?;
        match self.member.store.set_reference(id, &version.reference).await {
            // A link that was put a moment ago through another host is known before the component is linked.
            Ok(true) => self.routes.apply().await,
            Ok(false) => {}
            Err(error) => tracing::warn!(id, %error, "the lattice does not know the component's reference yet"),
        }
        let started = self.member.work.start(plan).await.map_err(|error| error.to_string())?;
        if let Some(slot) = self.member.work.slot(id)
            && let Err(error) = self.member.calls.serve(id, slot).await
        {
            tracing::error!(id, error, "calls from other hosts do not reach the component");
        }
        Ok((started, granted))
    }

    async fn plan(&self, id: &str, version: &Version) -> Result<(ComponentPlan, u32), String> {
        let image: ImageReference =
            version.reference.parse().map_err(|error: crate::manifest::ImageError| error.to_string())?;
        if matches!(image, ImageReference::Builtin(_)) {
            return Err(format!("{} is a capability of the host: start it as a provider", version.reference));
        }
        let mut config = self.member.settings(&version.configs, Owner::Component).await?;
        let had = self.running(id).map(|running| running.version.configs).unwrap_or_default();
        // The last value of a deleted config is for those that have it, not for newcomers.
        if let Some(gone) =
            version.configs.iter().find(|name| self.member.store.is_deleted(name) && !had.contains(name))
        {
            return Err(format!("the lattice has no config `{gone}`"));
        }
        let granted = self.member.inventory().grant(id, version.max_instances);
        if granted < version.max_instances {
            tracing::info!(id, wanted = version.max_instances, granted, "the host has no room for all instances");
        }
        let options = RuntimeOptions::take(&mut config.values, granted);
        let mut runtime = options.map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            errors.join("; ")
        })?;
        runtime.max_instances = runtime.max_instances.min(granted);
        runtime.execution_timeout = runtime.execution_timeout.min(self.member.max_execution_time);
        limit(&mut runtime, version)?;
        let plan = ComponentPlan { name: id.to_owned(), id: id.to_owned(), image, instances: granted, config, runtime };
        Ok((plan, granted))
    }

    async fn stop(&self, id: &str, running: Option<Running>) {
        // Callers elsewhere are turned away first, so that they find another host while this one finishes its calls.
        self.member.calls.stop(id).await;
        self.member.work.stop(id).await;
        self.member.inventory().components.remove(id);
        tracing::info!(id, "component stopped");
        if let Some(Running { mut version, .. }) = running {
            version.max_instances = 0;
            self.member.events.component_scaled(version.scaled(id)).await;
        }
    }

    async fn reconfigure(&self, id: &str) {
        let Some(running) = self.running(id) else { return };
        let mut version = running.version;
        match self.bring(id, &version).await {
            Ok((started, granted)) => {
                tracing::info!(id, digest = started.digest, "component has its changed config");
                let code_changed = started.digest != version.digest;
                version.digest.clone_from(&started.digest);
                self.record(id, version.clone(), granted, &started);
                if code_changed {
                    self.member.events.component_scaled(version.scaled(id)).await;
                }
            }
            Err(error) => {
                let error = format!("the changed config cannot be used, the component keeps the one before: {error}");
                tracing::error!(id, error);
                self.member.events.component_scale_failed(version.scaled(id), &error).await;
            }
        }
    }

    /// Tells the truth after the workload went back: the new version failed, is gone, and the one before serves.
    async fn rolled_back(&self, id: &str, from: &str, to: &str, reason: &str) {
        let reason = format!("rolled back to {to}: {reason}");
        let (mut failed, serving) = {
            let mut inventory = self.member.inventory();
            let Some(running) = inventory.components.get_mut(id).filter(|running| running.version.digest == from)
            else {
                tracing::warn!(id, from, to, "a version that is not known any more was rolled back");
                return;
            };
            let serving = running.previous.take().filter(|previous| previous.digest == to);
            let serving = serving.unwrap_or_else(|| Version { digest: to.to_owned(), ..running.version.clone() });
            let failed = std::mem::replace(&mut running.version, serving.clone());
            running.given_up = Some(GivenUp { version: failed.clone(), reason: reason.clone(), at: Instant::now() });
            running.refused =
                Some(Refused { scaler: scaler(&failed.annotations).map(str::to_owned), arrived: Instant::now() });
            (failed, serving)
        };
        tracing::error!(id, from, to, reason, "component rolled back");
        if let Some(slot) = self.member.work.slot(id)
            && let Err(error) = self.member.calls.serve(id, slot).await
        {
            tracing::error!(id, error, "calls from other hosts do not reach the component");
        }
        let events = &self.member.events;
        events.component_scale_failed(failed.scaled(id), &reason).await;
        if failed.annotations != serving.annotations {
            failed.max_instances = 0;
            events.component_scaled(failed.scaled(id)).await;
        }
        events.component_scaled(serving.scaled(id)).await;
    }
}

/// Limits of the command: they can only lower what the host allows.
fn limit(runtime: &mut RuntimeOptions, version: &Version) -> Result<(), String> {
    let number = |key: &str| {
        let text = version.limits.as_ref().and_then(|limits| limits.get(key));
        text.map(|text| text.parse::<u64>().map_err(|_| format!("the limit `{key}` is `{text}`, expected a number")))
            .transpose()
    };
    if let Some(bytes) = number("max_memory_limit")? {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX).min(limits::MAX_MEMORY_BYTES);
        runtime.memory_limit_bytes = bytes;
    }
    if let Some(milliseconds) = number("max_execution_time")? {
        runtime.execution_timeout = runtime.execution_timeout.min(Duration::from_millis(milliseconds));
    }
    Ok(())
}
