//! An operator at a terminal: runs the real program against a cluster and reads what it says. Invariant: a command has no terminal, so what
//! would be asked is refused; it never waits for a person.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

/// Who the tests are in the audit.
pub const NAME: &str = "tester";

/// An operator of the dead letters of a cluster.
pub struct Operator {
    program: PathBuf,
    servers: String,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Operator {
    /// With the program `swiftcart-host` and the cluster's `host:port`.
    #[must_use]
    pub fn new(program: &Path, servers: &str) -> Self {
        Self { program: program.to_owned(), servers: servers.to_owned() }
    }

    /// Runs `swiftcart-host dlq` with these arguments.
    ///
    /// # Errors
    /// When it does not run, or ends by a signal.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let output = self.command(arguments).output().await;
        let output = output.with_context(|| format!("running {}", self.program.display()))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().context("it was killed")?;
        Ok(Said { code, out: text(&output.stdout), err: text(&output.stderr) })
    }

    /// Starts the same, for a case that kills it.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = self.command(arguments);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("dlq")
            .args(arguments)
            .args(["--bootstrap-servers", &self.servers, "--log-format", "text"])
            .env("USER", NAME)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs it with `--json` and gives what it says; anything but success is an error.
    ///
    /// # Errors
    /// As [`Self::run`], and when the exit code is not 0.
    pub async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let said = self.run(&[arguments, &["--json"]].concat()).await?;
        ensure!(said.code == 0, "exit code {}: {}{}", said.code, said.out, said.err);
        serde_json::from_str(&said.out).with_context(|| format!("no JSON: {}", said.out))
    }
}
