//! The life of a provider program: the host's data, NATS, links, serving, and the end. It stands in for `wasmcloud-provider-sdk`, which is tied to
//! older versions of half of our dependencies, and which ignores new settings of a link that it knows.

mod clients;
mod connection;
mod control;
mod exchange;
mod host_data;
mod link;
mod server;
mod target;
mod telemetry;
mod triggers;

use std::io::BufReader;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use clients::{Clients, ConnectError, Library, NoClient};
pub(crate) use exchange::{Answer, Piece};
pub(crate) use host_data::Pairs;
pub(crate) use link::{LinkId, OwnLink};
pub(crate) use server::{Caller, Server};
pub(crate) use target::{Failed, Target};
pub(crate) use triggers::{Origin, Running, Trigger, Triggers};

use crate::limits;
use host_data::HostData;
use link::Opener;

/// The answer to a health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    healthy: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl Health {
    /// Healthy when there is nothing to complain about.
    pub(crate) fn of(complaints: impl Iterator<Item = String>) -> Self {
        let complaints: Vec<String> = complaints.collect();
        let message = (!complaints.is_empty()).then(|| complaints.join("; "));
        Self { healthy: message.is_none(), message }
    }
}

/// What a program does with what the host says. Nothing here waits: it takes note, and works in tasks of its own, so that what the host says
/// next is heard at once.
#[async_trait]
pub(crate) trait Provider: Send + Sync + 'static {
    /// A link of ours is there, perhaps with other settings than before.
    fn put_link(&self, link: OwnLink);

    /// A link of ours is gone.
    fn delete_link(&self, id: &LinkId);

    /// The provider's own settings are now these.
    fn configure(&self, pairs: Pairs);

    /// How the outside systems are.
    async fn health(&self) -> Health;

    /// Ends what runs.
    async fn close(&self);
}

/// What a program begins with.
pub struct Start {
    pub(crate) own: Pairs,
    pub(crate) lattice: String,
    pub(crate) id: String,
    pub(crate) nats: async_nats::Client,
    pub(crate) server: Server,
}

/// One of the programs.
#[async_trait]
pub trait Program {
    /// Its technology, for the log.
    const NAME: &'static str;

    /// Serves what it serves, and gives what is told of links.
    #[doc(hidden)]
    async fn start(start: &Start) -> anyhow::Result<Started>;
}

/// A program that serves.
pub struct Started(Arc<dyn Provider>);

impl Started {
    pub(crate) fn new(provider: Arc<dyn Provider>) -> Self {
        Self(provider)
    }
}

/// Runs a program until its host or a signal ends it. 0: ended as asked; 1: failed.
pub async fn run<P: Program>() -> ExitCode {
    match live::<P>().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Logging may not have begun yet; the host takes standard error either way.
            eprintln!("{} provider: {error:#}", P::NAME);
            ExitCode::FAILURE
        }
    }
}

async fn live<P: Program>() -> anyhow::Result<()> {
    // Two TLS back ends are linked (a client library brings its own), so the choice must be said. It fails only if it was said before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut parent = Parent::now();
    let data = tokio::task::spawn_blocking(|| HostData::read(BufReader::new(std::io::stdin()))).await??;
    telemetry::init(&data);
    let opener = Opener::new(&data).context("the host's keys")?;
    let nats = connection::connect(&data).await?;
    // Heard before the links that are there already are taken, so that no change in between is missed.
    let mut control = control::Control::subscribe(nats.clone(), &data, &opener.address).await?;
    let start = Start {
        own: data.pairs()?,
        lattice: data.lattice_rpc_prefix.clone(),
        id: data.provider_key.clone(),
        nats: nats.clone(),
        server: Server::new(nats.clone(), &data.lattice_rpc_prefix, &data.provider_key).await?,
    };
    let Started(provider) = P::start(&start).await?;
    for link in data.link_definitions.clone() {
        control::put(provider.as_ref(), &opener, link);
    }
    tracing::info!(provider = P::NAME, id = start.id, lattice = start.lattice, "serving");
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let ended = tokio::select! {
        ended = control.run(provider.clone(), &opener, data.secrets) => ended,
        _ = terminate.recv() => control::Ended::quietly(),
        _ = interrupt.recv() => control::Ended::quietly(),
        () = parent.gone() => {
            tracing::warn!("the host is gone");
            control::Ended::quietly()
        }
    };
    tracing::info!(provider = P::NAME, "ending");
    start.server.finish().await;
    provider.close().await;
    ended.acknowledge(&nats).await;
    // What was answered last must leave before the process does.
    tokio::time::timeout(limits::PING, nats.flush()).await.context("NATS took nothing at the end")??;
    Ok(())
}

/// Watches the process that started this one.
struct Parent(u32);

impl Parent {
    fn now() -> Self {
        Self(std::os::unix::process::parent_id())
    }

    /// Returns when it has ended: then another one stands in for it.
    async fn gone(&mut self) {
        let mut ticks = tokio::time::interval(limits::PARENT_CHECK);
        while std::os::unix::process::parent_id() == self.0 {
            ticks.tick().await;
        }
    }
}
