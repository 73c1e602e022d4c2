//! The host process with its configuration and secrets, alone with a manifest or as a member of a lattice. Invariant: secrets reach it through
//! its environment only, never through a file of ours, the lattice or an argument.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::application::Configs;
use super::lone::LoneHost;
use super::seal_keys;
use super::state::Addresses;
use crate::place::Place;
use crate::service::{LatticeHost, LatticeHostOptions, Service};

/// The configs that a manifest only names because they differ from machine to machine.
pub const MACHINE_CONFIGS: [&str; 6] = ["edge", "kafka", "mail", "psp", "psp-egress", "seal"];

/// What the host runs.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The program `swiftcart-host`.
    pub binary: PathBuf,
    /// The application manifest.
    pub manifest: PathBuf,
    /// Where `file://` images are.
    pub artifact_root: PathBuf,
    /// Where the folders of migrations are.
    pub migrations_root: PathBuf,
    /// Where compiled components are kept; by default in the data folder.
    pub cache_dir: Option<PathBuf>,
    /// Where the shop's API listens; by default 127.0.0.1 and a remembered free port.
    pub edge_address: Option<SocketAddr>,
    /// Configuration values that are added to or replace those of the shop, as (configuration, key, value).
    pub config: Vec<(String, String, String)>,
    /// Further environment variables.
    pub environment: Vec<(String, String)>,
    /// How long it may take until it is ready.
    pub ready_deadline: Duration,
    /// Makes it a member of a lattice, where wadm tells it what to run; without, it reads the manifest itself.
    pub lattice: Option<LatticeOptions>,
}

/// The lattice of a shop, on its NATS server.
#[derive(Clone, Debug)]
pub struct LatticeOptions {
    /// Its name; programs take `default` when they are not told.
    pub name: String,
    /// The folder `wadm/server` of the checkout.
    pub wadm_source: PathBuf,
    /// Labels of the host, for placement.
    pub labels: Vec<(String, String)>,
}

impl LatticeOptions {
    /// A lattice with a name.
    #[must_use]
    pub fn new(name: &str, wadm_source: &Path) -> Self {
        Self { name: name.to_owned(), wadm_source: wadm_source.to_owned(), labels: Vec::new() }
    }
}

impl HostOptions {
    /// A host with the defaults.
    #[must_use]
    pub fn new(binary: &Path, manifest: &Path, artifact_root: &Path, migrations_root: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            manifest: manifest.to_owned(),
            artifact_root: artifact_root.to_owned(),
            migrations_root: migrations_root.to_owned(),
            cache_dir: None,
            edge_address: None,
            config: Vec::new(),
            environment: Vec::new(),
            ready_deadline: Duration::from_secs(180),
            lattice: None,
        }
    }

    /// That what it names is there.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        for (path, what) in [
            (&self.binary, "the host program"),
            (&self.manifest, "the manifest"),
            (&self.artifact_root, "the folder of components"),
        ] {
            ensure!(path.exists(), "{what} {} is not there", path.display());
        }
        Ok(())
    }
}

/// The host process.
#[derive(Debug)]
pub struct Host {
    service: Kind,
    configs: Configs,
}

#[derive(Debug)]
enum Kind {
    Alone(Box<LoneHost>),
    Member(Box<LatticeHost>),
}

impl std::ops::Deref for Host {
    type Target = Service;
    fn deref(&self) -> &Service {
        match &self.service {
            Kind::Alone(host) => host,
            Kind::Member(host) => host,
        }
    }
}

impl std::ops::DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Service {
        match &mut self.service {
            Kind::Alone(host) => host,
            Kind::Member(host) => host,
        }
    }
}

impl Host {
    /// The configs that the manifest names without giving their values.
    pub(super) fn configs(&self) -> &Configs {
        &self.configs
    }

    /// Writes its configuration; enters its addresses.
    pub(super) fn prepare(place: &Place, addresses: &mut Addresses, options: &HostOptions) -> anyhow::Result<Self> {
        options.check()?;
        let edge = match options.edge_address {
            Some(address) => address,
            None => SocketAddr::from(([127, 0, 0, 1], place.port("edge")?)),
        };
        addresses.edge_url = Some(format!("http://{edge}"));
        let (seal_public, seal_secret) = seal_keys(place)?;
        let configs = machine_configs(addresses, edge, &seal_public, &options.config);
        let mut environment = host_secrets(addresses, seal_secret);
        environment.extend(options.environment.iter().cloned());
        let service = match &options.lattice {
            None => {
                let host = LoneHost::prepare(place, options, &configs, environment)?;
                addresses.admin_url = Some(host.admin_url().to_owned());
                Kind::Alone(Box::new(host))
            }
            Some(lattice) => Kind::Member(Box::new(member(place, addresses, options, lattice, environment)?)),
        };
        Ok(Self { service, configs })
    }
}

