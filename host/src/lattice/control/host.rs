//! Requests about the host itself: who are you, what runs, labels, credentials, stop.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Control, read};
use crate::lattice::clock::human;
use crate::lattice::member::VERSION;
use crate::lattice::wire::{Label, RegistryCredential, Reply, StopHost};

impl Control {
    pub(super) fn ping(&self) -> Reply {
        let (member, uptime) = (&self.member, self.member.began.elapsed());
        Reply::with(json!({
            "id": member.identity.id,
            "friendly_name": member.identity.friendly_name,
            "labels": member.labels.get(),
            "lattice": member.lattice,
            "uptime_human": human(uptime),
            "uptime_seconds": uptime.as_secs(),
            "version": VERSION,
        }))
    }

    pub(super) async fn stop_host(&self, body: &[u8]) -> Reply {
        let command = if body.is_empty() { Ok(StopHost::default()) } else { read::<StopHost>(body) };
        let command = match command {
            Ok(command) => command,
            Err(reply) => return reply,
        };
        if self.is_for_another(&command.host_id) {
            return Reply::refused(format!("this host is {}", self.member.identity.id));
        }
        tracing::info!(timeout_ms = command.timeout, "asked to stop");
        // The answer leaves first: the task that ends the host runs after this one has published it.
        let stop = self.stop.clone();
        self.member.tasks.spawn(async move {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stop.cancel();
        });
        Reply::done("")
    }

    pub(super) async fn put_label(&self, body: &[u8]) -> Reply {
        match read::<Label>(body) {
            Ok(label) => match self.member.labels.put(&label.key, &label.value) {
                Ok(()) => self.labels_changed().await,
                Err(error) => Reply::refused(error.to_string()),
            },
            Err(reply) => reply,
        }
    }

    pub(super) async fn delete_label(&self, body: &[u8]) -> Reply {
        match read::<Label>(body) {
            Ok(label) => match self.member.labels.remove(&label.key) {
                Ok(true) => self.labels_changed().await,
                Ok(false) => Reply::done("the host has no such label"),
                Err(error) => Reply::refused(error.to_string()),
            },
            Err(reply) => reply,
        }
    }

    async fn labels_changed(&self) -> Reply {
        let data = json!({"host_id": self.member.identity.id, "labels": self.member.labels.get()});
        self.member.events.publish("labels_changed", data).await;
        // wadm does not listen to that event; a heartbeat tells it.
        self.beat.notify_one();
        Reply::done("")
    }

    pub(super) fn put_registries(&self, body: &[u8]) -> Reply {
        let credentials = match read::<BTreeMap<String, RegistryCredential>>(body) {
            Ok(credentials) => credentials,
            Err(reply) => return reply,
        };
        for (registry, credential) in credentials {
            tracing::info!(registry, "credentials of a registry were put");
            let RegistryCredential { username, password, token } = credential;
            self.member.registries.set_credentials(&registry, username, password, token);
        }
        Reply::done("")
    }
}
