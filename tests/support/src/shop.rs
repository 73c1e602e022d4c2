//! A whole shop: all services, the four databases and the host. Invariant: a second start on the same data folder finds the same data, keys,
//! passwords and (if free) ports; one data folder is used by one shop at a time.

mod application;
mod database;
mod deployment;
mod external;
mod host;
mod lone;
mod state;
mod swap;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;

pub use application::{Application, Configs, read_configs};
pub use database::DATABASES;
pub use deployment::{deploy, store_configs};
pub use external::External;
pub use host::{Host, HostOptions, LatticeOptions, MACHINE_CONFIGS, host_secrets, machine_configs};
pub use lone::LoneHost;
pub use state::{Addresses, Recorded, State, down};
pub use swap::{hosts_of, swap};

use crate::client::Client;
use crate::eventually;
use crate::lattice::Lattice;
use crate::place::Place;
use crate::process::Lifetime;
use crate::service::{Issuer, Kafka, Maildev, Nats, Postgres, Psp, Redis, Service, Wadm};
use crate::tools::{Installed, Progress, Tools, Wanted};

/// What a shop is made of.
#[derive(Clone, Debug)]
pub struct ShopOptions {
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// The program `swiftcart-sim`.
    pub sim_binary: PathBuf,
    /// The host and what it runs; `None` starts the services only.
    pub host: Option<HostOptions>,
    /// Whether it ends with this process.
    pub lifetime: Lifetime,
    /// Start a NATS server too. A host on a lattice needs one.
    pub nats: bool,
    /// Where its clients look for it, if that port is free; otherwise it gets another.
    pub nats_port: Option<u16>,
    /// Nodes of the Kafka cluster; several hold three copies of each internal topic and acknowledge with two.
    pub kafka_nodes: u32,
    /// Servers that run already.
    pub external: External,
    /// Where progress is told.
    pub progress: Progress,
}

impl ShopOptions {
    /// A shop in a folder, ending with this process, with the servers that the environment names.
    #[must_use]
    pub fn new(data_dir: &Path, sim_binary: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            sim_binary: sim_binary.to_owned(),
            host: None,
            lifetime: Lifetime::WithParent,
            nats: true,
            nats_port: None,
            kafka_nodes: 1,
            external: External::from_environment(),
            progress: Progress::silent(),
        }
    }

    /// The same with a host.
    #[must_use]
    pub fn with_host(mut self, host: HostOptions) -> Self {
        self.host = Some(host);
        self
    }

    /// All programs, and that of wadm if the host is a member of a lattice. Blocks.
    fn install(&self, tools: &Tools) -> anyhow::Result<(Installed, Option<PathBuf>)> {
        let lattice = self.host.as_ref().and_then(|host| host.lattice.as_ref());
        let wadm = lattice.map(|lattice| tools.wadm(&lattice.wadm_source)).transpose()?;
        Ok((tools.install(self.wanted())?, wadm))
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            postgres: self.external.database_url.is_none(),
            redis: self.external.redis_url.is_none(),
            nats: self.nats && self.external.nats_url.is_none(),
            kafka: self.external.kafka_bootstrap_servers.is_none(),
            maildev: self.external.smtp_url.is_none(),
            registry: false,
        }
    }
}

/// A running shop. A service is `None` when a server of the environment takes its place.
#[derive(Debug)]
pub struct Shop {
    /// PostgreSQL.
    pub postgres: Option<Postgres>,
    /// Redis.
    pub redis: Option<Redis>,
    /// NATS.
    pub nats: Option<Nats>,
    /// Apache Kafka; of a cluster the first node.
    pub kafka: Option<Kafka>,
    /// The other nodes of the cluster.
    pub more_kafka: Vec<Kafka>,
    /// The mail catcher.
    pub maildev: Option<Maildev>,
    /// The payment service provider.
    pub psp: Psp,
    /// The token issuer.
    pub issuer: Issuer,
    /// wadm, if the host is a member of a lattice.
    pub wadm: Option<Wadm>,
    /// The host.
    pub host: Option<Host>,
    addresses: Addresses,
    place: Place,
    _lock: fs::File,
}

