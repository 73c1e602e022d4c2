//! The host process with its configuration file and secrets. Invariant: secrets reach it through its environment only, never through a file
//! of ours or an argument.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::seal_keys;
use super::state::Addresses;
use crate::place::{Place, write_private};
use crate::process::{Launch, StopSignal};
use crate::service::{Ready, Service, is_service};

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
        }
    }
}

/// The host process.
#[derive(Debug)]
pub struct Host {
    service: Service,
}

is_service!(Host);

impl Host {
    /// Writes its configuration; enters its addresses.
    pub(super) fn prepare(place: &Place, addresses: &mut Addresses, options: &HostOptions) -> anyhow::Result<Self> {
        for (path, what) in [
            (&options.binary, "the host program"),
            (&options.manifest, "the manifest"),
            (&options.artifact_root, "the folder of components"),
        ] {
            ensure!(path.exists(), "{what} {} is not there", path.display());
        }
        let edge = match options.edge_address {
            Some(address) => address,
            None => SocketAddr::from(([127, 0, 0, 1], place.port("edge")?)),
        };
        let admin = format!("127.0.0.1:{}", place.port("admin")?);
        addresses.edge_url = Some(format!("http://{edge}"));
        addresses.admin_url = Some(format!("http://{admin}"));
        let (seal_public, seal_secret) = seal_keys(place)?;
        let config_file = place.root().join("config.yaml");
        write_private(&config_file, config_yaml(addresses, edge, &seal_public, &options.config)?.as_bytes())?;

        let cache_dir = match &options.cache_dir {
            Some(folder) => folder.clone(),
            None => place.folder("host-cache")?,
        };
        let absolute = |path: &Path| std::path::absolute(path).with_context(|| format!("the path {}", path.display()));
        let mut arguments = vec!["run".into()];
        for (flag, path) in [
            ("--manifest", &options.manifest),
            ("--artifact-root", &options.artifact_root),
            ("--migrations-root", &options.migrations_root),
            ("--config-file", &config_file),
            ("--cache-dir", &cache_dir),
        ] {
            arguments.extend([flag.into(), absolute(path)?.into_os_string()]);
        }
        arguments.extend(["--admin-address".into(), admin.clone().into()]);
        let mut environment = secrets(addresses, seal_secret);
        environment.extend(options.environment.iter().cloned());
        let launch = Launch {
            name: "host".to_owned(),
            program: absolute(&options.binary)?,
            arguments,
            environment,
            folder: place.root().to_owned(),
            log: place.log("host")?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let ready = Ready::Http { url: format!("http://{admin}/readyz") };
        Ok(Self { service: Service::new(launch, ready, options.ready_deadline) })
    }
}

fn secrets(addresses: &Addresses, seal_secret: String) -> Vec<(String, String)> {
    let mut secrets: Vec<(String, String)> = addresses
        .database_urls
        .iter()
        .map(|(name, url)| (format!("SWIFTCART_{}_DATABASE_URL", name.to_uppercase()), url.clone()))
        .collect();
    secrets.extend([
        ("SWIFTCART_REDIS_URL".to_owned(), addresses.redis_url.clone()),
        ("SWIFTCART_SMTP_URL".to_owned(), addresses.smtp_url.clone()),
        ("SWIFTCART_PSP_SECRET_KEY".to_owned(), addresses.psp_secret_key.clone()),
        ("SWIFTCART_MAIL_SEAL_SECRET_KEY".to_owned(), seal_secret),
    ]);
    secrets
}

/// What stands between the scheme and the path.
fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// The configurations that the manifest names without giving their values. A JSON text in quotes is a YAML text too.
fn config_yaml(
    addresses: &Addresses,
    edge: SocketAddr,
    seal_public: &str,
    more: &[(String, String, String)],
) -> anyhow::Result<String> {
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
    let mut configs: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    let more = more.iter().map(|(config, key, value)| (config.as_str(), key.as_str(), value.as_str()));
    for (config, key, value) in entries.into_iter().chain(more) {
        configs.entry(config).or_default().insert(key, value);
    }
    let mut text = String::from("# Written anew at each start.\n");
    for (config, pairs) in configs {
        text.push_str(&format!("{config}:\n"));
        for (key, value) in pairs {
            text.push_str(&format!("  {key}: {}\n", serde_json::to_string(value)?));
        }
    }
    Ok(text)
}
