//! A second host beside that of a shop: the same manifest, configs and secrets, the same address for requests. Both take requests, share the partitions of
//! each consumer group, and one of them runs each relay. What it costs to be two is what the figures differ by from those of one.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use swiftcart_support::shop::{HostOptions, LoneHost, Shop, host_secrets, machine_configs, seal_keys};
use swiftcart_support::{Lifetime, Place};

/// The host process.
pub(crate) struct Second {
    host: LoneHost,
    pid: u32,
}

impl Second {
    /// What both hosts need to share an address, as (config, key, value).
    pub(crate) fn shared_address() -> (String, String, String) {
        ("edge".to_owned(), "reuse_port".to_owned(), "true".to_owned())
    }

    /// Starts it and waits until it is ready. `options` are those of the first.
    pub(crate) async fn start(shop: &Shop, options: &HostOptions, folder: &Path) -> anyhow::Result<Self> {
        let addresses = shop.addresses();
        let edge = addresses.edge_url.as_deref().and_then(|url| url.strip_prefix("http://"));
        let edge: SocketAddr = edge.context("the shop has no edge")?.parse().context("the address of the edge")?;
        let (seal_public, seal_secret) = seal_keys(&Place::open(shop.data_dir(), Lifetime::WithParent)?)?;
        let configs = machine_configs(addresses, edge, &seal_public, &options.config);
        let place = Place::open(folder, Lifetime::WithParent)?;
        let mut host = LoneHost::prepare(&place, options, &configs, host_secrets(addresses, seal_secret))?;
        host.start().await.context("starting the second host")?;
        let pid = host.process().context("the second host is not running")?.pid;
        Ok(Self { host, pid })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops it in good order.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.host.stop().await
    }
}
