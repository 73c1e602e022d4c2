//! What every part of the control plane may use: who this host is, what it says, what the lattice and the host know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use super::clock::human;
use super::events::Events;
use super::identity::Identity;
use super::inventory::Inventory;
use super::labels::Labels;
use super::ports::{Calls, Processes, Registries, Work};
use super::settings::{Owner, SettingsError, Sources, resolve, resolve_policy};
use super::store::Store;
use crate::manifest::{SecretSource, Settings};

/// The version that the host tells; wadm drops heartbeats whose version is no semantic version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// This host as a member of its lattice.
pub(crate) struct Member {
    pub(crate) lattice: String,
    pub(crate) identity: Identity,
    pub(crate) began: Instant,
    pub(crate) labels: Labels,
    pub(crate) events: Events,
    pub(crate) store: Arc<Store>,
    pub(crate) work: Arc<dyn Work>,
    pub(crate) calls: Arc<dyn Calls>,
    pub(crate) processes: Option<Arc<dyn Processes>>,
    pub(crate) registries: Arc<dyn Registries>,
    pub(crate) secrets: Arc<dyn SecretSource + Send + Sync>,
    /// For legacy notes to providers.
    pub(crate) rpc: async_nats::Client,
    /// Longest call of any component.
    pub(crate) max_execution_time: Duration,
    pub(crate) inventory: Mutex<Inventory>,
    /// All tasks that commands and changes start.
    pub(crate) tasks: TaskTracker,
}

impl Member {
    pub(crate) fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Settings of the named configs, as this host knows them.
    pub(crate) async fn settings(&self, names: &[String], owner: Owner) -> Result<Settings, String> {
        self.store.load_configs(names).await?;
        self.known_settings(names, owner).map_err(|error| error.to_string())
    }

    /// The same without asking the lattice.
    pub(crate) fn known_settings(&self, names: &[String], owner: Owner) -> Result<Settings, SettingsError> {
        let configs = |name: &str| self.store.known_config(name);
        resolve(names, owner, &Sources { configs: &configs, secrets: self.secrets.as_ref() })
    }

    /// The keys of a link's policy, of the configs as this host knows them.
    pub(crate) fn known_policy(&self, names: &[String]) -> Result<Settings, SettingsError> {
        resolve_policy(names, &|name| self.store.known_config(name))
    }

    /// Whether something that runs here takes settings from this config.
    pub(crate) fn uses(&self, config: &str) -> bool {
        let inventory = self.inventory();
        let (components, providers) = inventory.users_of(config);
        if !components.is_empty() || !providers.is_empty() {
            return true;
        }
        let here = |id: &str| inventory.has(id);
        let links = self.store.links();
        let mut own = links.iter().filter(|link| here(&link.source_id) || here(&link.target));
        own.any(|link| link.configs().any(|name| name == config))
    }

    /// What `host.get` answers and heartbeats say.
    pub(crate) fn inventory_json(&self) -> Value {
        let uptime = self.began.elapsed();
        let labels = self.labels.get();
        let inventory = self.inventory();
        json!({
            "host_id": self.identity.id,
            "friendly_name": self.identity.friendly_name,
            "labels": labels,
            "version": VERSION,
            "uptime_human": human(uptime),
            "uptime_seconds": uptime.as_secs(),
            "components": inventory.components_json(),
            "providers": inventory.providers_json(),
        })
    }
}
