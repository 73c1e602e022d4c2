//! A host without a lattice: it reads a manifest and a file of configs. Invariant: it needs no server but those that its manifest names, so that a
//! component can run without a whole shop.

use std::fmt::Write as _;

use super::application::Configs;
use super::host::{HostOptions, absolute, cache_dir};
use crate::place::{Place, write_private};
use crate::process::{Launch, StopSignal};
use crate::service::{Ready, Service, is_service};

/// The host process.
#[derive(Debug)]
pub struct LoneHost {
    service: Service,
    admin_url: String,
}

is_service!(LoneHost);

impl LoneHost {
    /// Writes its file of configs; secrets belong into the environment.
    ///
    /// # Errors
    /// When something that the options name is not there, or the data folder cannot be written.
    pub fn prepare(
        place: &Place,
        options: &HostOptions,
        configs: &Configs,
        environment: Vec<(String, String)>,
    ) -> anyhow::Result<Self> {
        options.check()?;
        let admin = format!("127.0.0.1:{}", place.port("admin")?);
        let config_file = place.root().join("config.yaml");
        write_private(&config_file, config_yaml(configs)?.as_bytes())?;
        let cache_dir = cache_dir(place, options)?;
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
        let admin_url = format!("http://{admin}");
        let ready = Ready::Http { url: format!("{admin_url}/readyz") };
        Ok(Self { service: Service::new(launch, ready, options.ready_deadline), admin_url })
    }

    /// Its health, metrics and inventory.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }
}

/// A JSON text in quotes is a YAML text too.
fn config_yaml(configs: &Configs) -> anyhow::Result<String> {
    let mut text = String::from("# Written anew at each start.\n");
    for (config, pairs) in configs {
        writeln!(text, "{config}:")?;
        for (key, value) in pairs {
            writeln!(text, "  {key}: {}", serde_json::to_string(value)?)?;
        }
    }
    Ok(text)
}
