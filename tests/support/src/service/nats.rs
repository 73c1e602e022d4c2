//! NATS with JetStream. Invariant: streams are on disk, so a restart keeps them.

use std::path::Path;
use std::time::Duration;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};

/// A NATS server of its own.
#[derive(Debug)]
pub struct Nats {
    service: Service,
    port: u16,
}

is_service!(Nats);

impl Nats {
    /// Starts the server.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &Path) -> anyhow::Result<Self> {
        let (port, monitor) = (place.port("nats")?, place.port("nats-monitor")?);
        let folder = place.folder("nats")?;
        let mut arguments: Vec<_> = ["-js", "-a", "127.0.0.1", "-p"].map(Into::into).to_vec();
        arguments.extend([
            port.to_string().into(),
            "-m".into(),
            monitor.to_string().into(),
            "-sd".into(),
            folder.clone().into_os_string(),
        ]);
        let launch = Launch {
            name: "nats".to_owned(),
            program: program.to_owned(),
            arguments,
            environment: Vec::new(),
            folder,
            log: place.log("nats")?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let ready = Ready::Http { url: format!("http://127.0.0.1:{monitor}/healthz?js-enabled-only=true") };
        let mut nats = Self { service: Service::new(launch, ready, Duration::from_secs(30)), port };
        nats.start().await?;
        Ok(nats)
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// URL for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}
