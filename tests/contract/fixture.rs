//! The one fixture: all servers and a host with the suite's manifest. Invariant: after every case everything runs and the host is ready.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sqlx::PgPool;
use swiftcart_support::client::{ALL_SCOPES, Client};
use swiftcart_support::eventually;
use swiftcart_support::shop::{HostOptions, Shop, ShopOptions};
use swiftcart_tests::Fixture;
use swiftcart_tests::broker::Broker;

use crate::probe::Probe;
use crate::target::Target;

/// Longer than anything that is waited for takes on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Where cargo built what the suite runs.
pub(crate) struct Built {
    pub(crate) host: PathBuf,
    pub(crate) guests: PathBuf,
    /// The folder of this suite.
    pub(crate) suite: PathBuf,
    sim: PathBuf,
}

impl Built {
    fn find() -> anyhow::Result<Self> {
        let path = |name: &str| {
            std::env::var(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set; run this as `cargo xtask test contract`"))
        };
        Ok(Self {
            host: path("SWIFTCART_HOST_BINARY")?,
            guests: path("SWIFTCART_GUESTS_ROOT")?,
            suite: path("SWIFTCART_REPOSITORY_ROOT")?.join("tests/contract"),
            sim: path("SWIFTCART_SIM_BINARY")?,
        })
    }
}

/// A host with servers, and the means to look behind it.
pub(crate) struct Contract {
    pub(crate) built: Built,
    pub(crate) shop: Shop,
    pub(crate) client: Client,
    /// The web server that guests may call.
    pub(crate) target: Target,
    /// The database of the component `probe`.
    pub(crate) probe_database: PgPool,
    /// The database of the component `consumer`.
    pub(crate) consumer_database: PgPool,
    pub(crate) broker: Broker,
    /// Removed when this is dropped.
    _data: tempfile::TempDir,
}

impl Contract {
    /// The component `probe` with all its capabilities.
    pub(crate) async fn probe(&self) -> anyhow::Result<Probe> {
        self.through("edge").await
    }

    /// The same code in front of a narrow callee.
    pub(crate) async fn narrow(&self) -> anyhow::Result<Probe> {
        self.through("edge-narrow").await
    }

    /// Whatever is behind an edge of this name.
    pub(crate) async fn through(&self, edge: &str) -> anyhow::Result<Probe> {
        Probe::new(self.edge(edge).await?, self.client.token("tester", ALL_SCOPES)?)
    }

    /// `ip:port` where an edge listens now.
    pub(crate) async fn edge(&self, name: &str) -> anyhow::Result<String> {
        let inventory = self.client.inventory().await?;
        let address = inventory.pointer(&format!("/listening/{name}")).and_then(Value::as_str);
        Ok(address.with_context(|| format!("{name} does not listen: {inventory}"))?.to_owned())
    }

    /// The digest of a running component.
    pub(crate) async fn digest(&self, component: &str) -> anyhow::Result<String> {
        let inventory = self.client.inventory().await?;
        let components = inventory["components"].as_array().context("no components")?;
        let found =
            components.iter().find(|found| found["name"] == component).and_then(|found| found["digest"].as_str());
        Ok(found.context("no such component")?.to_owned())
    }

    /// Waits until traffic is welcome.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        eventually(DEADLINE, "the host to be ready", || async {
            let answer = self.client.admin("/readyz").await?;
            ensure!(answer.status == 200, "{}", answer.text());
            Ok(())
        })
        .await
    }
}

fn host_options(built: &Built, target: &Target) -> HostOptions {
    let mut host = HostOptions::new(
        &built.host,
        &built.suite.join("contract.yaml"),
        &built.guests,
        &built.suite.join("migrations"),
    );
    host.config.push(("egress".to_owned(), "allowed_hosts".to_owned(), target.authority()));
    host
}

impl Fixture for Contract {
    async fn start() -> anyhow::Result<Self> {
        let built = Built::find()?;
        let target = Target::start().await?;
        let data = tempfile::tempdir()?;
        let mut options = ShopOptions::new(data.path(), &built.sim).with_host(host_options(&built, &target));
        options.nats = false;
        let shop = Shop::start(options).await?;
        let database = |name: &str| {
            let url = shop.addresses().database_urls.get(name).with_context(|| format!("no database {name}"))?;
            anyhow::Ok(sqlx::postgres::PgPoolOptions::new().max_connections(4).connect_lazy(url)?)
        };
        Ok(Self {
            client: shop.client()?,
            target,
            probe_database: database("orders")?,
            consumer_database: database("inventory")?,
            broker: Broker::new(&shop.addresses().kafka_bootstrap_servers),
            built,
            shop,
            _data: data,
        })
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        // The host last: it may wait for the others.
        for service in self.shop.services().into_iter().rev() {
            if service.process().is_none() || service.exited().is_some() {
                service.start().await?;
            }
        }
        self.ready().await
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.probe_database.close().await;
        self.consumer_database.close().await;
        self.shop.stop().await
    }
}

/// A name that no other case uses.
pub(crate) fn unique(stem: &str) -> String {
    format!("{stem}-{}", uuid::Uuid::new_v4().simple())
}

/// Whether a file is there; for messages of the fixture only.
pub(crate) fn ensure_file(path: &Path) -> anyhow::Result<()> {
    ensure!(path.is_file(), "{} is not there; `cargo xtask build --guests` makes it", path.display());
    Ok(())
}
