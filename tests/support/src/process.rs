//! Child processes: started with a log file, stopped by process id within a bound. Invariant: a child that shall end with this program
//! does so even when the program is killed (`setpriv --pdeathsig`), and no signal is ever sent to a process that merely has a reused id.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::tools::find_on_path;

/// How long a process may take to stop before it is killed.
pub(crate) const STOP_BOUND: Duration = Duration::from_secs(10);

/// How long a service lives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lifetime {
    /// It ends with this process, whatever way that ends.
    WithParent,
    /// It stays until somebody stops it by the state file.
    Detached,
}

/// A process id that cannot be mistaken for a later process with the same number.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ProcessId {
    /// The number.
    pub pid: u32,
    /// Clock ticks between the boot and its start.
    pub started_ticks: u64,
}

impl ProcessId {
    /// This very program.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started_ticks: start_ticks(pid)? })
    }

    /// True while this very process runs.
    #[must_use]
    pub fn alive(self) -> bool {
        start_ticks(self.pid) == Some(self.started_ticks)
    }

    /// Asks it to stop, then kills it after the bound. For processes of an earlier run; a child of this run is stopped by its owner.
    ///
    /// # Errors
    /// When it lives on nevertheless.
    pub fn end(self, signal: StopSignal, bound: Duration) -> anyhow::Result<()> {
        for (signal, bound) in [(signal.signal(), bound), (Signal::KILL, Duration::from_secs(5))] {
            if self.alive() {
                send(self.pid, signal)?;
            }
            let end = Instant::now() + bound;
            while Instant::now() < end {
                if !self.alive() {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        bail!("process {} does not end", self.pid)
    }
}

/// Start time of a process that is not a zombie (field 22 of `/proc/<pid>/stat`).
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A process and all that it started: PostgreSQL answers in processes of their own.
fn family(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parents.extend(parent.map(|parent| (child, parent)));
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
        next += 1;
    }
    family
}

fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("{pid} is no process id"))?;
    match kill_process(pid, signal) {
        Err(error) if error != rustix::io::Errno::SRCH => Err(error).context("sending a signal"),
        _ => Ok(()),
    }
}

/// The signal that makes a program stop in good order.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum StopSignal {
    /// SIGTERM.
    #[default]
    Terminate,
    /// SIGINT: PostgreSQL's fast shutdown (its SIGTERM waits for every client).
    Interrupt,
}

impl StopSignal {
    fn signal(self) -> Signal {
        match self {
            Self::Terminate => Signal::TERM,
            Self::Interrupt => Signal::INT,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
        }
    }
}

/// A program with all that is needed to start it, as often as wanted.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) user: Option<String>,
    pub(crate) stop_signal: StopSignal,
    pub(crate) lifetime: Lifetime,
}

impl Launch {
    fn command(&self) -> anyhow::Result<Command> {
        let mut log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("opening {}", self.log.display()))?;
        writeln!(log, "--- {} starts ---", self.name)?;
        let mut command = as_user(
            self.user.as_deref(),
            (self.lifetime == Lifetime::WithParent).then_some(self.stop_signal.name()),
            &self.program,
        )?;
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder)
            // A group of its own, so that ctrl-c in the terminal reaches only the parent, which stops its children in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        Ok(command)
    }
}

/// A command under another user and with a signal for when this program dies; `setpriv` (util-linux) does both and then is that program.
pub(crate) fn as_user(user: Option<&str>, on_death: Option<&str>, program: &Path) -> anyhow::Result<Command> {
    let Some(setpriv) = find_on_path("setpriv") else {
        if user.is_some() {
            bail!("setpriv is needed to start {} as another user: install util-linux", program.display());
        }
        return Ok(Command::new(program));
    };
    if user.is_none() && on_death.is_none() {
        return Ok(Command::new(program));
    }
    let mut command = Command::new(setpriv);
    if let Some(user) = user {
        command.args(["--reuid", user, "--regid", user_group(user), "--clear-groups"]);
    }
    if let Some(signal) = on_death {
        command.args(["--pdeathsig", signal]);
    }
    command.arg("--").arg(program);
    Ok(command)
}

fn user_group(user: &str) -> &str {
    if user == "nobody" { "nogroup" } else { user }
}

/// The signal of `--pdeathsig` comes when the *thread* that started the child ends, so all children are started by one thread that never does.
fn spawn(command: Command) -> anyhow::Result<Child> {
    type Job = (Command, mpsc::Sender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
        let (sender, receiver) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            while let Ok((mut command, answer)) = receiver.recv() {
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    let (answer, result) = mpsc::channel();
    SPAWNER
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .send((command, answer))
        .map_err(|_| anyhow!("the thread that starts processes has ended"))?;
    result.recv().context("the thread that starts processes has ended")?.context("starting a process")
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    id: ProcessId,
    launch: Launch,
    paused: bool,
}

impl Process {
    pub(crate) fn start(launch: &Launch) -> anyhow::Result<Self> {
        let child = spawn(launch.command()?)
            .with_context(|| format!("starting {} ({})", launch.name, launch.program.display()))?;
        let id = ProcessId::of(child.id()).unwrap_or(ProcessId { pid: child.id(), started_ticks: 0 });
        Ok(Self { child, id, launch: launch.clone(), paused: false })
    }

    pub(crate) fn id(&self) -> ProcessId {
        self.id
    }

    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Stops in good order within the bound, else by force.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if self.exited().is_some() {
            return Ok(());
        }
        send(self.id.pid, self.launch.stop_signal.signal())?;
        let end = Instant::now() + STOP_BOUND;
        while Instant::now() < end {
            if self.exited().is_some() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tracing::warn!(name = self.launch.name, "did not stop in time and is killed");
        self.kill()
    }

    /// SIGSTOP: it keeps its connections and answers nothing, as a host that hangs or a network that drops everything.
    pub(crate) fn pause(&mut self) -> anyhow::Result<()> {
        self.paused = true;
        family(self.id.pid).into_iter().try_for_each(|pid| send(pid, Signal::STOP))
    }

    /// SIGCONT, if it was paused.
    pub(crate) fn resume(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.paused) {
            return Ok(());
        }
        family(self.id.pid).into_iter().try_for_each(|pid| send(pid, Signal::CONT))
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.launch.name))?;
        self.child.wait().with_context(|| format!("waiting for {}", self.launch.name))?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.launch.lifetime == Lifetime::WithParent && self.exited().is_none() {
            // What it started ends when it sees that this one has, and stands still as long as it is paused.
            let _ = self.resume();
            let _ = self.kill();
        }
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}
