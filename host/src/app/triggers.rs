//! What sets components in motion: the edge server, consumers, timers, and the relays that publish their outboxes. Each runs as a task of one
//! set, so that none outlives the host unseen; all end by the same token.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use secrecy::ExposeSecret as _;
use swiftcart_provider_http as http;
use swiftcart_provider_kafka as kafka;
use swiftcart_provider_outbox as outbox;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connect;
use super::settings::settings;
use crate::capability::http_server::Gateway;
use crate::capability::kafka::Consumer;
use crate::capability::timer;
use crate::health::Readiness;
use crate::manifest::{CapabilityPlan, LinkPlan, Plan};
use crate::runtime::Slot;

/// The tasks, each named, and where the edge listens.
pub(crate) struct Triggers {
    /// Running tasks; the first to end before `stop` was given is a failure of the host.
    pub tasks: JoinSet<(String, anyhow::Result<()>)>,
    /// Addresses of the edge servers by capability, for the inventory.
    pub listening: HashMap<String, std::net::SocketAddr>,
}

/// Starts everything that the plan's capabilities set in motion. The edge comes last, so that nothing is accepted that cannot be served.
///
/// # Errors
/// A configuration that cannot work or a port that cannot be bound, naming the link.
pub(crate) async fn start(
    plan: &Plan,
    slots: &HashMap<String, Arc<Slot>>,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<Triggers> {
    let mut triggers = Triggers { tasks: JoinSet::new(), listening: HashMap::new() };
    for capability in plan.capabilities.iter().filter(|capability| capability.kind.as_str() == "outbox") {
        relay(&mut triggers, capability, stop).await.with_context(|| format!("capability {}", capability.name))?;
    }
    for kind in ["kafka", "timer", "http-server"] {
        for capability in plan.capabilities.iter().filter(|capability| capability.kind.as_str() == kind) {
            for link in plan.links_from(&capability.name) {
                let slot = slots.get(&link.target).ok_or_else(|| anyhow!("no component {}", link.target))?.clone();
                let context = || format!("the link from {} to {}", link.source, link.target);
                match kind {
                    "kafka" => consumer(&mut triggers, plan, link, slot, stop).with_context(context)?,
                    "timer" => timers(&mut triggers, plan, link, &slot, stop).with_context(context)?,
                    _ => server(&mut triggers, plan, link, slot, readiness, stop).await.with_context(context)?,
                }
            }
        }
    }
    Ok(triggers)
}

async fn relay(triggers: &mut Triggers, capability: &CapabilityPlan, stop: &CancellationToken) -> anyhow::Result<()> {
    let config = outbox::Config::from_pairs(capability.config.pairs())?;
    // A connection that holds the lock and reads, and one to spare while it is replaced.
    let pairs = [("url", config.url.expose_secret()), ("max_connections", "2")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
    let database = Arc::new(connect::database(pairs.into(), None, &capability.name).await?);
    let producer = Arc::new(kafka::Producer::new(config.producer.clone())?);
    let relay = outbox::Relay::new(config, database, producer)?;
    let stop = stop.clone();
    let name = format!("outbox {}", capability.name);
    triggers.tasks.spawn(async move { (name, relay.run(stop).await.map_err(anyhow::Error::from)) });
    Ok(())
}

fn consumer(
    triggers: &mut Triggers,
    plan: &Plan,
    link: &LinkPlan,
    slot: Arc<Slot>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let config = kafka::ConsumerConfig::from_pairs(settings(plan, &link.source, &link.source_config))?;
    let stop = stop.clone();
    let name = format!("consumer of {}", link.target);
    let handler = Arc::new(Consumer::new(slot));
    triggers
        .tasks
        .spawn(async move { (name, kafka::Consumer::run(config, handler, stop).await.map_err(anyhow::Error::from)) });
    Ok(())
}

fn timers(
    triggers: &mut Triggers,
    plan: &Plan,
    link: &LinkPlan,
    slot: &Arc<Slot>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    for timer in timer::parse(settings(plan, &link.source, &link.source_config)).map_err(anyhow::Error::msg)? {
        let (slot, stop) = (slot.clone(), stop.clone());
        let name = format!("timer {} of {}", timer.name, link.target);
        triggers.tasks.spawn(async move {
            timer::run(timer, slot, stop).await;
            (name, Ok(()))
        });
    }
    Ok(())
}

async fn server(
    triggers: &mut Triggers,
    plan: &Plan,
    link: &LinkPlan,
    slot: Arc<Slot>,
    readiness: &Readiness,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let config = http::ServerConfig::from_pairs(settings(plan, &link.source, &link.source_config))?;
    let server = Arc::new(http::Server::bind(config, Arc::new(Gateway::new(slot))).await?);
    triggers.listening.insert(link.source.clone(), server.local_addr());
    let (ready, stop) = (server.clone(), stop.clone());
    readiness.register_check(format!("edge {}", link.source), move || ready.ready());
    let name = format!("edge {}", link.source);
    triggers.tasks.spawn(async move { (name, server.run(stop).await.map_err(anyhow::Error::from)) });
    Ok(())
}
