//! The operating system's side of a provider: start, standard streams, end. Invariant: no provider outlives this process, however that
//! ends, and none inherits this process's environment.
//!
//! A process that is killed cannot end its children itself. Linux does it for a child that asked for it (the parent-death signal), but only
//! a new process can ask, between its birth and its real program. So the host starts its own program once more as a *guard*: it asks, then
//! becomes the provider. The signal comes when the *thread* that made the child ends, so one thread makes them all.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Result};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::limits;

/// First argument of a guard; then come the process id of its parent and the program.
const GUARD: &str = "--guard-provider";
/// This very program, even if its file was replaced since it started.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// What a shell says when a program cannot be started.
const CANNOT_START: u8 = 126;
/// A file that was just written may be busy for a moment: another thread's new child still holds it open.
const BUSY: (u32, std::time::Duration) = (40, std::time::Duration::from_millis(25));

/// Makes this process a guard if its arguments say so. `main` calls it first; it returns only if this is no guard, or if the provider cannot
/// be started.
#[must_use]
pub fn guard() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(GUARD)) {
        return None;
    }
    let (parent, program) = (arguments.next()?, arguments.next()?);
    let error = become_provider(&parent, &program);
    eprintln!("cannot start {}: {error}", Path::new(&program).display());
    Some(ExitCode::from(CANNOT_START))
}

fn become_provider(parent: &OsStr, program: &OsStr) -> std::io::Error {
    if let Err(error) = rustix::process::set_parent_process_death_signal(Some(Signal::KILL)) {
        return error.into();
    }
    // The parent may have ended before the signal was asked for.
    let found = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().to_string());
    if found.as_deref() != parent.to_str() {
        return std::io::Error::other("its host has ended");
    }
    let mut attempts = BUSY.0;
    loop {
        let error = std::process::Command::new(program).exec();
        attempts = attempts.saturating_sub(1);
        if error.kind() != ErrorKind::ExecutableFileBusy || attempts == 0 {
            return error;
        }
        std::thread::sleep(BUSY.1);
    }
}

/// The thread that makes all providers. It ends when nobody holds this any more.
#[derive(Clone, Debug)]
pub(super) struct Spawner(mpsc::SyncSender<Job>);

type Job = (Command, oneshot::Sender<Result<Child>>);

impl Spawner {
    /// Must be called in a runtime: its children are waited for there.
    pub(super) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(std::io::Error::other)?;
        let (sender, jobs) = mpsc::sync_channel::<Job>(1);
        std::thread::Builder::new().name("providers".to_owned()).spawn(move || {
            let _entered = runtime.enter();
            while let Ok((mut command, answer)) = jobs.recv() {
                // A child that nobody waits for any more is dropped, and thereby killed.
                let _ = answer.send(command.spawn());
            }
        })?;
        Ok(Self(sender))
    }

    async fn spawn(&self, command: Command) -> Result<Child> {
        let (answer, child) = oneshot::channel();
        let jobs = self.0.clone();
        let gone = || std::io::Error::other("the thread that starts providers has ended");
        tokio::task::spawn_blocking(move || jobs.send((command, answer))).await?.map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

/// How a provider is started.
pub(super) struct Launch<'a> {
    pub(super) id: &'a str,
    pub(super) program: &'a Path,
    pub(super) environment: &'a [(OsString, OsString)],
    pub(super) guarded: bool,
    /// For its standard input.
    pub(super) line: SecretString,
}

impl Launch<'_> {
    fn command(&self) -> Command {
        let mut command = if self.guarded {
            let mut guard = Command::new(OWN_PROGRAM);
            guard.arg(GUARD).arg(std::process::id().to_string()).arg(self.program);
            guard
        } else {
            Command::new(self.program)
        };
        command
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that ctrl-c in a terminal reaches the host alone, which ends its providers in good order.
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// A running provider. Dropping it kills it.
pub(super) struct Process {
    child: Child,
    /// Copy its output to our log; they end with it.
    _output: JoinSet<()>,
}

impl Process {
    /// Starts it and hands it its line.
    pub(super) async fn start(spawner: &Spawner, launch: &Launch<'_>) -> Result<Self> {
        let mut attempts = BUSY.0;
        let mut child = loop {
            match spawner.spawn(launch.command()).await {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && attempts > 0 => {
                    attempts = attempts.saturating_sub(1);
                    tokio::time::sleep(BUSY.1).await;
                }
                other => break other?,
            }
        };
        let mut output = JoinSet::new();
        if let Some(stream) = child.stdout.take() {
            output.spawn(copy(stream, launch.id.to_owned(), "stdout"));
        }
        if let Some(stream) = child.stderr.take() {
            output.spawn(copy(stream, launch.id.to_owned(), "stderr"));
        }
        if let Some(mut stdin) = child.stdin.take() {
            let written = stdin.write_all(launch.line.expose_secret().as_bytes());
            match tokio::time::timeout(limits::PROVIDER_STDIN, written).await {
                // Whoever ends without reading says why by how it ends.
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.kind() == ErrorKind::BrokenPipe => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(std::io::Error::new(ErrorKind::TimedOut, "it does not read its standard input")),
            }
        }
        Ok(Self { child, _output: output })
    }

    /// Its process id, while it has not been waited for.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for its end. May be called again and again.
    pub(super) async fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait().await
    }

    /// Ends it by force, with all processes that it made and that stayed in its group.
    pub(super) async fn kill(&mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It has not been waited for, so nobody else has its number.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
        if let Err(error) = self.child.kill().await {
            tracing::warn!(%error, "cannot kill a provider");
        }
    }
}

/// Copies lines to our log until the stream ends.
async fn copy(stream: impl AsyncRead + Unpin, provider: String, stream_name: &'static str) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = u64::try_from(limits::MAX_LOG_LINE_BYTES).unwrap_or(u64::MAX);
        match (&mut reader).take(limit).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::info!(provider, stream = stream_name, "{}", text.trim_end());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn script(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provider");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        (folder, path)
    }

    async fn start(program: &Path, line: &str) -> Process {
        let environment = [("RUST_LOG".into(), "info".into())];
        let line = SecretString::from(line.to_owned());
        let launch = Launch { id: "p", program, environment: &environment, guarded: false, line };
        Process::start(&Spawner::start().unwrap(), &launch).await.unwrap()
    }

    #[tokio::test]
    async fn it_gets_its_line_and_no_environment() {
        let (folder, program) = script(
            r#"read -r line; [ "$line" = hello ] || exit 4; [ -z "$HOME$CARGO_MANIFEST_DIR" ] || exit 5; [ "$RUST_LOG" = info ] || exit 6; exit 7"#,
        );
        let status = start(&program, "hello\n").await.wait().await.unwrap();
        assert_eq!(status.code(), Some(7));
        drop(folder);
    }

    #[tokio::test]
    async fn one_that_ends_without_reading_is_no_error() {
        let (_folder, program) = script("exit 3");
        let long = "x".repeat(1 << 20);
        assert_eq!(start(&program, &long).await.wait().await.unwrap().code(), Some(3));
    }

    /// Goal: force reaches the whole group. Method: a script that waits for a child; the child's number is written to a file.
    #[tokio::test]
    async fn force_ends_its_children_too() {
        let (folder, program) = script(r#"sleep 600 & echo $! > "$(dirname "$0")/child"; wait"#);
        let mut process = start(&program, "").await;
        let file = folder.path().join("child");
        while !std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with('\n')) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let child = std::fs::read_to_string(&file).unwrap();
        process.kill().await;
        for _ in 0..500 {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the child lives on");
    }
}
