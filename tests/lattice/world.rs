//! The fixture: all servers of a shop, wadm, and two hosts on one lattice. Invariant: before and after every case both hosts run and nothing
//! runs on them: no application, component, provider, link or config is left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::client::{Client, http_client};
use swiftcart_support::lattice::{Lattice, Recorder};
use swiftcart_support::service::{LatticeHost, LatticeHostOptions, Registry, Wadm};
use swiftcart_support::shop::{Shop, ShopOptions};
use swiftcart_support::tools::{Progress, Tools, Wanted};
use swiftcart_support::wash::Wash;
use swiftcart_support::{Lifetime, Place, eventually};
use swiftcart_tests::Fixture;
use tempfile::TempDir;

use crate::settings::Settings;

/// Longer than anything takes that a single command sets off.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// For what wadm does by itself: a few of its rounds, each up to a heartbeat long.
pub(crate) const SETTLED: Duration = Duration::from_secs(90);
/// Often, so that wadm sees soon what it missed and who died.
const HEARTBEAT_MS: &str = "3000";
/// The lattice of the suite.
pub(crate) const LATTICE: &str = "default";

/// Where everything is.
pub(crate) struct Built {
    pub(crate) root: PathBuf,
    pub(crate) guests: PathBuf,
    pub(crate) artifacts: PathBuf,
    /// The folder of our providers as programs.
    pub(crate) programs: PathBuf,
    pub(crate) host: PathBuf,
}

/// The servers, wadm and two hosts.
pub(crate) struct World {
    pub(crate) built: Built,
    pub(crate) shop: Shop,
    pub(crate) wadm: Wadm,
    /// With the labels `zone=a` and `zone=b`.
    pub(crate) hosts: [LatticeHost; 2],
    pub(crate) lattice: Lattice,
    pub(crate) events: Recorder,
    pub(crate) wash: Wash,
    pub(crate) settings: Settings,
    /// For tokens, and to look at the inbox: it knows no edge.
    pub(crate) client: Client,
    pub(crate) http: reqwest::Client,
    pub(crate) registry: Registry,
    /// The program of the external provider.
    pub(crate) journal: PathBuf,
    place: Place,
    data: TempDir,
}

