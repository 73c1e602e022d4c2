//! An OCI registry (CNCF Distribution) in plain HTTP. Invariant: what was pushed is on disk, so a restart keeps it.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::{Ready, Service, is_service};
use crate::place::{Place, write_private};
use crate::process::{Launch, StopSignal};

/// Who may log in, where a login is asked for. The server wants a bcrypt hash, which is made once here and not by each run: it opens
/// nothing but a registry on 127.0.0.1 that a test has started.
const USER: &str = "developer";
const PASSWORD: &str = "only-for-tests";
const HASH: &str = "$2a$04$1AGffXL/WoTTmjd2LaMOdO9NoLzqTMjZdkTYu3WlCTFCS/oV.MQOG";

/// A registry of its own.
#[derive(Debug)]
pub struct Registry {
    service: Service,
    port: u16,
}

is_service!(Registry);

impl Registry {
    /// Starts a registry that asks nobody for a password.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &Path) -> anyhow::Result<Self> {
        Self::start_named(place, program, "registry", false).await
    }

    /// Starts a registry that wants [`Registry::credentials`], beside one that does not.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_locked_in(place: &Place, program: &Path) -> anyhow::Result<Self> {
        Self::start_named(place, program, "registry-locked", true).await
    }

    async fn start_named(place: &Place, program: &Path, name: &str, locked: bool) -> anyhow::Result<Self> {
        let (port, health) = (place.port(name)?, place.port(&format!("{name}-health"))?);
        let folder = place.folder(name)?;
        let passwords = folder.join("htpasswd");
        // Debian's configuration is not read, so that a file of the machine changes nothing here. Deleting is allowed: tests do it.
        let mut config = format!(
            "version: 0.1\nlog: {{level: warn}}\nhttp:\n  addr: 127.0.0.1:{port}\n  debug: {{addr: \"127.0.0.1:{health}\"}}\n\
             storage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\n",
            serde_json::to_string(&folder.join("data"))?
        );
        if locked {
            write_private(&passwords, format!("{USER}:{HASH}\n").as_bytes())?;
            config.push_str(&format!(
                "auth:\n  htpasswd: {{realm: swiftcart, path: {}}}\n",
                serde_json::to_string(&passwords)?
            ));
        }
        let file = folder.join("config.yml");
        write_private(&file, config.as_bytes()).context("configuring the registry")?;
        let launch = Launch {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: vec!["serve".into(), file.into()],
            environment: Vec::new(),
            folder,
            log: place.log(name)?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let ready = Ready::Registry { port, locked };
        let mut registry = Self { service: Service::new(launch, ready, Duration::from_secs(30)), port };
        registry.start().await?;
        Ok(registry)
    }

    /// What stands before a name in references: `127.0.0.1:<port>`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// User and password of a registry that wants a login.
    #[must_use]
    pub fn credentials() -> (&'static str, &'static str) {
        (USER, PASSWORD)
    }
}
