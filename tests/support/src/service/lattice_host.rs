//! Our host as a member of a lattice, told what `wash up` tells a host: environment variables and no argument but the mode. Invariant: its id
//! is chosen here, so that readiness is the answer of this very host and not of another on the same lattice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use nkeys::KeyPair;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};

/// How to start a host.
#[derive(Clone, Debug)]
pub struct LatticeHostOptions {
    /// Sets hosts of one data folder apart: name of its log, its port and its cache.
    pub name: String,
    /// The program `swiftcart-host`.
    pub binary: PathBuf,
    /// The NATS server, `nats://host:port`.
    pub nats_url: String,
    /// The lattice.
    pub lattice: String,
    /// Labels for placement.
    pub labels: Vec<(String, String)>,
    /// Where relative `file://` images are.
    pub artifact_root: PathBuf,
    /// Where the folders of migrations are.
    pub migrations_root: Option<PathBuf>,
    /// Further variables; one of the same name replaces ours.
    pub environment: Vec<(String, String)>,
    /// How long it may take until it is ready.
    pub ready_deadline: Duration,
}

impl LatticeHostOptions {
    /// A host on the lattice `default` without labels.
    #[must_use]
    pub fn new(name: &str, binary: &Path, nats_url: &str, artifact_root: &Path) -> Self {
        Self {
            name: name.to_owned(),
            binary: binary.to_owned(),
            nats_url: nats_url.to_owned(),
            lattice: "default".to_owned(),
            labels: Vec::new(),
            artifact_root: artifact_root.to_owned(),
            migrations_root: None,
            environment: Vec::new(),
            ready_deadline: Duration::from_secs(30),
        }
    }
}

/// A host of a lattice.
#[derive(Debug)]
pub struct LatticeHost {
    service: Service,
    id: String,
    admin_url: String,
}

is_service!(LatticeHost);

impl LatticeHost {
    /// Starts the host.
    ///
    /// # Errors
    /// When it does not answer a ping in time, with the end of the log.
    pub async fn start_in(place: &Place, options: &LatticeHostOptions) -> anyhow::Result<Self> {
        let mut host = Self::prepare(place, options)?;
        host.start().await?;
        Ok(host)
    }

    /// The host, not started yet. Each start of it is the same host: the id stays.
    ///
    /// # Errors
    /// When the program is not there or the data folder cannot be written.
    pub fn prepare(place: &Place, options: &LatticeHostOptions) -> anyhow::Result<Self> {
        ensure!(options.binary.exists(), "the host program {} is not there", options.binary.display());
        let (nats_host, nats_port) = authority(&options.nats_url)?;
        // Kept with the data: wadm's records of a host that starts again are then about this host, not about one that will never return.
        let fresh = KeyPair::new_server().seed().context("making a host's key")?;
        let seed = place.secret_or(&format!("{}-seed", options.name), || fresh)?;
        let pair = KeyPair::from_seed(&seed).context("the stored key of a host")?;
        let admin = format!("127.0.0.1:{}", place.port(&format!("{}-admin", options.name))?);
        let absolute = |path: &Path| {
            let path = std::path::absolute(path).with_context(|| format!("the path {}", path.display()))?;
            anyhow::Ok(path.display().to_string())
        };
        let mut variables = vec![
            ("WASMCLOUD_LATTICE", options.lattice.clone()),
            ("WASMCLOUD_CTL_HOST", nats_host.clone()),
            ("WASMCLOUD_CTL_PORT", nats_port.clone()),
            ("WASMCLOUD_RPC_HOST", nats_host),
            ("WASMCLOUD_RPC_PORT", nats_port),
            ("WASMCLOUD_RPC_TIMEOUT_MS", "2000".to_owned()),
            ("WASMCLOUD_PROV_SHUTDOWN_DELAY_MS", "300".to_owned()),
            ("WASMCLOUD_ALLOW_FILE_LOAD", "true".to_owned()),
            ("WASMCLOUD_MAX_EXECUTION_TIME_MS", "600000".to_owned()),
            ("WASMCLOUD_LOG_LEVEL", "INFO".to_owned()),
            ("WASMCLOUD_HOST_SEED", seed),
            ("SWIFTCART_HOST_ADMIN_ADDRESS", admin.clone()),
            ("SWIFTCART_HOST_ARTIFACT_ROOT", absolute(&options.artifact_root)?),
            ("SWIFTCART_HOST_CACHE_DIR", absolute(&place.folder(&format!("{}-cache", options.name))?)?),
            ("SWIFTCART_HOST_LOG_FORMAT", "text".to_owned()),
        ];
        if let Some(root) = &options.migrations_root {
            variables.push(("SWIFTCART_HOST_MIGRATIONS_ROOT", absolute(root)?));
        }
        let mut environment: Vec<_> = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let labels = options.labels.iter();
        environment.extend(labels.map(|(key, value)| (format!("WASMCLOUD_LABEL_{key}"), value.clone())));
        environment.extend(options.environment.iter().cloned());
        let launch = Launch {
            name: options.name.clone(),
            program: options.binary.clone(),
            arguments: vec!["lattice".into()],
            environment,
            folder: place.folder(&options.name)?,
            log: place.log(&options.name)?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let id = pair.public_key();
        let ready =
            Ready::LatticeHost { nats_url: options.nats_url.clone(), lattice: options.lattice.clone(), id: id.clone() };
        let service = Service::new(launch, ready, options.ready_deadline);
        Ok(Self { service, id, admin_url: format!("http://{admin}") })
    }

    /// Its public key, by which the lattice names it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its health, metrics and inventory.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }
}

/// Host and port of a NATS URL.
pub(crate) fn authority(url: &str) -> anyhow::Result<(String, String)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let (host, port) = rest.trim_end_matches('/').rsplit_once(':').unwrap_or((rest, "4222"));
    ensure!(!host.is_empty() && port.parse::<u16>().is_ok(), "{url} is no address of a NATS server");
    Ok((host.to_owned(), port.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn host_and_port_are_found_in_every_form_of_a_url() {
        for url in ["nats://127.0.0.1:4300", "127.0.0.1:4300", "nats://me:secret@127.0.0.1:4300/"] {
            assert_eq!(authority(url).unwrap(), ("127.0.0.1".to_owned(), "4300".to_owned()), "{url}");
        }
        assert_eq!(authority("nats://somewhere").unwrap().1, "4222");
        assert!(authority("nats://127.0.0.1:port").is_err());
    }
}
