//! From the lattice's links to what this host does with them: settings are resolved for the ends that run here, and for no other, so that
//! a host reads only the secrets that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::Mutex;

use super::inventory::Kind;
use super::member::Member;
use super::rpc::Edges;
use super::settings::Owner;
use super::wire::Link;
use crate::capability::http_server;
use crate::manifest::{LinkPlan, Settings};

/// Takes the lattice's links to the workload and to providers' processes.
pub(crate) struct Routes {
    member: Arc<Member>,
    /// The last settings that could be resolved, by link and side. Held while links are applied, so that an older state never comes last.
    last: Mutex<BTreeMap<(Side, Key), Settings>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Source,
    Target,
}

/// Source, target, name, namespace, package.
type Key = [String; 5];

impl Routes {
    pub(crate) fn new(member: Arc<Member>) -> Self {
        Self { member, last: Mutex::default() }
    }

    /// Brings the links as they are now to everything that runs here.
    pub(crate) async fn apply(&self) {
        let mut last = self.last.lock().await;
        let links = self.member.store.links();
        let (builtins, processes) = {
            let inventory = self.member.inventory();
            (inventory.providers_of(Kind::Builtin), inventory.providers_of(Kind::Process))
        };
        let here: BTreeSet<&String> = builtins.union(&processes).collect();
        for link in links.iter().filter(|link| here.contains(&link.source_id) || here.contains(&link.target)) {
            let names: Vec<String> = link.configs().cloned().collect();
            if let Err(error) = self.member.store.load_configs(&names).await {
                tracing::warn!(
                    source = link.source_id,
                    target = link.target,
                    error,
                    "configs of a link cannot be read"
                );
            }
        }
        let plans: Vec<LinkPlan> = links
            .iter()
            .map(|link| {
                let source = self.side(&mut last, link, Side::Source, here.contains(&link.source_id));
                let target = self.side(&mut last, link, Side::Target, here.contains(&link.target));
                plan(link, source, target)
            })
            .collect();
        self.member.calls.set_edges(edges(&links));
        last.retain(|(_, known), _| links.iter().any(|link| key(link) == *known));
        if let Some(owner) = &self.member.processes {
            let concerns = |link: &&LinkPlan| processes.contains(&link.source) || processes.contains(&link.target);
            owner.set_links(plans.iter().filter(concerns).cloned().collect()).await;
        }
        for (id, error) in self.member.work.set_links(plans).await {
            tracing::error!(id, %error, "the new links cannot be used; the ones before stay");
        }
    }

    /// Of the source of a link only its policy concerns a host where it is no provider: a component may be, or come, here.
    fn side(&self, last: &mut BTreeMap<(Side, Key), Settings>, link: &Link, side: Side, here: bool) -> Settings {
        let settings = match (side, here) {
            (Side::Target, false) => return Settings::default(),
            (Side::Target, true) => self.member.known_settings(&link.target_config, Owner::Other),
            (Side::Source, false) => self.member.known_policy(&link.source_config),
            (Side::Source, true) => self.member.known_settings(&link.source_config, Owner::Other),
        };
        match settings {
            Ok(settings) => {
                last.insert((side, key(link)), settings.clone());
                settings
            }
            // That of a caller elsewhere is none of this host's business; if it comes here, so does its config.
            Err(_) if !here => last.get(&(side, key(link))).cloned().unwrap_or_default(),
            Err(error) => {
                tracing::error!(source = link.source_id, target = link.target, %error, "a link keeps the settings it had");
                last.get(&(side, key(link))).cloned().unwrap_or_default()
            }
        }
    }
}

/// Who may bring requests of HTTP to whom.
fn edges(links: &[Link]) -> Edges {
    let is_http = |link: &&Link| {
        let interface = |name: &String| format!("{}:{}/{name}", link.wit_namespace, link.wit_package);
        link.interfaces.iter().any(|name| interface(name) == http_server::EXPORT)
    };
    links.iter().filter(is_http).map(|link| (link.source_id.clone(), link.target.clone())).collect()
}

fn key(link: &Link) -> Key {
    [&link.source_id, &link.target, &link.name, &link.wit_namespace, &link.wit_package].map(Clone::clone)
}

fn plan(link: &Link, source_config: Settings, target_config: Settings) -> LinkPlan {
    LinkPlan {
        source: link.source_id.clone(),
        target: link.target.clone(),
        name: link.name.clone(),
        namespace: link.wit_namespace.clone(),
        package: link.wit_package.clone(),
        interfaces: link.interfaces.clone(),
        source_config,
        target_config,
    }
}
