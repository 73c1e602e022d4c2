//! What a host says to a provider over NATS: links, settings, health, the end. Invariant: a message that cannot be read changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;
use serde::Deserialize;
use tokio::task::JoinSet;

use super::Provider;
use super::host_data::{HostData, Pairs, SecretValue, secret_pairs};
use super::link::{Link, Opener};

/// The subscriptions.
pub(crate) struct Control {
    nats: Client,
    host_id: String,
    put: Subscriber,
    delete: Subscriber,
    health: Subscriber,
    configure: Subscriber,
    shutdown: Subscriber,
}

/// How it ended.
pub(crate) struct Ended(Option<Subject>);

#[derive(Default, Deserialize)]
#[serde(default)]
struct Shutdown {
    host_id: String,
}

impl Ended {
    /// Nobody waits for an answer.
    pub(crate) fn quietly() -> Self {
        Self(None)
    }

    /// Tells the host that all is done; it may kill us from then on.
    pub(crate) async fn acknowledge(self, nats: &Client) {
        if let Some(reply) = self.0
            && let Err(error) = nats.publish(reply, Bytes::from_static(b"shutting down")).await
        {
            tracing::warn!(%error, "the host does not hear that we end");
        }
    }
}

impl Control {
    /// Subscribes to everything that the host says. `links` is where it sends links (a key of ours or our id).
    ///
    /// # Errors
    /// When NATS is not there.
    pub(crate) async fn subscribe(nats: Client, data: &HostData, links: &str) -> anyhow::Result<Self> {
        let prefix = format!("wasmbus.rpc.{}", data.lattice_rpc_prefix);
        let (nats, id) = (&nats, data.provider_key.as_str());
        let to = |who: &str, what: &str| {
            let subject = format!("{prefix}.{who}.{what}");
            async move { nats.subscribe(subject).await.context("subscribing to what the host says") }
        };
        let control = Self {
            put: to(links, "linkdefs.put").await?,
            delete: to(id, "linkdefs.del").await?,
            health: to(id, "health").await?,
            configure: to(id, "config.update").await?,
            shutdown: to(id, "default.shutdown").await?,
            host_id: data.host_id.clone(),
            nats: nats.clone(),
        };
        nats.flush().await.context("subscribing to what the host says")?;
        Ok(control)
    }

    /// Does what the host says until it says the end.
    pub(crate) async fn run(
        &mut self,
        provider: Arc<dyn Provider>,
        opener: &Opener,
        secrets: BTreeMap<String, SecretValue>,
    ) -> Ended {
        let mut checks = JoinSet::new();
        loop {
            tokio::select! {
                // A link is given new settings by a deletion and a put, one right after the other, on two subjects: of two that are both
                // here, the deletion was first.
                biased;
                Some(message) = self.delete.next() => delete(provider.as_ref(), opener, &message),
                Some(message) = self.put.next() => match serde_json::from_slice::<Link>(&message.payload) {
                    Ok(link) => put(provider.as_ref(), opener, link),
                    Err(error) => unreadable("a link", &error),
                },
                Some(message) = self.configure.next() => match serde_json::from_slice::<Pairs>(&message.payload) {
                    Ok(mut pairs) => {
                        // Secrets come with the start only, and stay.
                        pairs.extend(secret_pairs(secrets.clone()).unwrap_or_default());
                        tracing::info!("other settings");
                        provider.configure(pairs);
                    }
                    Err(error) => unreadable("settings", &error),
                },
                Some(message) = self.shutdown.next() => {
                    let asked = serde_json::from_slice::<Shutdown>(&message.payload).unwrap_or_default();
                    // The same provider may run under other hosts too.
                    if asked.host_id == self.host_id {
                        return Ended(message.reply);
                    }
                }
                Some(message) = self.health.next() => {
                    let (provider, nats) = (provider.clone(), self.nats.clone());
                    checks.spawn(async move { check(provider.as_ref(), &nats, message).await });
                }
                Some(_) = checks.join_next() => {}
                else => return Ended::quietly(),
            }
        }
    }
}

/// Takes a link, or says why not: there is no other answer to a put.
pub(crate) fn put(provider: &dyn Provider, opener: &Opener, link: Link) {
    let (source, target) = (link.source_id.clone(), link.target.clone());
    match opener.open(link) {
        Ok(link) => {
            tracing::info!(link = %link.id, "a link");
            provider.put_link(link);
        }
        Err(error) => tracing::error!(source, target, %error, "the link is not taken"),
    }
}

fn delete(provider: &dyn Provider, opener: &Opener, message: &Message) {
    match serde_json::from_slice::<Link>(&message.payload) {
        Ok(link) => match opener.identify(&link) {
            Ok((id, _)) => {
                tracing::info!(link = %id, "a link is gone");
                provider.delete_link(&id);
            }
            Err(error) => tracing::error!(%error, "a deletion of a link is not taken"),
        },
        Err(error) => unreadable("a deletion of a link", &error),
    }
}

/// serde's own text may quote a value.
fn unreadable(what: &str, error: &serde_json::Error) {
    tracing::error!(line = error.line(), column = error.column(), "{what} cannot be read");
}

async fn check(provider: &dyn Provider, nats: &Client, message: Message) {
    let Some(reply) = message.reply else { return };
    let health = provider.health().await;
    match serde_json::to_vec(&health) {
        Ok(answer) => {
            if let Err(error) = nats.publish(reply, answer.into()).await {
                tracing::warn!(%error, "the host does not hear how we are");
            }
        }
        Err(error) => tracing::error!(%error, "a health check cannot be answered"),
    }
}
