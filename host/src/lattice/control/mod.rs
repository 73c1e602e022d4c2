//! The control interface: which subjects this host answers, who answers them, and the form of the answers. Every request is answered
//! before slow work begins, because clients wait two seconds. Requests of one subscription are taken one after the other, so that commands
//! keep their order.

mod host;
mod lattice;
mod workload;

use std::sync::Arc;

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt as _;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LatticeError;
use super::commands::{Components, Providers};
use super::member::Member;
use super::wire::Reply;

/// Version of the control interface: part of every subject.
const VERSION: &str = "v1";

/// Answers requests.
pub(crate) struct Control {
    member: Arc<Member>,
    components: Arc<Components>,
    providers: Arc<Providers>,
    /// `wasmbus.ctl.v1.LATTICE`
    prefix: String,
    /// Tells the next heartbeat not to wait.
    beat: Arc<Notify>,
    /// Ends the host.
    stop: CancellationToken,
}

impl Control {
    pub(crate) fn new(
        member: Arc<Member>,
        components: Arc<Components>,
        providers: Arc<Providers>,
        topic: &str,
        beat: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        let prefix = format!("{topic}.{VERSION}.{}", member.lattice);
        Self { member, components, providers, prefix, beat, stop }
    }

    /// Subscribes everything and answers from then on, in tasks of `tasks` that end with `stop`.
    pub(crate) async fn listen(
        self: Arc<Self>,
        nats: &Client,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<(), LatticeError> {
        let fail = |error: String| LatticeError::Subscribe(error);
        let host = &self.member.identity.id;
        // With a queue group exactly one host of the lattice answers.
        let subjects = [
            ("host.ping".to_owned(), None),
            ("component.auction".to_owned(), None),
            ("provider.auction".to_owned(), None),
            ("registry.put".to_owned(), None),
            (format!("component.*.{host}"), None),
            (format!("provider.*.{host}"), None),
            (format!("label.*.{host}"), None),
            (format!("host.*.{host}"), None),
            ("link.*".to_owned(), Some("link")),
            ("claims.get".to_owned(), Some("claims")),
            ("config.>".to_owned(), Some("config")),
        ];
        for (subject, group) in subjects {
            let subject = format!("{}.{subject}", self.prefix);
            let subscriber = match group {
                Some(group) => nats.queue_subscribe(subject, format!("{}.{group}", self.prefix)).await,
                None => nats.subscribe(subject).await,
            };
            let subscriber = subscriber.map_err(|error| fail(error.to_string()))?;
            tasks.spawn(self.clone().answer(nats.clone(), subscriber, stop.clone()));
        }
        nats.flush().await.map_err(|error| fail(error.to_string()))
    }

    async fn answer(self: Arc<Self>, nats: Client, mut requests: Subscriber, stop: CancellationToken) {
        loop {
            let message = tokio::select! {
                message = requests.next() => message,
                () = stop.cancelled() => break,
            };
            let Some(message) = message else { break };
            let reply_to = message.reply.clone();
            let Some(reply) = self.handle(&message).await else { continue };
            if !reply.success {
                tracing::warn!(subject = %message.subject, message = reply.message, "a request is refused");
            }
            if let Some(subject) = reply_to
                && let Err(error) = nats.publish(subject, reply.bytes().into()).await
            {
                tracing::warn!(%error, "an answer was lost");
            }
        }
        if let Err(error) = requests.unsubscribe().await {
            tracing::debug!(%error, "unsubscribed late");
        }
    }

    /// None: stay silent.
    async fn handle(&self, message: &Message) -> Option<Reply> {
        let path = message.subject.strip_prefix(&self.prefix).and_then(|rest| rest.strip_prefix('.'));
        let tokens: Vec<&str> = path.unwrap_or_default().split('.').collect();
        let body = &message.payload[..];
        match tokens.as_slice() {
            ["host", "ping"] => Some(self.ping()),
            ["host", "get", _] => Some(Reply::with(self.member.inventory_json())),
            ["host", "stop", _] => Some(self.stop_host(body).await),
            ["label", "put", _] => Some(self.put_label(body).await),
            ["label", "del", _] => Some(self.delete_label(body).await),
            ["registry", "put"] => Some(self.put_registries(body)),
            ["claims", "get"] => Some(Reply::with(serde_json::json!([]))),
            ["component", "auction"] => self.auction_component(body),
            ["component", "scale", _] => Some(self.scale(body)),
            ["component", "update", _] => Some(self.update(body)),
            ["provider", "auction"] => self.auction_provider(body),
            ["provider", "start", _] => Some(self.start_provider(body)),
            ["provider", "stop", _] => Some(self.stop_provider(body)),
            ["link", "get"] => Some(self.links()),
            ["link", "put"] => Some(self.put_link(body).await),
            ["link", "del"] => Some(self.delete_link(body).await),
            ["config", "get", name] => Some(self.config(name).await),
            ["config", "put", name] => Some(self.put_config(name, body).await),
            ["config", "del", name] => Some(self.delete_config(name).await),
            ["config", "get" | "put" | "del", ..] => Some(Reply::refused("the name of a config has no dots")),
            _ => Some(Reply::refused("unsupported subject")),
        }
    }

    /// Commands name the host, or leave it open.
    fn is_for_another(&self, host: &str) -> bool {
        !host.is_empty() && host != self.member.identity.id
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Reply> {
    serde_json::from_slice(body).map_err(|error| Reply::refused(format!("the request cannot be read: {error}")))
}
