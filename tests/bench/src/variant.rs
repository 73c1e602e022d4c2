//! What is measured against each other. Invariant: each start has servers, databases and topics of its own, made for it and empty, so that every
//! variant of every repeat begins with the same.

mod native;
mod nats;
mod second;

use std::path::Path;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use swiftcart_support::service::Service;
use swiftcart_support::shop::{Addresses, HostOptions, Shop, ShopOptions};
use tempfile::TempDir;

use crate::built::Built;
use crate::cpu::{Extent, Part};
use native::{Native, Store, unlimited};
use nats::Hosts;
use second::Second;

/// One way to run the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// `wadm/local.yaml` on one host, as it is.
    Shop,
    /// Two such hosts on the same servers, behind one address.
    TwoHosts,
    /// The service that one would write by hand (`tests/baseline`), one statement for each write.
    NativePlain,
    /// The same, and writes that meet go as one statement, by the library that the shop uses.
    NativeCoalesced,
    /// The same components and libraries, every call that can go over NATS sent there: a host per component, each capability a program of its own.
    Nats,
}

impl Variant {
    /// As in the file of figures.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A variant that runs.
pub(crate) struct Running {
    shop: Shop,
    addresses: Addresses,
    serving: Serving,
    /// Removed when this is dropped.
    _data: TempDir,
}

enum Serving {
    /// The shop's own host.
    Host,
    Two(Box<Second>),
    Native(Box<Native>),
    Spread(Box<Hosts>),
}

impl Running {
    /// Starts servers and the shop, and waits until it serves. `cache` is where hosts keep compiled components from start to start.
    pub(crate) async fn start(variant: Variant, built: &Built, cache: &Path) -> anyhow::Result<Self> {
        let data = TempDir::new().context("making a data folder")?;
        let folder = data.path().join("shop");
        let options = match variant {
            Variant::Shop => shop_options(built, &folder, cache),
            Variant::TwoHosts => {
                let mut options = shop_options(built, &folder, cache);
                options.host.iter_mut().for_each(|host| host.config.push(Second::shared_address()));
                options
            }
            Variant::NativePlain | Variant::NativeCoalesced | Variant::Nats => {
                let mut options = ShopOptions::new(&folder, &built.sim);
                options.nats = variant == Variant::Nats;
                options
            }
        };
        let host = options.host.clone();
        let shop = Shop::start(options).await?;
        let mut addresses = shop.addresses().clone();
        let serving = match variant {
            Variant::Shop => Serving::Host,
            Variant::TwoHosts => {
                let host = host.context("this variant has a host")?;
                Serving::Two(Box::new(Second::start(&shop, &host, &data.path().join("second")).await?))
            }
            Variant::NativePlain | Variant::NativeCoalesced => {
                let store = if variant == Variant::NativePlain { Store::Plain } else { Store::Coalesced };
                let native = Native::start(&shop, &built.baseline, store).await?;
                eprintln!("  {} serves at {}", variant.name(), native.address());
                addresses = native.addresses().clone();
                Serving::Native(Box::new(native))
            }
            Variant::Nats => {
                let spread = Hosts::start(&shop, built, &data.path().join("lattice"), cache).await?;
                addresses.edge_url = Some(spread.edge_url().to_owned());
                Serving::Spread(Box::new(spread))
            }
        };
        Ok(Self { shop, addresses, serving, _data: data })
    }

    /// Where everything is; the edge is that of the variant.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The processes whose time counts. Servers that the environment names are not ours and do not.
    pub(crate) fn parts(&self) -> anyhow::Result<Vec<Part>> {
        let mut parts = Vec::new();
        let mut add = |name, service: Option<&Service>, extent| {
            parts.extend(service.and_then(Service::process).map(|process| Part::new(name, process.pid, extent)));
        };
        let shop = &self.shop;
        add("postgres", shop.postgres.as_deref(), Extent::Tree);
        add("redis", shop.redis.as_deref(), Extent::Own);
        add("kafka", shop.kafka.as_deref(), Extent::Own);
        add("nats", shop.nats.as_deref(), Extent::Own);
        add("mail", shop.maildev.as_deref(), Extent::Tree);
        add("psp", Some(&*shop.psp), Extent::Own);
        if let Serving::Host | Serving::Two(_) = &self.serving {
            let host = shop.host.as_ref().and_then(|host| host.process()).context("the host is not running")?;
            parts.push(Part::new("host", host.pid, Extent::Own));
        }
        match &self.serving {
            Serving::Host => {}
            Serving::Two(second) => parts.push(Part::new("host", second.pid(), Extent::Own)),
            Serving::Native(native) => parts.push(Part::new("baseline", native.pid(), Extent::Own)),
            Serving::Spread(spread) => parts.extend(spread.parts()),
        }
        Ok(parts)
    }

    /// Stops all of it.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let stopped = match self.serving {
            Serving::Host => Ok(()),
            Serving::Two(second) => second.stop().await,
            Serving::Native(native) => native.stop().await,
            Serving::Spread(spread) => spread.stop().await,
        };
        self.shop.stop().await?;
        stopped
    }
}

/// The shop on one host without a lattice.
pub(crate) fn shop_options(built: &Built, data: &Path, cache: &Path) -> ShopOptions {
    let manifest = built.root.join("wadm/local.yaml");
    let mut host = HostOptions::new(&built.host, &manifest, &built.artifacts, &built.root.join("migrations"));
    host.cache_dir = Some(cache.to_owned());
    host.config = unlimited();
    let mut options = ShopOptions::new(data, &built.sim).with_host(host);
    options.nats = false;
    options
}
