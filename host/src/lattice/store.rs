//! What the lattice knows: links and configs in JetStream buckets, with a copy in this process that a watch keeps up to date. Links are
//! changed by compare-and-set, so that two hosts never undo each other's change. A config that is deleted stays in the copy until nothing
//! here uses it.

mod copy;

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(crate) use copy::Change;
use copy::{Copy, Specification};

use super::LatticeError;
use super::wire::{ConfigMap, Link};
use crate::limits;

const COMPONENT: &str = "COMPONENT_";

/// The buckets of one lattice and the copy of them.
pub(crate) struct Store {
    data: kv::Store,
    configs: kv::Store,
    copy: Mutex<Copy>,
}

/// Why the lattice's data could not be changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError<E: std::error::Error> {
    #[error("{0}")]
    Refused(E),
    #[error("the lattice's data is not at hand: {0}")]
    Unavailable(String),
    #[error("others change the same entry all the time: try again")]
    Contended,
}

fn unavailable<E: std::error::Error>(error: impl std::fmt::Display) -> StoreError<E> {
    StoreError::Unavailable(error.to_string())
}

impl Store {
    /// Opens the lattice's buckets, makes those that are missing, and loads everything in them.
    pub(crate) async fn open(jetstream: &jetstream::Context, lattice: &str) -> Result<Self, LatticeError> {
        let data = bucket(jetstream, format!("LATTICEDATA_{lattice}")).await?;
        let configs = bucket(jetstream, format!("CONFIGDATA_{lattice}")).await?;
        let store = Self { data, configs, copy: Mutex::new(Copy::default()) };
        for (bucket, is_data) in [(&store.data, true), (&store.configs, false)] {
            let fail = |error: String| LatticeError::Bucket { bucket: bucket.name.clone(), reason: error };
            let mut keys = bucket.keys().await.map_err(|error| fail(error.to_string()))?;
            while let Some(key) = keys.next().await {
                let key = key.map_err(|error| fail(error.to_string()))?;
                let entry = bucket.entry(key).await.map_err(|error| fail(error.to_string()))?;
                if let Some(entry) = entry {
                    store.apply(is_data, &entry);
                }
            }
        }
        Ok(store)
    }