/// A host that is told over NATS what to run.
fn member(
    place: &Place,
    addresses: &mut Addresses,
    options: &HostOptions,
    lattice: &LatticeOptions,
    mut environment: Vec<(String, String)>,
) -> anyhow::Result<LatticeHost> {
    let nats_url = addresses.nats_url.as_deref().context("a lattice needs NATS")?;
    let mut member = LatticeHostOptions::new("host", &absolute(&options.binary)?, nats_url, &options.artifact_root);
    member.lattice.clone_from(&lattice.name);
    member.labels.clone_from(&lattice.labels);
    member.migrations_root = Some(options.migrations_root.clone());
    environment.extend([
        ("SWIFTCART_HOST_CACHE_DIR".to_owned(), cache_dir(place, options)?.display().to_string()),
        // So often that wadm, which gives a silent host up after ten seconds, never does so by mistake.
        ("SWIFTCART_HOST_HEARTBEAT_INTERVAL_MS".to_owned(), "3000".to_owned()),
    ]);
    member.environment = environment;
    let host = LatticeHost::prepare(place, &member)?;
    addresses.admin_url = Some(host.admin_url().to_owned());
    addresses.lattice = Some(lattice.name.clone());
    Ok(host)
}

pub(super) fn cache_dir(place: &Place, options: &HostOptions) -> anyhow::Result<PathBuf> {
    match &options.cache_dir {
        Some(folder) => absolute(folder),
        None => place.folder("host-cache"),
    }
}

pub(super) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("the path {}", path.display()))
}

/// The variables of a host's environment that hold secrets: a secret stands there and nowhere else.
#[must_use]
pub fn host_secrets(addresses: &Addresses, seal_secret: String) -> Vec<(String, String)> {
    let mut secrets: Vec<(String, String)> = addresses
        .database_urls
        .iter()
        .map(|(name, url)| (format!("SWIFTCART_{}_DATABASE_URL", name.to_uppercase()), url.clone()))
        .collect();
    secrets.extend([
        ("SWIFTCART_REDIS_URL".to_owned(), addresses.redis_url.clone()),
        ("SWIFTCART_SMTP_URL".to_owned(), addresses.smtp_url.clone()),
        ("SWIFTCART_PSP_SECRET_KEY".to_owned(), addresses.psp_secret_key.clone()),
        ("SWIFTCART_PSP_WEBHOOK_SECRETS".to_owned(), addresses.psp_webhook_secret.clone()),
        ("SWIFTCART_MAIL_SEAL_SECRET_KEY".to_owned(), seal_secret),
    ]);
    secrets
}

/// What stands between the scheme and the path.
fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The configurations that the manifest names without giving their values.
#[must_use]
pub fn machine_configs(
    addresses: &Addresses,
    edge: SocketAddr,
    seal_public: &str,
    more: &[(String, String, String)],
) -> Configs {
    let edge = edge.to_string();
    let entries = [
        ("kafka", "bootstrap_servers", addresses.kafka_bootstrap_servers.as_str()),
        ("edge", "address", &edge),
        ("edge", "issuer", &addresses.issuer_url),
        ("edge", "audience", &addresses.issuer_audience),
        ("edge", "jwks_url", &addresses.issuer_jwks_url),
        ("psp", "base_url", &addresses.psp_base_url),
        ("psp-egress", "allowed_hosts", host_and_port(&addresses.psp_base_url)),
        ("mail", "from", "SwiftCart <orders@swiftcart.example>"),
        ("seal", "mail_seal_public_key", seal_public),
    ];
    let more = more.iter().map(|(config, key, value)| (config.as_str(), key.as_str(), value.as_str()));
    let mut configs = Configs::new();
    for (config, key, value) in entries.into_iter().chain(more) {
        configs.entry(config.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }
    configs
}
