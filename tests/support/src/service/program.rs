//! Any program beside a shop that says over HTTP that it is ready: what is compared with the shop, for example.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};

/// How long it may take until it is ready.
const READY_DEADLINE: Duration = Duration::from_secs(60);

/// The running program.
#[derive(Debug)]
pub struct Program {
    service: Service,
}

is_service!(Program);

impl Program {
    /// Starts it and waits until `health_url` answers 2xx. Secrets belong into the environment; its log is in the data folder, under its name.
    ///
    /// # Errors
    /// When it ends early or does not get ready, with the end of its log.
    pub async fn start_in(
        place: &Place,
        name: &str,
        program: &Path,
        arguments: Vec<OsString>,
        environment: Vec<(String, String)>,
        health_url: String,
    ) -> anyhow::Result<Self> {
        let launch = Launch {
            name: name.to_owned(),
            program: std::path::absolute(program)?,
            arguments,
            environment,
            folder: place.root().to_owned(),
            log: place.log(name)?,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let mut started = Self { service: Service::new(launch, Ready::Http { url: health_url }, READY_DEADLINE) };
        started.start().await?;
        Ok(started)
    }
}
