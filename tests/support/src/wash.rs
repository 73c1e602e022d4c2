//! The real `wash`, as a person would run it. Invariant: it has a home of its own, so that nothing that the user configured or that an earlier
//! test left behind has a say; each command ends in time.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::service::lattice_address;

/// Far beyond the longest wait of any command (30 s for an event).
const BOUND: Duration = Duration::from_secs(90);

/// `wash` for one lattice; cheap to clone.
#[derive(Clone, Debug)]
pub struct Wash {
    program: PathBuf,
    home: PathBuf,
    host: String,
    port: String,
    lattice: String,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// The command, for messages.
    pub command: String,
    /// Exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Said {
    /// The answer itself if the command succeeded.
    ///
    /// # Errors
    /// When it did not, with all that it said.
    pub fn success(self) -> anyhow::Result<Self> {
        ensure!(self.code == Some(0), "{self}");
        Ok(self)
    }

    /// The answer itself if the command failed.
    ///
    /// # Errors
    /// When it did not, with all that it said.
    pub fn failure(self) -> anyhow::Result<Self> {
        ensure!(self.code.is_some_and(|code| code != 0), "expected a failure: {self}");
        Ok(self)
    }

    /// The last JSON document of standard output: some commands print progress before it.
    ///
    /// # Errors
    /// When there is none.
    pub fn json(&self) -> anyhow::Result<Value> {
        let text = self.stdout.trim();
        let starts = text.match_indices('{').map(|(at, _)| at).chain(text.match_indices('[').map(|(at, _)| at));
        let mut starts: Vec<usize> = starts.collect();
        starts.sort_unstable();
        let found = starts.into_iter().find_map(|at| serde_json::from_str(text.get(at..)?).ok());
        found.with_context(|| format!("no JSON in the answer: {self}"))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            to,
            "`{}` ended with {:?} after {:?}\n{}\n{}",
            self.command, self.code, self.took, self.stdout, self.stderr
        )
    }
}

impl Wash {
    /// `home` is made; the program is that of [`crate::tools::Tools::wash`].
    ///
    /// # Errors
    /// When the folder cannot be made or the URL is none.
    pub fn new(program: &Path, home: &Path, nats_url: &str, lattice: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(home).with_context(|| format!("making {}", home.display()))?;
        let (host, port) = lattice_address(nats_url)?;
        Ok(Self { program: program.to_owned(), home: home.to_owned(), host, port, lattice: lattice.to_owned() })
    }

    /// The same for another lattice.
    #[must_use]
    pub fn on(&self, lattice: &str) -> Self {
        Self { lattice: lattice.to_owned(), ..self.clone() }
    }

    /// Runs a command and waits for its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let command = format!("wash {}", arguments.join(" "));
        let mut process = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["WASMCLOUD_", "WASH_", "XDG_"].iter().any(|prefix| text.starts_with(prefix)) {
                process.env_remove(&name);
            }
        }
        process
            .args(["--output", "json"])
            .args(arguments)
            .env("HOME", &self.home)
            .env("WASMCLOUD_CTL_HOST", &self.host)
            .env("WASMCLOUD_CTL_PORT", &self.port)
            .env("WASMCLOUD_RPC_HOST", &self.host)
            .env("WASMCLOUD_RPC_PORT", &self.port)
            .env("WASMCLOUD_LATTICE", &self.lattice)
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let began = Instant::now();
        let Ok(output) = tokio::time::timeout(BOUND, process.output()).await else {
            bail!("`{command}` did not end within {BOUND:?}");
        };
        let output = output.with_context(|| format!("starting {}", self.program.display()))?;
        Ok(Said {
            command,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            took: began.elapsed(),
        })
    }

    /// Runs a command that must succeed, and gives its JSON.
    ///
    /// # Errors
    /// When it fails or prints no JSON, with all that it said.
    pub async fn ok(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.run(arguments).await?.success()?.json()
    }

    /// Runs a command that must fail.
    ///
    /// # Errors
    /// When it succeeds.
    pub async fn refused(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        self.run(arguments).await?.failure()
    }
}
