//! Redis. Invariant: what was written is in the append-only file, so a restart keeps it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::{Ready, Service, is_service};
use crate::place::{Place, write_private};
use crate::process::{Launch, StopSignal};

/// A Redis server of its own.
#[derive(Debug)]
pub struct Redis {
    service: Service,
    port: u16,
    password: String,
    folder: PathBuf,
}

is_service!(Redis);

impl Redis {
    /// Starts the server.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &Path) -> anyhow::Result<Self> {
        let (port, password) = (place.port("redis")?, place.secret("redis")?);
        let folder = place.folder("redis")?;
        // In a file rather than in the arguments, which every user of the machine can read.
        let config = folder.join("redis.conf");
        let text = format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nappendonly yes\nsave \"\"\nrequirepass {password}\ndaemonize no\n",
            folder.display()
        );
        write_private(&config, text.as_bytes())?;
        let launch = Launch {
            name: "redis".to_owned(),
            program: program.to_owned(),
            arguments: vec![config.into()],
            environment: Vec::new(),
            folder: folder.clone(),
            log: place.log("redis")?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let ready = Ready::Redis { port, password: password.clone() };
        let mut redis = Self { service: Service::new(launch, ready, Duration::from_secs(30)), port, password, folder };
        redis.start().await?;
        Ok(redis)
    }

    /// SIGKILL, and nothing of what it held is left: the next start finds it empty.
    ///
    /// # Errors
    /// When it is not running or its file cannot be removed.
    pub fn kill_and_lose(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        let file = self.folder.join("appendonlydir");
        std::fs::remove_dir_all(&file).with_context(|| format!("removing {}", file.display()))
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL with the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/0", self.password, self.port)
    }
}
