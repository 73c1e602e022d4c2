//! Carries out commands to providers: built-ins of this host, and programs of their own.

use std::sync::Arc;

use super::queue::{Full, Queue};
use crate::lattice::events::Health;
use crate::lattice::inventory::{Kind, Provider};
use crate::lattice::member::Member;
use crate::lattice::ports::{ProcessEvent, ProcessPlan};
use crate::lattice::routes::Routes;
use crate::lattice::settings::Owner;
use crate::lattice::wire::StartProvider;
use crate::manifest::{CapabilityPlan, ImageReference};

const BUILTIN_SCHEME: &str = "wasmcloud+builtin://";

/// Commands to providers, and what became of them.
pub(crate) struct Providers {
    member: Arc<Member>,
    routes: Arc<Routes>,
    queue: Queue<Command>,
}

#[derive(Clone, Debug)]
enum Command {
    Start,
    Stop,
    Reconfigure,
    Process(ProcessEvent),
    Health { healthy: bool },
}

/// Why a command is refused at once.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    #[error("provider with that ID is already running")]
    Running,
    #[error("provider with that ID is not running")]
    NotRunning,
    #[error(transparent)]
    Full(#[from] Full),
}

impl Providers {
    pub(crate) fn new(member: Arc<Member>, routes: Arc<Routes>) -> Self {
        Self { member, routes, queue: Queue::default() }
    }

    /// Takes a start command; it is done later.
    pub(crate) fn start(self: &Arc<Self>, command: StartProvider) -> Result<(), ProviderError> {
        let kind = if command.provider_ref.starts_with(BUILTIN_SCHEME) { Kind::Builtin } else { Kind::Process };
        let id = command.provider_id;
        let provider = Provider {
            reference: command.provider_ref,
            annotations: command.annotations.unwrap_or_default(),
            configs: command.config,
            kind,
            running: false,
            healthy: None,
        };
        {
            let mut inventory = self.member.inventory();
            if inventory.providers.contains_key(&id) {
                return Err(ProviderError::Running);
            }
            inventory.providers.insert(id.clone(), provider);
        }
        self.submit(&id, Command::Start).inspect_err(|_| {
            self.member.inventory().providers.remove(&id);
        })?;
        Ok(())
    }

    /// Takes a stop command; it is done later.
    pub(crate) fn stop(self: &Arc<Self>, id: &str) -> Result<(), ProviderError> {
        if !self.member.inventory().providers.contains_key(id) {
            return Err(ProviderError::NotRunning);
        }
        Ok(self.submit(id, Command::Stop)?)
    }

    /// Every provider that takes settings from this config gets them anew.
    pub(crate) fn reconfigure_users(self: &Arc<Self>, config: &str) {
        let (_, users) = self.member.inventory().users_of(config);
        for id in users {
            self.note(&id, Command::Reconfigure);
        }
    }

    /// Something happened to a provider's process.
    pub(crate) fn process(self: &Arc<Self>, event: ProcessEvent) {
        let (ProcessEvent::Started { id }
        | ProcessEvent::StartFailed { id, .. }
        | ProcessEvent::Stopped { id, .. }
        | ProcessEvent::Health { id, .. }) = &event;
        self.note(&id.clone(), Command::Process(event));
    }

    /// Whether what a built-in sets in motion works.
    pub(crate) fn health(self: &Arc<Self>, id: &str, healthy: bool) {
        self.note(id, Command::Health { healthy });
    }

    fn note(self: &Arc<Self>, id: &str, command: Command) {
        if let Err(error) = self.submit(id, command) {
            tracing::error!(id, %error, "a change of a provider is lost");
        }
    }

    fn submit(self: &Arc<Self>, id: &str, command: Command) -> Result<(), Full> {
        if self.queue.push(id, command)? {
            let (providers, id) = (self.clone(), id.to_owned());
            self.member.tasks.spawn(async move {
                while let Some(command) = providers.queue.next(&id) {
                    providers.carry_out(&id, command).await;
                }
            });
        }
        Ok(())
    }

    async fn carry_out(&self, id: &str, command: Command) {
        let Some(provider) = self.member.inventory().providers.get(id).cloned() else { return };
        match command {
            Command::Start => self.begin(id, &provider).await,
            Command::Stop => self.end(id, &provider).await,
            Command::Reconfigure => self.reconfigure(id, &provider).await,
            Command::Process(event) => self.happened(id, &provider, event).await,
            Command::Health { healthy } => self.tell_health(id, healthy).await,
        }
    }

