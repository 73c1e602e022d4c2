//! A shop of a suite's own: the real host on the manifest for one machine, in a temporary folder that goes when the suite ends. Invariant: what a suite does
//! not change is as it ships.

use std::path::PathBuf;

use anyhow::Context as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use swiftcart_support::shop::{HostOptions, Shop, ShopOptions};
use tempfile::TempDir;

/// Connections of a test's eyes in one database.
const CONNECTIONS: u32 = 3;

/// A path that `cargo xtask test` gives.
///
/// # Errors
/// When it does not, saying how to run the suite.
pub fn given(suite: &str, name: &str) -> anyhow::Result<PathBuf> {
    let missing = || format!("{name} is not set; run this as `cargo xtask test {suite}`");
    std::env::var(name).map(PathBuf::from).with_context(missing)
}

/// A shop that is not started yet.
#[derive(Debug)]
pub struct Stage {
    suite: &'static str,
    /// The checkout.
    pub root: PathBuf,
    /// Where everything is kept; whoever holds it keeps it.
    pub data: TempDir,
    /// The host, to be changed before the start.
    pub host: HostOptions,
}

impl Stage {
    /// For a suite, with the host whose program this variable names.
    ///
    /// # Errors
    /// When the suite was not started by `cargo xtask test`.
    pub fn prepare(suite: &'static str, host: &str) -> anyhow::Result<Self> {
        let root = given(suite, "SWIFTCART_REPOSITORY_ROOT")?;
        let mut host = HostOptions::new(
            &given(suite, host)?,
            &root.join("wadm/local.yaml"),
            &given(suite, "SWIFTCART_ARTIFACT_ROOT")?,
            &root.join("migrations"),
        );
        host.environment.push(("SWIFTCART_HOST_LOG_FORMAT".to_owned(), "text".to_owned()));
        Ok(Self { suite, root, data: TempDir::new()?, host })
    }

    /// Starts it, without a lattice unless the change asks for one.
    ///
    /// # Errors
    /// When something does not start.
    pub async fn open(self, change: impl FnOnce(&mut ShopOptions)) -> anyhow::Result<(Shop, TempDir)> {
        let simulator = given(self.suite, "SWIFTCART_SIM_BINARY")?;
        let mut options = ShopOptions::new(self.data.path(), &simulator).with_host(self.host);
        options.nats = false;
        change(&mut options);
        Ok((Shop::start(options).await?, self.data))
    }
}

/// Eyes in one of the shop's databases.
///
/// # Errors
/// When there is none of this name, or it cannot be reached.
pub async fn database(shop: &Shop, name: &str) -> anyhow::Result<PgPool> {
    let url = shop.addresses().database_urls.get(name).with_context(|| format!("no database {name}"))?;
    Ok(PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?)
}
