//! What follows from a change of the lattice's data, whoever made it: links reach what runs here, configs reach their users, and a config
//! that was deleted while something uses it is announced again, so that wadm puts it back (§7.4 of the protocol notes).

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::commands::{Components, Providers};
use super::member::Member;
use super::routes::Routes;
use super::store::Change;
use crate::limits;

/// Reminders for one deleted config, each after twice the time.
const REMINDERS: u32 = 4;

/// Hands changes on.
pub(crate) struct Changes {
    pub(crate) member: Arc<Member>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) components: Arc<Components>,
    pub(crate) providers: Arc<Providers>,
}

impl Changes {
    pub(crate) async fn run(self, mut changes: mpsc::Receiver<Change>, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                change = changes.recv() => change,
                () = stop.cancelled() => return,
            };
            let Some(first) = first else { return };
            // wadm puts links and configs in bursts: what has come together is handed on together.
            let mut burst = vec![first];
            while let Ok(change) = changes.try_recv() {
                burst.push(change);
            }
            self.hand_on(burst, &stop).await;
        }
    }

    async fn hand_on(&self, burst: Vec<Change>, stop: &CancellationToken) {
        let (mut set, mut deleted, mut links) = (BTreeSet::new(), BTreeSet::new(), false);
        for change in burst {
            match change {
                Change::Links => links = true,
                Change::ConfigSet(name) => {
                    deleted.remove(&name);
                    set.insert(name);
                }
                Change::ConfigDeleted(name) => {
                    set.remove(&name);
                    deleted.insert(name);
                }
            }
        }
        links |= self.member.store.links().iter().any(|link| link.configs().any(|name| set.contains(name)));
        if links {
            self.routes.apply().await;
        }
        for name in set {
            self.components.reconfigure_users(&name);
            self.providers.reconfigure_users(&name);
        }
        for name in deleted {
            let (member, stop) = (self.member.clone(), stop.clone());
            self.member.tasks.spawn(async move {
                tokio::select! {
                    () = remind(&member, &name) => {}
                    () = stop.cancelled() => {}
                }
            });
        }
    }
}

async fn remind(member: &Member, name: &str) {
    let mut pause = limits::DELETED_CONFIG_REMINDER;
    for _ in 0..REMINDERS {
        tokio::time::sleep(pause).await;
        if !member.store.is_deleted(name) {
            return;
        }
        if !member.uses(name) {
            member.store.forget_deleted(name);
            return;
        }
        tracing::warn!(config = name, "deleted, but still used here with its last value");
        member.events.config(name, true).await;
        pause *= 2;
    }
}
