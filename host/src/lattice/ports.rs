//! What the control plane needs of its surroundings: something that runs components, something that serves calls from other hosts,
//! something that runs providers as processes. Traits, so that the rules of the control plane are tested without any of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::rpc::Edges;
use super::wire::Annotations;
use crate::manifest::{CapabilityPlan, ComponentPlan, LinkPlan, Settings};
use crate::runtime::Slot;
use crate::workload::{ChangeError, Started, Workload};

/// Runs components and built-in capabilities: [`Workload`].
#[async_trait]
pub trait Work: Send + Sync + 'static {
    /// See [`Workload::start`].
    async fn start(&self, plan: ComponentPlan) -> Result<Started, ChangeError>;
    /// See [`Workload::stop`].
    async fn stop(&self, id: &str) -> bool;
    /// See [`Workload::put_capability`].
    async fn put_capability(&self, plan: CapabilityPlan) -> Result<(), ChangeError>;
    /// See [`Workload::remove_capability`].
    async fn remove_capability(&self, id: &str) -> bool;
    /// See [`Workload::set_links`].
    async fn set_links(&self, links: Vec<LinkPlan>) -> Vec<(String, ChangeError)>;
    /// See [`Workload::slot`].
    fn slot(&self, id: &str) -> Option<Arc<Slot>>;
    /// See [`Workload::close`] and [`Workload::drain`].
    async fn drain(&self, limit: Duration);
}

#[async_trait]
impl Work for Workload {
    async fn start(&self, plan: ComponentPlan) -> Result<Started, ChangeError> {
        Self::start(self, plan).await
    }

    async fn stop(&self, id: &str) -> bool {
        Self::stop(self, id).await
    }

    async fn put_capability(&self, plan: CapabilityPlan) -> Result<(), ChangeError> {
        Self::put_capability(self, plan).await
    }

    async fn remove_capability(&self, id: &str) -> bool {
        Self::remove_capability(self, id).await
    }

    async fn set_links(&self, links: Vec<LinkPlan>) -> Vec<(String, ChangeError)> {
        Self::set_links(self, links).await
    }

    fn slot(&self, id: &str) -> Option<Arc<Slot>> {
        Self::slot(self, id)
    }

    async fn drain(&self, limit: Duration) {
        self.close().await;
        Self::drain(self, limit).await;
    }
}

/// Serves calls that come from other hosts and from wash.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// From now on calls to the functions of what runs in the slot are answered; after a swap, to those of the new version.
    ///
    /// # Errors
    /// In words, when the subscriptions cannot be made.
    async fn serve(&self, id: &str, slot: Arc<Slot>) -> Result<(), String>;
    /// No more calls; what has arrived is answered.
    async fn stop(&self, id: &str);
    /// The lattice's links for requests of HTTP: see [`Server::set_edges`](super::rpc::Server::set_edges).
    fn set_edges(&self, edges: Edges);
}

/// A host that no call reaches from elsewhere.
#[async_trait]
impl Calls for () {
    async fn serve(&self, _: &str, _: Arc<Slot>) -> Result<(), String> {
        Ok(())
    }

    async fn stop(&self, _: &str) {}

    fn set_edges(&self, _: Edges) {}
}

/// A provider that is a program of its own.
#[derive(Clone, Debug)]
pub struct ProcessPlan {
    /// Its id.
    pub id: String,
    /// Where its program is, as commanded.
    pub reference: String,
    /// As commanded.
    pub annotations: Annotations,
    /// Its named configs, merged.
    pub config: Settings,
}

/// What happened to a provider's process.
#[derive(Clone, Debug)]
pub enum ProcessEvent {
    /// It runs.
    Started {
        /// The provider.
        id: String,
    },
    /// It could not be started.
    StartFailed {
        /// The provider.
        id: String,
        /// Why.
        error: String,
    },
    /// It ended, as asked or for good.
    Stopped {
        /// The provider.
        id: String,
        /// Why.
        reason: String,
    },
    /// What it said of its health.
    Health {
        /// The provider.
        id: String,
        /// Whether it works.
        healthy: bool,
        /// Whether that is new.
        changed: bool,
    },
}

/// Runs providers as processes. What happens is told as [`ProcessEvent`].
#[async_trait]
pub trait Processes: Send + Sync + 'static {
    /// Starts a provider with the links that [`Processes::set_links`] named last. What comes of it is an event.
    ///
    /// # Errors
    /// In words, when it cannot be started; then there is no event.
    async fn start(&self, plan: ProcessPlan) -> Result<(), String>;
    /// Stops a provider and returns when it has ended, which is also an event. False if it does not run.
    async fn stop(&self, id: &str) -> bool;
    /// Its settings have changed.
    async fn set_config(&self, id: &str, config: Settings);
    /// All links of the lattice that concern providers' processes of this host, with their settings.
    async fn set_links(&self, links: Vec<LinkPlan>);
    /// Stops all of them, politely first.
    async fn shutdown_all(&self);
}

/// Takes credentials for registries.
pub trait Registries: Send + Sync + 'static {
    /// From now on `registry` is asked with a name and a password, or with a token.
    fn set_credentials(
        &self,
        registry: &str,
        user: Option<String>,
        password: Option<SecretString>,
        token: Option<SecretString>,
    );
}

/// A host that pulls nothing.
impl Registries for () {
    fn set_credentials(&self, _: &str, _: Option<String>, _: Option<SecretString>, _: Option<SecretString>) {}
}
