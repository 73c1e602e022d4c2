//! Fits what runs calls, programs and registries to what the control plane asks for. No decisions.

use std::sync::Arc;

use async_nats::Client;
use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::mpsc;

use crate::config::LatticeConfig;
use crate::lattice::provider::{ProviderSettings, ProviderSpec, Providers, What, passed_on};
use crate::lattice::rpc::{Edges, Server};
use crate::lattice::{Calls, ProcessEvent, ProcessPlan, Processes, Registries};
use crate::limits;
use crate::manifest::{ImageReference, LinkPlan, Settings};
use crate::runtime::{Artifacts, RegistryCredentials, Slot};

/// Calls from other hosts.
pub(super) struct ServedCalls(pub Server);

#[async_trait]
impl Calls for ServedCalls {
    async fn serve(&self, id: &str, slot: Arc<Slot>) -> Result<(), String> {
        self.0.serve(id, slot).await.map_err(|error| error.to_string())
    }

    async fn stop(&self, id: &str) {
        self.0.stop(id).await;
    }

    fn set_edges(&self, edges: Edges) {
        self.0.set_edges(edges);
    }
}

/// Logins of registries.
pub(super) struct Credentials(pub Arc<Artifacts>);

impl Registries for Credentials {
    fn set_credentials(
        &self,
        registry: &str,
        user: Option<String>,
        password: Option<SecretString>,
        token: Option<SecretString>,
    ) {
        let credentials = match (user, password, token) {
            (Some(username), Some(password), _) => RegistryCredentials::Basic { username, password },
            (_, _, Some(token)) => RegistryCredentials::Token(token),
            _ => return,
        };
        self.0.registry().set_credentials(registry, credentials);
    }
}

/// Providers that are programs.
pub(super) struct Programs {
    providers: Providers,
    artifacts: Arc<Artifacts>,
}

impl Programs {
    /// None runs yet.
    ///
    /// # Errors
    /// When the thread that starts them cannot be made.
    pub(super) fn new(
        config: &LatticeConfig,
        host: &str,
        nats: Client,
        artifacts: Arc<Artifacts>,
    ) -> std::io::Result<(Self, mpsc::Receiver<ProcessEvent>)> {
        let text = |secret: &Option<SecretString>| secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let settings = ProviderSettings {
            user_jwt: text(&config.calls.jwt).unwrap_or_default(),
            user_seed: config.calls.seed.clone().unwrap_or_default(),
            rpc_timeout: Some(config.rpc_timeout),
            environment: std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(passed_on)).collect(),
            shutdown_delay: config.provider_shutdown_delay,
            guarded: true,
            ..ProviderSettings::new(host, &config.lattice, &config.calls.url, config.cache_dir.join("providers"))
        };
        let (providers, mut events) = Providers::new(settings, nats)?;
        let (sender, receiver) = mpsc::channel(limits::PROVIDER_EVENTS);
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                let id = event.spec.id.clone();
                let event = match event.what {
                    What::Started => ProcessEvent::Started { id },
                    What::StartFailed { error } => ProcessEvent::StartFailed { id, error },
                    What::Stopped { reason } => ProcessEvent::Stopped { id, reason },
                    What::Health { healthy, changed, message } => {
                        if changed {
                            tracing::info!(provider = id, healthy, message, "health of a provider");
                        }
                        ProcessEvent::Health { id, healthy, changed }
                    }
                };
                if sender.send(event).await.is_err() {
                    return;
                }
            }
        });
        Ok((Self { providers, artifacts }, receiver))
    }
}

#[async_trait]
impl Processes for Programs {
    async fn start(&self, plan: ProcessPlan) -> Result<(), String> {
        let image: ImageReference = plan.reference.parse().map_err(|error| format!("{error}"))?;
        let file = match &image {
            ImageReference::File(path) => self.artifacts.file(path).map_err(|error| error.to_string())?,
            ImageReference::Oci(reference) => {
                self.artifacts.registry().pull_provider(reference).await.map_err(|error| error.to_string())?
            }
            ImageReference::Builtin(kind) => return Err(format!("{} runs inside the host", kind.as_str())),
        };
        let spec = ProviderSpec {
            image_ref: plan.reference.strip_prefix("file://").unwrap_or(&plan.reference).to_owned(),
            id: plan.id,
            file,
            annotations: plan.annotations,
            config: plan.config,
        };
        self.providers.start(spec).map_err(|error| error.to_string())
    }

    async fn stop(&self, id: &str) -> bool {
        self.providers.stop(id, "asked to stop").await
    }

    async fn set_config(&self, id: &str, config: Settings) {
        self.providers.set_config(id, config);
    }

    async fn set_links(&self, links: Vec<LinkPlan>) {
        self.providers.set_links(links);
    }

    async fn shutdown_all(&self) {
        self.providers.shutdown_all("the host stops").await;
    }
}