    async fn begin(&self, id: &str, provider: &Provider) {
        if let Err(error) = self.member.store.set_reference(id, &provider.reference).await {
            tracing::warn!(id, %error, "the lattice does not know the provider's reference yet");
        }
        // Its links get their settings before it starts, so that it never sees them without.
        self.routes.apply().await;
        let outcome = match provider.kind {
            Kind::Builtin => self.put_builtin(id, provider).await,
            Kind::Process => return self.begin_process(id, provider).await,
        };
        match outcome {
            Ok(()) => {
                self.started(id, provider).await;
                self.tell_health(id, true).await;
            }
            Err(error) => self.failed(id, provider, &error).await,
        }
    }

    async fn begin_process(&self, id: &str, provider: &Provider) {
        let Some(processes) = &self.member.processes else {
            return self.failed(id, provider, "this host runs built-in providers only").await;
        };
        let outcome = match self.member.settings(&provider.configs, Owner::Other).await {
            Ok(config) => {
                let (reference, annotations) = (provider.reference.clone(), provider.annotations.clone());
                processes.start(ProcessPlan { id: id.to_owned(), reference, annotations, config }).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.failed(id, provider, &error).await;
        }
    }

    async fn put_builtin(&self, id: &str, provider: &Provider) -> Result<(), String> {
        let image: ImageReference =
            provider.reference.parse().map_err(|error: crate::manifest::ImageError| error.to_string())?;
        let ImageReference::Builtin(kind) = image else {
            return Err(format!("{} is no built-in", provider.reference));
        };
        let config = self.member.settings(&provider.configs, Owner::Other).await?;
        let plan = CapabilityPlan { name: id.to_owned(), id: id.to_owned(), kind, config };
        self.member.work.put_capability(plan).await.map_err(|error| error.to_string())
    }

    async fn started(&self, id: &str, provider: &Provider) {
        if let Some(provider) = self.member.inventory().providers.get_mut(id) {
            provider.running = true;
        }
        tracing::info!(id, reference = provider.reference, "provider runs");
        self.member.events.provider_started(id, &provider.reference, &provider.annotations).await;
    }

    async fn failed(&self, id: &str, provider: &Provider, error: &str) {
        self.member.inventory().providers.remove(id);
        tracing::error!(id, reference = provider.reference, error, "provider not started");
        self.member.events.provider_start_failed(id, &provider.reference, error).await;
        self.routes.apply().await;
    }

    async fn end(&self, id: &str, provider: &Provider) {
        match provider.kind {
            Kind::Builtin => {
                self.member.work.remove_capability(id).await;
                self.ended(id, provider, "normal").await;
            }
            Kind::Process => {
                let stopping = match &self.member.processes {
                    Some(processes) => processes.stop(id).await,
                    None => false,
                };
                if !stopping {
                    self.ended(id, provider, "it did not run").await;
                }
            }
        }
    }

    async fn ended(&self, id: &str, provider: &Provider, reason: &str) {
        self.member.inventory().providers.remove(id);
        tracing::info!(id, reason, "provider stopped");
        self.member.events.provider_stopped(id, &provider.annotations, reason).await;
        self.routes.apply().await;
    }

    async fn reconfigure(&self, id: &str, provider: &Provider) {
        let outcome = match (provider.kind, &self.member.processes) {
            (Kind::Builtin, _) => self.put_builtin(id, provider).await,
            (Kind::Process, Some(processes)) => match self.member.settings(&provider.configs, Owner::Other).await {
                Ok(config) => {
                    processes.set_config(id, config).await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            (Kind::Process, None) => Ok(()),
        };
        match outcome {
            Ok(()) => tracing::info!(id, "provider has its changed config"),
            Err(error) => {
                tracing::error!(id, error, "the changed config cannot be used, the provider keeps the one before");
                self.tell_health(id, false).await;
            }
        }
    }

    async fn happened(&self, id: &str, provider: &Provider, event: ProcessEvent) {
        match event {
            ProcessEvent::Started { .. } => self.started(id, provider).await,
            ProcessEvent::StartFailed { error, .. } => self.failed(id, provider, &error).await,
            ProcessEvent::Stopped { reason, .. } => self.ended(id, provider, &reason).await,
            ProcessEvent::Health { healthy, .. } => self.tell_health(id, healthy).await,
        }
    }

    async fn tell_health(&self, id: &str, healthy: bool) {
        let before = match self.member.inventory().providers.get_mut(id) {
            Some(provider) => provider.healthy.replace(healthy),
            None => return,
        };
        let health = match (before, healthy) {
            (Some(before), now) if before == now => Health::Same,
            (_, true) => Health::Passed,
            (_, false) => Health::Failed,
        };
        self.member.events.health(id, health).await;
    }
}