impl Fixture for World {
    async fn start() -> anyhow::Result<Self> {
        let path = |name: &str| {
            std::env::var(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set; run this as `cargo xtask test lattice`"))
        };
        let host = path("SWIFTCART_HOST_BINARY")?;
        let built = Built {
            root: path("SWIFTCART_REPOSITORY_ROOT")?,
            guests: path("SWIFTCART_GUESTS_ROOT")?,
            artifacts: path("SWIFTCART_ARTIFACT_ROOT")?,
            // All programs of the checkout are built into one folder.
            programs: host.parent().context("the host program has no folder")?.to_owned(),
            host,
        };
        let source = built.root.join("wadm/server");
        let (wash, wadm, journal, registry) = tokio::task::spawn_blocking(move || {
            let tools = Tools::new(Progress::new(|sentence| eprintln!("{sentence}")))?;
            let installed = tools.install(Wanted { registry: true, ..Wanted::NONE })?;
            anyhow::Ok((tools.wash()?, tools.wadm(&source)?, tools.journal_provider()?, installed.registry))
        })
        .await??;
        let data = TempDir::new()?;
        let shop = Shop::start(ShopOptions::new(&data.path().join("shop"), &path("SWIFTCART_SIM_BINARY")?)).await?;
        let nats_url = shop.addresses().nats_url.clone().context("there is no NATS")?;
        let place = Place::open(&data.path().join("lattice"), Lifetime::WithParent)?;
        let wadm = Wadm::start_in(&place, &wadm, &nats_url).await?;
        // Before the hosts, because they are told at their start which registry may be asked without TLS.
        let registry = Registry::start_in(&place, &registry.context("there is no registry")?).await?;
        let mut settings = Settings::new(shop.addresses());
        settings.variables.push(("WASMCLOUD_OCI_ALLOWED_INSECURE".to_owned(), registry.host()));
        let compiled = data.path().join("compiled");
        let host = |name: &str, zone: &str| {
            LatticeHost::prepare(&place, &options(&built, &settings, &compiled, &nats_url, name, zone))
        };
        let mut hosts = [host("host-a", "a")?, host("host-b", "b")?];
        for host in &mut hosts {
            host.start().await?;
        }
        let lattice = Lattice::connect(&nats_url, LATTICE).await?;
        Ok(Self {
            events: lattice.record().await?,
            wash: Wash::new(&wash, &data.path().join("home"), &nats_url, LATTICE)?,
            client: shop.client()?,
            http: http_client().timeout(Duration::from_secs(30)).build()?,
            built,
            shop,
            wadm,
            hosts,
            lattice,
            settings,
            registry,
            journal,
            place,
            data,
        })
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        for service in self.shop.services().into_iter().rev() {
            if service.process().is_none() || service.exited().is_some() {
                service.start().await?;
            }
        }
        if self.wadm.process().is_none() || self.wadm.exited().is_some() {
            self.wadm.start().await?;
        }
        if self.registry.process().is_none() || self.registry.exited().is_some() {
            self.registry.start().await?;
        }
        for host in &mut self.hosts {
            if host.process().is_none() || host.exited().is_some() {
                host.start().await?;
            }
        }
        self.clear().await
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        for host in &mut self.hosts {
            host.stop().await?;
        }
        self.wadm.stop().await?;
        self.registry.stop().await?;
        self.shop.stop().await
    }
}

fn options(
    built: &Built,
    settings: &Settings,
    compiled: &Path,
    nats_url: &str,
    name: &str,
    zone: &str,
) -> LatticeHostOptions {
    let mut options = LatticeHostOptions::new(name, &built.host, nats_url, &built.artifacts);
    options.migrations_root = Some(built.root.join("migrations"));
    options.labels = vec![("zone".to_owned(), zone.to_owned())];
    options.environment = settings.secrets.clone();
    options.environment.extend(settings.variables.iter().cloned());
    options.environment.extend([
        ("SWIFTCART_HOST_HEARTBEAT_INTERVAL_MS".to_owned(), HEARTBEAT_MS.to_owned()),
        ("SWIFTCART_HOST_FRIENDLY_NAME".to_owned(), name.to_owned()),
        // Hosts of one machine and user compile each component once.
        ("SWIFTCART_HOST_CACHE_DIR".to_owned(), text(compiled)),
    ]);
    options
}

impl World {
    /// The folder of a case for files of its own.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.data.path().join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// A third host, for a case that stops it or puts it on another lattice.
    pub(crate) async fn another_host(&self, name: &str, lattice: &str) -> anyhow::Result<LatticeHost> {
        let nats_url = self.shop.addresses().nats_url.clone().context("there is no NATS")?;
        let mut options =
            options(&self.built, &self.settings, &self.data.path().join("compiled"), &nats_url, name, "c");
        options.lattice = lattice.to_owned();
        LatticeHost::start_in(&self.place, &options).await
    }

    /// The id of the first host.
    pub(crate) fn a(&self) -> &str {
        self.hosts[0].id()
    }

    /// The id of the second host.
    pub(crate) fn b(&self) -> &str {
        self.hosts[1].id()
    }

    /// What a host says of a component; `None` if it does not run there.
    pub(crate) async fn component(&self, host: &str, id: &str) -> anyhow::Result<Option<Value>> {
        self.listed(host, "components", id).await
    }

    /// What a host says of a provider or built-in capability.
    pub(crate) async fn provider(&self, host: &str, id: &str) -> anyhow::Result<Option<Value>> {
        self.listed(host, "providers", id).await
    }

    async fn listed(&self, host: &str, what: &str, id: &str) -> anyhow::Result<Option<Value>> {
        let inventory = self.lattice.inventory(host).await?;
        let list = inventory[what].as_array().with_context(|| format!("no {what} in {inventory}"))?;
        Ok(list.iter().find(|found| found["id"] == id).cloned())
    }

