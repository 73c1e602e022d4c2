//! Hosts on a lattice with components of a benchmark, told by the control interface what to run, as `wash` tells them. Invariant: what returns without an
//! error runs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use swiftcart_support::client::{http_client, send};
use swiftcart_support::lattice::Lattice;
use swiftcart_support::service::{Issuer, LatticeHost, LatticeHostOptions, Nats};
use swiftcart_support::shop::store_configs;
use swiftcart_support::tools::{Progress, Tools, Wanted};
use swiftcart_support::{Lifetime, Place, eventually};
use tempfile::TempDir;

use crate::alone::edge_configs;
use crate::built::Built;
use crate::control::Control;
use crate::cpu::{Extent, Part};
use crate::manifest::Reuse;

/// The lattice.
const LATTICE: &str = "default";
/// How long an edge may take to listen after it was linked.
const LISTENING: Duration = Duration::from_secs(30);

/// A NATS server and hosts.
pub(crate) struct Stage {
    nats: Nats,
    issuer: Issuer,
    hosts: Vec<LatticeHost>,
    control: Control,
    data: TempDir,
}

impl Stage {
    /// Starts so many hosts, which share their compiled components.
    pub(crate) async fn start(built: &Built, hosts: usize) -> anyhow::Result<Self> {
        let data = TempDir::new().context("making a data folder")?;
        let place = Place::open(data.path(), Lifetime::WithParent)?;
        let wanted = Wanted { nats: true, ..Wanted::NONE };
        let installed = tokio::task::spawn_blocking(move || Tools::new(Progress::silent())?.install(wanted)).await??;
        let nats = Nats::start_in(&place, &installed.nats_server.context("there is no NATS")?).await?;
        let issuer = Issuer::start_in(&place, &built.sim).await?;
        let lattice = Lattice::connect(&nats.url(), LATTICE).await?;
        store_configs(&lattice, &edge_configs(&issuer)).await?;
        let mut stage = Self { nats, issuer, hosts: Vec::new(), control: Control(lattice), data };
        for number in 0..hosts {
            let mut options =
                LatticeHostOptions::new(&format!("host-{number}"), &built.host, &stage.nats.url(), &built.guests);
            let cache =
                ("SWIFTCART_HOST_CACHE_DIR".to_owned(), stage.data.path().join("compiled").display().to_string());
            options.environment.push(cache);
            stage.hosts.push(LatticeHost::start_in(&place, &options).await?);
        }
        let open = [
            ("address", "127.0.0.1:0"),
            ("public_paths", "GET /*,POST /*"),
            ("requests_per_second", "1000000"),
            ("burst", "1000000"),
        ];
        stage.control.0.put_config("open", &open).await?;
        for reuse in [Reuse::Warm, Reuse::Fresh] {
            stage.control.0.put_config(reuse.text(), &[("host.reuse", reuse.text())]).await?;
        }
        Ok(stage)
    }

    /// The lattice, for a swap.
    pub(crate) fn lattice(&self) -> &Lattice {
        &self.control.0
    }

    /// A folder for files of a benchmark.
    pub(crate) fn folder(&self) -> &Path {
        self.data.path()
    }

    /// The id of a host.
    pub(crate) fn host(&self, number: usize) -> anyhow::Result<&str> {
        Ok(self.numbered(number)?.id())
    }

    fn numbered(&self, number: usize) -> anyhow::Result<&LatticeHost> {
        self.hosts.get(number).with_context(|| format!("there is no host {number}"))
    }

    /// The processes whose time counts.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let hosts = self.hosts.iter().filter_map(|host| host.process()).map(|process| ("host", process.pid));
        let nats = self.nats.process().map(|process| ("nats", process.pid));
        hosts.chain(nats).map(|(name, pid)| Part::new(name, pid, Extent::Own)).collect()
    }

    /// Runs a component on a host.
    pub(crate) async fn component(&self, host: usize, id: &str, file: &Path, reuse: Reuse) -> anyhow::Result<()> {
        let reference = format!("file://{}", file.display());
        self.control.component(self.host(host)?, (id, &reference), 64, &[reuse.text().to_owned()]).await
    }

    /// Links two; `source_config` has the settings of the one that calls.
    pub(crate) async fn link(
        &self,
        (source, target): (&str, &str),
        (namespace, package, interface): (&str, &str, &str),
        source_config: &[&str],
    ) -> anyhow::Result<()> {
        let link = json!({
            "source_id": source, "target": target, "name": "default", "wit_namespace": namespace,
            "wit_package": package, "interfaces": [interface], "source_config": source_config, "target_config": [],
        });
        self.control.link(&link).await
    }

    /// A door to a component of a host; gives its address.
    pub(crate) async fn edge(&self, host: usize, id: &str, target: &str) -> anyhow::Result<SocketAddr> {
        let admin = self.numbered(host)?.admin_url().to_owned();
        let reference = "wasmcloud+builtin://http-server";
        self.control.capability(self.host(host)?, (id, reference), &["edge".to_owned()]).await?;
        self.link((id, target), ("wasi", "http", "incoming-handler"), &["open"]).await?;
        let http = http_client().build()?;
        eventually(LISTENING, &format!("{id} to listen"), async || {
            let inventory = send(http.get(format!("{admin}/v1/inventory"))).await?.expect_status(200)?.json()?;
            let address = inventory.pointer(&format!("/listening/{id}")).and_then(Value::as_str);
            Ok(address.with_context(|| format!("it does not: {inventory}"))?.parse()?)
        })
        .await
    }

    /// Stops all.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for host in &mut self.hosts {
            host.stop().await?;
        }
        self.nats.stop().await?;
        self.issuer.stop().await
    }
}