impl Shop {
    /// Installs what is missing, starts the services concurrently, makes the databases, then starts the host and waits until it is ready.
    ///
    /// # Errors
    /// When another shop uses the folder or anything does not start, with the end of its log.
    pub async fn start(options: ShopOptions) -> anyhow::Result<Self> {
        let (place, lock) = claim(&options).await?;
        let (installed, wadm) = {
            let (options, tools) = (options.clone(), Tools::new(options.progress.clone())?);
            tokio::task::spawn_blocking(move || options.install(&tools)).await??
        };
        options.progress.say("Starting the services");
        let mut shop = Self::start_services(&options, place, lock, installed).await?;
        shop.remember(&options)?;
        if let Some(host) = &options.host {
            options.progress.say("Starting the host");
            shop.host = Some(Host::prepare(&shop.place, &mut shop.addresses, host)?);
            let started = match (&host.lattice, wadm) {
                (Some(lattice), Some(wadm)) => shop.start_lattice(host, lattice, &wadm, &options.progress).await,
                _ => shop.start_host().await,
            };
            // Also when it failed: a detached host that never got ready must be found by `down`.
            shop.remember(&options)?;
            started?;
        }
        Ok(shop)
    }

    async fn start_services(
        options: &ShopOptions,
        place: Place,
        lock: fs::File,
        installed: Installed,
    ) -> anyhow::Result<Self> {
        let external = &options.external;
        let database = async {
            let postgres = match &installed.postgres_bin {
                Some(bin) => Some(Postgres::start_in(&place, bin).await?),
                None => None,
            };
            let admin_url = match &postgres {
                Some(postgres) => postgres.admin_url(),
                None => external.database_url.clone().context("DATABASE_URL is not set")?,
            };
            let urls = database::provision(&place, &admin_url, postgres.is_some()).await?;
            anyhow::Ok((postgres, admin_url, urls))
        };
        let redis = optional(installed.redis_server.as_deref(), async |program| Redis::start_in(&place, program).await);
        if let Some(port) = options.nats_port {
            place.prefer("nats", port)?;
        }
        let nats = optional(installed.nats_server.as_deref(), async |program| Nats::start_in(&place, program).await);
        let kafka = optional(installed.kafka.as_ref(), async |program| {
            Kafka::start_cluster(&place, program, options.kafka_nodes).await
        });
        let maildev = optional(installed.maildev.as_ref(), async |program| Maildev::start_in(&place, program).await);
        let simulators = async {
            tokio::try_join!(Psp::start_in(&place, &options.sim_binary), Issuer::start_in(&place, &options.sim_binary))
        };
        let ((postgres, admin_url, database_urls), redis, nats, nodes, maildev, (psp, issuer)) =
            tokio::try_join!(database, redis, nats, kafka, maildev, simulators)?;
        let nodes = nodes.unwrap_or_default();
        let servers: Vec<String> = nodes.iter().map(Kafka::bootstrap_servers).collect();
        let mut nodes = nodes.into_iter();
        let (kafka, more_kafka) = (nodes.next(), nodes.collect());

        let own_or = |own: Option<String>, external: &Option<String>, variable: &str| {
            own.or_else(|| external.clone()).with_context(|| format!("{variable} is not set"))
        };
        let addresses = Addresses {
            admin_database_url: admin_url,
            database_urls,
            redis_url: own_or(redis.as_ref().map(Redis::url), &external.redis_url, "REDIS_URL")?,
            kafka_bootstrap_servers: own_or(
                kafka.as_ref().map(|_: &Kafka| servers.join(",")),
                &external.kafka_bootstrap_servers,
                "KAFKA_BOOTSTRAP_SERVERS",
            )?,
            nats_url: nats.as_ref().map(Nats::url).or_else(|| external.nats_url.clone()),
            smtp_url: own_or(maildev.as_ref().map(Maildev::smtp_url), &external.smtp_url, "SMTP_URL")?,
            mail_web_url: maildev.as_ref().map(Maildev::web_url).or_else(|| external.mail_web_url.clone()),
            psp_base_url: psp.base_url(),
            psp_secret_key: psp.secret_key().to_owned(),
            psp_webhook_secret: psp.webhook_secret().to_owned(),
            issuer_url: issuer.url(),
            issuer_audience: Issuer::AUDIENCE.to_owned(),
            issuer_jwks_url: issuer.jwks_url(),
            issuer_keys: issuer.keys().to_owned(),
            edge_url: None,
            admin_url: None,
            lattice: None,
        };
        let (wadm, host) = (None, None);
        Ok(Self {
            postgres,
            redis,
            nats,
            kafka,
            more_kafka,
            maildev,
            psp,
            issuer,
            wadm,
            host,
            addresses,
            place,
            _lock: lock,
        })
    }

    /// Configs first, so that nothing starts with the addresses of an earlier run; then the host and wadm; then the manifest.
    async fn start_lattice(
        &mut self,
        host: &HostOptions,
        lattice: &LatticeOptions,
        wadm: &Path,
        progress: &Progress,
    ) -> anyhow::Result<()> {
        let nats_url = self.addresses.nats_url.clone().context("a lattice needs NATS")?;
        let application = Application::read(&host.manifest)?;
        let control = Lattice::connect(&nats_url, &lattice.name).await?;
        let configs = self.host.as_ref().context("this shop has no host")?.configs();
        store_configs(&control, configs).await?;
        self.start_host().await?;
        self.wadm = Some(Wadm::start_in(&self.place, wadm, &nats_url).await?);
        progress.say("Deploying the application");
        deploy(&control, &application, host.ready_deadline).await?;
        self.serves(host.ready_deadline).await
    }

