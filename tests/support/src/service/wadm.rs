//! wadm, which brings a lattice to what its manifests say. Invariant: what it knows lies in NATS, so a restart forgets nothing.

use std::path::Path;
use std::time::Duration;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};

/// After so long without a heartbeat a host counts as dead; our hosts send one every three.
const CLEANUP_SECONDS: u32 = 10;

/// A wadm of its own.
#[derive(Debug)]
pub struct Wadm {
    service: Service,
}

is_service!(Wadm);

impl Wadm {
    /// Starts it on a NATS server with JetStream. The program is that of [`crate::tools::Tools::wadm`].
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &Path, nats_url: &str) -> anyhow::Result<Self> {
        let launch = Launch {
            name: "wadm".to_owned(),
            program: program.to_owned(),
            arguments: ["--nats-server", nats_url, "--cleanup-interval", &CLEANUP_SECONDS.to_string()]
                .map(Into::into)
                .to_vec(),
            environment: vec![("RUST_LOG".to_owned(), "info,async_nats=warn".to_owned())],
            folder: place.folder("wadm")?,
            log: place.log("wadm")?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let ready = Ready::Wadm { nats_url: nats_url.to_owned() };
        let mut wadm = Self { service: Service::new(launch, ready, Duration::from_secs(30)) };
        wadm.start().await?;
        Ok(wadm)
    }
}