    /// The host's own inventory at its admin port.
    pub(crate) async fn admin(&self, host: usize) -> anyhow::Result<Value> {
        let url = format!("{}/v1/inventory", self.hosts[host].admin_url());
        Ok(serde_json::from_slice(&self.http.get(url).send().await?.bytes().await?)?)
    }

    /// The digest of the code that serves a component on a host.
    pub(crate) async fn digest(&self, host: usize, component: &str) -> anyhow::Result<Option<String>> {
        let inventory = self.admin(host).await?;
        let components = inventory["components"].as_array().with_context(|| format!("no components: {inventory}"))?;
        let found = components.iter().find(|found| found["name"] == component);
        Ok(found.and_then(|found| found["digest"].as_str()).map(str::to_owned))
    }

    /// Where an edge of a host listens, as soon as it does; `name` is a part of the capability's id.
    pub(crate) async fn edge(&self, host: usize, name: &str) -> anyhow::Result<String> {
        eventually(SOON, &format!("{name} to listen"), async || {
            let inventory = self.admin(host).await?;
            let listening = inventory["listening"].as_object().with_context(|| format!("no edges: {inventory}"))?;
            let found = listening.iter().find(|(id, _)| id.contains(name)).and_then(|(_, at)| at.as_str());
            Ok(format!("http://{}", found.with_context(|| format!("{name} does not listen: {inventory}"))?))
        })
        .await
    }

    /// Puts all configs that manifests only name.
    pub(crate) async fn put_configs(&self) -> anyhow::Result<()> {
        for (name, pairs) in &self.settings.configs {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            self.lattice.put_config(name, &pairs).await?;
        }
        Ok(())
    }

    /// Waits until wadm says that an application is as its manifest says.
    pub(crate) async fn deployed(&self, application: &str) -> anyhow::Result<()> {
        eventually(SETTLED, &format!("{application} to be deployed"), async || {
            let status = self.lattice.model(&format!("status.{application}"), &Value::Null).await?;
            ensure!(status.pointer("/status/status/type").is_some_and(|found| found == "deployed"), "{status}");
            Ok(())
        })
        .await
    }

    /// Waits until neither host runs anything.
    pub(crate) async fn nothing_runs(&self) -> anyhow::Result<()> {
        eventually(SETTLED, "nothing to run", async || {
            for host in [self.a(), self.b()] {
                let inventory = self.lattice.inventory(host).await?;
                let empty = |what: &str| inventory[what].as_array().is_some_and(Vec::is_empty);
                ensure!(empty("components") && empty("providers"), "{inventory}");
            }
            Ok(())
        })
        .await
    }

    /// Takes everything away, by the protocol and not by what is tested.
    async fn clear(&self) -> anyhow::Result<()> {
        for application in self.lattice.applications().await? {
            let name = application["name"].as_str().context("an application without a name")?;
            self.lattice.model(&format!("undeploy.{name}"), &json!({})).await?;
            self.lattice.model(&format!("del.{name}"), &json!({})).await?;
        }
        for link in self.lattice.links().await? {
            self.lattice.control("link.del", &link).await?;
        }
        eventually(SETTLED, "everything to be stopped", async || {
            let mut left = 0;
            for host in [self.a(), self.b()] {
                left += self.stop_all(host).await?;
            }
            ensure!(left == 0, "{left} still ran");
            Ok(())
        })
        .await
    }

    async fn stop_all(&self, host: &str) -> anyhow::Result<usize> {
        let inventory = self.lattice.inventory(host).await?;
        let (none, list) = (Vec::new(), |what: &str| inventory[what].as_array());
        let (components, providers) = (list("components").unwrap_or(&none), list("providers").unwrap_or(&none));
        for component in components {
            let body = json!({"component_ref": component["image_ref"], "component_id": component["id"], "count": 0, "host_id": host, "config": [], "allow_update": false});
            self.lattice.control(&format!("component.scale.{host}"), &body).await?;
        }
        for provider in providers {
            let body = json!({"provider_id": provider["id"], "host_id": host});
            self.lattice.control(&format!("provider.stop.{host}"), &body).await?;
        }
        Ok(components.len() + providers.len())
    }
}

/// A path as text, for a command.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}
