//! The service that one would write by hand (`tests/baseline`), in the place of our host: beside the servers of a shop that was started without one, on
//! the same tables, topics, counters and PSP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};
use swiftcart_support::service::Program;
use swiftcart_support::shop::{Addresses, DATABASES, Shop, host_secrets, machine_configs, seal_keys};
use swiftcart_support::{Lifetime, Place};

/// Its name in the data folder.
const NAME: &str = "baseline";

/// The load comes from few users; the edge still counts the requests of each.
const UNLIMITED: &str = "1000000";

/// How it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Store {
    /// One statement per write.
    Plain,
    /// One statement for all writes of a kind that wait at the same time.
    Coalesced,
}

impl Store {
    /// As the program's argument.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Coalesced => "coalesced",
        }
    }
}

/// The running service.
pub(crate) struct Native {
    program: Program,
    addresses: Addresses,
    pid: u32,
}

impl Native {
    /// Migrates the databases, starts the program and waits until it is ready. `shop` has no host.
    pub(crate) async fn start(shop: &Shop, binary: &Path, store: Store) -> anyhow::Result<Self> {
        let mut addresses = shop.addresses().clone();
        for name in DATABASES {
            let url = addresses.database_urls.get(name).with_context(|| format!("no database {name}"))?;
            migrate(name, url).await.with_context(|| format!("migrating the database {name}"))?;
        }
        let place = Place::open(shop.data_dir(), Lifetime::WithParent)?;
        let edge = SocketAddr::from(([127, 0, 0, 1], place.port(NAME)?));
        let url = format!("http://{edge}");
        let (seal_public, seal_secret) = seal_keys(&place)?;
        let mut environment = host_secrets(&addresses, seal_secret);
        for (config, pairs) in machine_configs(&addresses, edge, &seal_public, &unlimited()) {
            let variable = |key: &str| format!("SWIFTCART_{config}_{key}").to_uppercase().replace('-', "_");
            environment.extend(pairs.into_iter().map(|(key, value)| (variable(&key), value)));
        }
        let arguments = vec!["--store".into(), store.name().into()];
        let health = format!("{url}/healthz");
        let program = Program::start_in(&place, NAME, binary, arguments, environment, health).await?;
        let pid = program.process().context("the baseline is not running")?.pid;
        addresses.edge_url = Some(url);
        Ok(Self { program, addresses, pid })
    }

    /// Where its API is.
    pub(crate) fn address(&self) -> &str {
        self.addresses.edge_url.as_deref().unwrap_or_default()
    }

    /// Where everything is; the edge is its own.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Stops it in good order; the servers stay.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.program.stop().await
    }
}

/// Runs the service's own migrations that have not run yet.
async fn migrate(name: &str, url: &str) -> anyhow::Result<()> {
    let root = std::env::var_os("SWIFTCART_REPOSITORY_ROOT")
        .map(PathBuf::from)
        .context("SWIFTCART_REPOSITORY_ROOT is not set; run this by `cargo xtask`")?;
    let migrator = Migrator::new(root.join("migrations").join(name)).await?;
    let mut connection = PgConnection::connect(url).await?;
    migrator.run_direct(None, &mut connection, false).await?;
    Ok(connection.close().await?)
}

/// Settings of the edge for a load.
pub(crate) fn unlimited() -> Vec<(String, String, String)> {
    ["requests_per_second", "burst"].map(|key| ("edge".to_owned(), key.to_owned(), UNLIMITED.to_owned())).to_vec()
}