    /// Waits until the host is ready and the edge answers a request with anything but a failure of its own.
    async fn serves(&self, deadline: Duration) -> anyhow::Result<()> {
        let client = self.client()?;
        eventually(deadline, "the first answer of the shop", async || {
            let ready = client.admin("/readyz").await?;
            ensure!(ready.status == 200, "the host is not ready: {}", ready.text());
            let products = client.get("/products", None).await?;
            ensure!(products.status == 200, "the shop answers {}: {}", products.status, products.text());
            Ok(())
        })
        .await
    }

    async fn start_host(&mut self) -> anyhow::Result<()> {
        match &mut self.host {
            Some(host) => host.start().await,
            None => bail!("this shop has no host"),
        }
    }

    /// Where everything is, passwords included.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.place.root()
    }

    /// A client for the shop's API, the simulators and the inbox.
    ///
    /// # Errors
    /// When the issuer's keys cannot be read.
    pub fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.addresses)
    }

    /// The host, for tests that kill and restart it.
    ///
    /// # Errors
    /// When the shop was started without one.
    pub fn host(&mut self) -> anyhow::Result<&mut Host> {
        self.host.as_mut().context("this shop has no host")
    }

    /// Everything that was started here, the host first.
    pub fn services(&mut self) -> Vec<&mut Service> {
        let mut services: Vec<&mut Service> = Vec::new();
        services.extend(self.host.as_deref_mut());
        services.extend(self.wadm.as_deref_mut());
        services.extend([&mut *self.psp, &mut *self.issuer]);
        services.extend(self.postgres.as_deref_mut());
        services.extend(self.redis.as_deref_mut());
        services.extend(self.nats.as_deref_mut());
        services.extend(self.kafka.as_deref_mut());
        services.extend(self.more_kafka.iter_mut().map(|node| &mut **node));
        services.extend(self.maildev.as_deref_mut());
        services
    }

    /// Waits until one of the processes ends by itself, and says which and how.
    pub async fn any_exit(&mut self) -> String {
        loop {
            for service in self.services() {
                if let Some(status) = service.exited() {
                    return format!("{} ended with {status}; its log is {}", service.name(), service.log().display());
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    /// Stops the host, then everything else at once.
    ///
    /// # Errors
    /// When something cannot be stopped; the rest is stopped nevertheless.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        if let Some(host) = &mut self.host {
            failed.extend(host.stop().await.err());
        }
        let results = futures::future::join_all(self.services().into_iter().map(Service::stop)).await;
        failed.extend(results.into_iter().filter_map(Result::err));
        State::forget(self.place.root())?;
        match failed.pop() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn remember(&mut self, options: &ShopOptions) -> anyhow::Result<()> {
        let processes = self.services().into_iter().filter_map(|service| Recorded::of(service)).collect();
        State::write(self.place.root(), options.lifetime, processes, self.addresses.clone())
    }
}

/// Takes the data folder for this shop and ends what an earlier one left running in it.
async fn claim(options: &ShopOptions) -> anyhow::Result<(Place, fs::File)> {
    let place = Place::open(&options.data_dir, options.lifetime)?;
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(place.root().join("lock"))?;
    if lock.try_lock().is_err() {
        bail!(
            "the data folder {} is used by a shop that is running; stop it first or take another folder",
            place.root().display()
        );
    }
    let root = place.root().to_owned();
    tokio::task::spawn_blocking(move || state::end_left_over(&root)).await??;
    Ok((place, lock))
}

/// The X25519 key pair that mail addresses in events are sealed with (public, secret), in base64. Made once per data folder.
///
/// # Errors
/// When it cannot be read or written.
pub fn seal_keys(place: &Place) -> anyhow::Result<(String, String)> {
    let secret = place.secret_or("mail-seal", || STANDARD.encode(rand::random::<[u8; 32]>()))?;
    let bytes: [u8; 32] =
        STANDARD.decode(&secret)?.try_into().ok().context("the mail seal key is not 32 bytes long")?;
    Ok((STANDARD.encode(SecretKey::from(bytes).public_key().as_bytes()), secret))
}

async fn optional<P, T>(
    program: Option<P>,
    start: impl AsyncFnOnce(P) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    match program {
        Some(program) => start(program).await.map(Some),
        None => Ok(None),
    }
}
