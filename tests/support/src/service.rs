//! One struct per service: it prepares its data folder, starts its process on 127.0.0.1 and is ready when a real request is answered.
//! Invariant: a restart keeps ports and data.

mod kafka;
mod lattice_host;
mod maildev;
mod nats;
mod postgres;
mod program;
mod ready;
mod redis;
mod registry;
mod simulator;
mod wadm;

use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep, timeout};

pub use kafka::{Kafka, KafkaNode};
pub use lattice_host::{LatticeHost, LatticeHostOptions};
pub use maildev::Maildev;
pub use nats::Nats;
pub use postgres::Postgres;
pub use program::Program;
pub use redis::Redis;
pub use registry::Registry;
pub use simulator::{Issuer, Psp};
pub use wadm::Wadm;

pub(crate) use lattice_host::authority as lattice_address;
pub(crate) use ready::Ready;

use crate::process::{Launch, Process, ProcessId, StopSignal, tail};

/// Between two looks at whether a service is ready.
const PAUSE: Duration = Duration::from_millis(20);

/// A process with the means to start it again. All services dereference to it.
#[derive(Debug)]
pub struct Service {
    launch: Launch,
    ready: Ready,
    /// How long a start may take.
    deadline: Duration,
    process: Option<Process>,
}

impl Service {
    pub(crate) fn new(launch: Launch, ready: Ready, deadline: Duration) -> Self {
        Self { launch, ready, deadline, process: None }
    }

    /// The name in messages and of the log file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// The log file.
    #[must_use]
    pub fn log(&self) -> &PathBuf {
        &self.launch.log
    }

    /// Its process, if it was started.
    #[must_use]
    pub fn process(&self) -> Option<ProcessId> {
        self.process.as_ref().map(Process::id)
    }

    /// How to ask it to stop.
    #[must_use]
    pub fn stop_signal(&self) -> StopSignal {
        self.launch.stop_signal
    }

    /// Its exit status if it ended by itself or was killed from outside.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.exited()
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it ends early or is not ready in time, with the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + self.deadline;
        loop {
            match self.start_once(end).await {
                // PostgreSQL refuses to start while the back ends of a killed server are still ending.
                Err(Early(error))
                    if self.launch.stop_signal == StopSignal::Interrupt
                        && Instant::now() < end
                        && still_ending(&error) =>
                {
                    sleep(Duration::from_millis(100)).await;
                }
                Err(Early(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn start_once(&mut self, end: Instant) -> Result<(), Early> {
        let name = self.launch.name.clone();
        let mut process = Process::start(&self.launch).map_err(Early)?;
        let mut last = String::new();
        loop {
            match timeout(Duration::from_secs(2), self.ready.check()).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => last = format!("{error:#}"),
                Err(_) => "no answer within 2 s".clone_into(&mut last),
            }
            if let Some(status) = process.exited() {
                return Err(Early(anyhow::anyhow!(
                    "{name} ended with {status} before it was ready; the end of {}:\n{}",
                    self.launch.log.display(),
                    tail(&self.launch.log)
                )));
            }
            if Instant::now() >= end {
                let log = tail(&self.launch.log);
                return Err(Early(anyhow::anyhow!(
                    "{name} was not ready within {:?} ({last}); the end of {}:\n{log}",
                    self.deadline,
                    self.launch.log.display()
                )));
            }
            sleep(PAUSE).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops it in good order, within a bound.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.stop().await.with_context(|| format!("stopping {}", self.launch.name)),
            None => Ok(()),
        }
    }

    /// SIGKILL: a crash.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill(),
            None => bail!("{} is not running", self.launch.name),
        }
    }

    /// SIGSTOP to it and all that it started: connections stay open, accepted ones wait in the kernel, nothing is answered. No more processes of it may
    /// begin or end meanwhile, which holds because all of them stand still.
    ///
    /// # Errors
    /// When it is not running.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Some(process) => process.pause().with_context(|| format!("pausing {}", self.launch.name)),
            None => bail!("{} is not running", self.launch.name),
        }
    }

    /// Lets it go on; nothing happens to one that does.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        match &mut self.process {
            Some(process) => process.resume().with_context(|| format!("resuming {}", self.launch.name)),
            None => Ok(()),
        }
    }

    /// Stops it (if it runs) and starts it again on the same ports and data.
    ///
    /// # Errors
    /// As `stop` and `start`.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        self.start().await
    }
}

struct Early(anyhow::Error);

fn still_ending(error: &anyhow::Error) -> bool {
    let text = error.to_string();
    text.contains("shared memory block") || text.contains("lock file \"postmaster.pid\" already exists")
}

/// Makes a service struct dereference to the `Service` in its field `service`.
macro_rules! is_service {
    ($name:ty) => {
        impl std::ops::Deref for $name {
            type Target = crate::service::Service;
            fn deref(&self) -> &Self::Target {
                &self.service
            }
        }
        impl std::ops::DerefMut for $name {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.service
            }
        }
    };
}
pub(crate) use is_service;
