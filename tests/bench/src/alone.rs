//! A host alone with components of a benchmark: no database, no broker; the token issuer runs because every edge knows one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use swiftcart_support::client::{http_client, send};
use swiftcart_support::service::{Issuer, Service};
use swiftcart_support::shop::{Configs, HostOptions, LoneHost};
use swiftcart_support::{Lifetime, Place, eventually};
use tempfile::TempDir;

use crate::built::Built;
use crate::manifest::Manifest;

/// How long an edge may take to listen after the host is ready.
const LISTENING: Duration = Duration::from_secs(10);

/// The running host.
pub(crate) struct Alone {
    host: LoneHost,
    issuer: Issuer,
    /// Removed when this is dropped.
    _data: TempDir,
}

impl Alone {
    /// Starts a host with a manifest and waits until it is ready.
    pub(crate) async fn start(built: &Built, manifest: &Manifest) -> anyhow::Result<Self> {
        let mut alone = Self::prepare(built, manifest).await?;
        alone.host.start().await?;
        Ok(alone)
    }

    /// The same without the start.
    pub(crate) async fn prepare(built: &Built, manifest: &Manifest) -> anyhow::Result<Self> {
        let data = TempDir::new().context("making a data folder")?;
        let place = Place::open(data.path(), Lifetime::WithParent)?;
        let issuer = Issuer::start_in(&place, &built.sim).await?;
        let file = place.root().join("manifest.json");
        std::fs::write(&file, manifest.text()).with_context(|| format!("writing {}", file.display()))?;
        let options = HostOptions::new(&built.host, &file, &built.guests, &built.root.join("migrations"));
        let host = LoneHost::prepare(&place, &options, &edge_configs(&issuer), Vec::new())?;
        Ok(Self { host, issuer, _data: data })
    }

    /// The host, to stop and start it.
    pub(crate) fn host(&mut self) -> &mut Service {
        &mut self.host
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.host.process().context("the host is not running")?.pid)
    }

    /// What runs.
    pub(crate) async fn inventory(&self) -> anyhow::Result<Value> {
        let http = http_client().build()?;
        send(http.get(format!("{}/v1/inventory", self.host.admin_url()))).await?.expect_status(200)?.json()
    }

    /// Where an edge listens.
    pub(crate) async fn edge(&self, name: &str) -> anyhow::Result<SocketAddr> {
        eventually(LISTENING, &format!("{name} to listen"), async || {
            let inventory = self.inventory().await?;
            let address = inventory.pointer(&format!("/listening/{name}")).and_then(Value::as_str);
            Ok(address.with_context(|| format!("it does not: {inventory}"))?.parse()?)
        })
        .await
    }

    /// Stops both.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.host.stop().await?;
        self.issuer.stop().await
    }
}

/// What every edge has to know.
pub(crate) fn edge_configs(issuer: &Issuer) -> Configs {
    let edge = [("issuer", issuer.url()), ("audience", Issuer::AUDIENCE.to_owned()), ("jwks_url", issuer.jwks_url())];
    let edge = edge.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    [("edge".to_owned(), edge)].into()
}