    fn copy(&self) -> std::sync::MutexGuard<'_, Copy> {
        self.copy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, is_data: bool, entry: &kv::Entry) -> Option<Change> {
        let value = matches!(entry.operation, kv::Operation::Put).then_some(&entry.value[..]);
        match (is_data, entry.key.strip_prefix(COMPONENT)) {
            (true, Some(id)) => self.copy().specification(id, entry.revision, value),
            (true, None) => None,
            (false, _) => self.copy().config(&entry.key, entry.revision, value),
        }
    }

    /// Follows both buckets until told to stop, and says what changed.
    pub(crate) async fn watch(self: Arc<Self>, changes: mpsc::Sender<Change>, stop: CancellationToken) {
        let following = futures::future::join(self.follow(true, &changes), self.follow(false, &changes));
        tokio::select! {
            _ = following => {}
            () = stop.cancelled() => {}
        }
    }

    async fn follow(&self, is_data: bool, changes: &mpsc::Sender<Change>) {
        let bucket = if is_data { &self.data } else { &self.configs };
        loop {
            // With history: whatever changed between loading and watching, or while the watch was broken, comes now.
            match bucket.watch_with_history(">").await {
                Ok(mut watch) => {
                    while let Some(entry) = watch.next().await {
                        match entry {
                            Ok(entry) => {
                                if let Some(change) = self.apply(is_data, &entry)
                                    && changes.send(change).await.is_err()
                                {
                                    return;
                                }
                            }
                            Err(error) => {
                                tracing::warn!(bucket = bucket.name, %error, "the watch broke; watching again");
                                break;
                            }
                        }
                    }
                }
                Err(error) => tracing::warn!(bucket = bucket.name, %error, "cannot watch; trying again"),
            }
            tokio::time::sleep(limits::CONNECT_RETRY).await;
        }
    }

    /// All links of the lattice.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.copy().links()
    }

    /// A config as this host knows it, even if it has been deleted since.
    pub(crate) fn known_config(&self, name: &str) -> Option<ConfigMap> {
        self.copy().known(name)
    }

    /// Makes sure that these configs are known, if the lattice has them: the watch may be behind a command that another host announced.
    pub(crate) async fn load_configs(&self, names: &[String]) -> Result<(), String> {
        for name in names {
            if self.known_config(name).is_some() && !self.is_deleted(name) {
                continue;
            }
            if let Some(entry) = self.configs.entry(name.clone()).await.map_err(|error| error.to_string())? {
                self.apply(false, &entry);
            }
        }
        Ok(())
    }

    /// A config as it is stored now.
    pub(crate) async fn stored_config(&self, name: &str) -> Result<Option<ConfigMap>, String> {
        let value = self.configs.get(name).await.map_err(|error| error.to_string())?;
        value.map(|value| serde_json::from_slice(&value).map_err(|error| error.to_string())).transpose()
    }

    /// Stores a config.
    pub(crate) async fn put_config(&self, name: &str, config: &ConfigMap) -> Result<(), String> {
        let value = serde_json::to_vec(config).map_err(|error| error.to_string())?;
        self.configs.put(name, value.into()).await.map_err(|error| error.to_string())?;
        Ok(())
    }

    /// Deletes a config.
    pub(crate) async fn delete_config(&self, name: &str) -> Result<(), String> {
        self.configs.purge(name).await.map_err(|error| error.to_string())
    }

    /// Whether it was deleted and not put back.
    pub(crate) fn is_deleted(&self, name: &str) -> bool {
        self.copy().is_deleted(name)
    }

    /// Nobody here uses it any more.
    pub(crate) fn forget_deleted(&self, name: &str) {
        self.copy().forget_deleted(name);
    }

    /// Changes the links of one source; `change` may run several times, each time on what is stored then.
    pub(crate) async fn change_links<T, E: std::error::Error>(
        &self,
        source: &str,
        mut change: impl FnMut(&mut Vec<Link>) -> Result<T, E>,
    ) -> Result<T, StoreError<E>> {
        let mut outcome = None;
        self.change(source, |specification| {
            let was = specification.links.clone();
            outcome = Some(change(&mut specification.links)?);
            Ok(specification.links != was)
        })
        .await?;
        outcome.ok_or(StoreError::Contended)
    }

    /// Makes sure that a component or provider has an entry with its reference. Links that are there stay. Whether the copy did not have
    /// the latest of them.
    pub(crate) async fn set_reference(&self, id: &str, reference: &str) -> Result<bool, StoreError<Infallible>> {
        self.change(id, |specification| {
            let changed = specification.url != reference;
            specification.url = reference.to_owned();
            Ok(changed)
        })
        .await
    }

    /// Reads, changes and writes under the revision that was read. Nothing is written if nothing changed. Whether the copy was behind.
    async fn change<E: std::error::Error>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut Specification) -> Result<bool, E>,
    ) -> Result<bool, StoreError<E>> {
        let key = format!("{COMPONENT}{id}");
        for _ in 0..limits::MAX_LINK_ATTEMPTS {
            let entry = self.data.entry(key.clone()).await.map_err(unavailable)?;
            let revision = entry.as_ref().map_or(0, |entry| entry.revision);
            let stored = entry.filter(|entry| matches!(entry.operation, kv::Operation::Put));
            let mut specification = match stored {
                Some(entry) => serde_json::from_slice(&entry.value).map_err(unavailable)?,
                None => Specification::default(),
            };
            let behind = self.copy().is_behind(id, revision);
            if !change(&mut specification).map_err(StoreError::Refused)? {
                self.copy().adopt(id, revision, specification);
                return Ok(behind);
            }
            let value = serde_json::to_vec(&specification).map_err(unavailable)?;
            match self.data.update(&key, value.clone().into(), revision).await {
                Ok(revision) => {
                    // Own changes are seen at once; the watch brings the same revision again, which changes nothing.
                    self.copy().adopt(id, revision, specification);
                    return Ok(behind);
                }
                Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => {
                    let pause = rand::random_range(1..20);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(StoreError::Contended)
    }
}

async fn bucket(jetstream: &jetstream::Context, name: String) -> Result<kv::Store, LatticeError> {
    let fail = |reason: String| LatticeError::Bucket { bucket: name.clone(), reason };
    if let Ok(store) = jetstream.get_key_value(&name).await {
        return Ok(store);
    }
    match jetstream.create_key_value(kv::Config { bucket: name.clone(), ..Default::default() }).await {
        Ok(store) => Ok(store),
        // Two hosts may start at once: whoever comes second finds it made.
        Err(error) => jetstream.get_key_value(&name).await.map_err(|_| fail(error.to_string())),
    }
}
