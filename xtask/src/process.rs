//! Starting other programs. Invariant: a child never sees what `cargo run` said about xtask itself (so that no build script reruns
//! for it), and whatever takes longer than two seconds shows that it lives.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::workspace::{Workspace, is_ci};

/// Lines of a failed quiet command that are shown; a compiler's last errors fit.
const SHOWN_LINES: usize = 400;
const HEARTBEAT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// A command with a clean environment.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let about_xtask = text.starts_with("CARGO_PKG_")
            || text.starts_with("CARGO_MANIFEST_")
            || matches!(text, "CARGO" | "CARGO_PRIMARY_PACKAGE" | "LD_LIBRARY_PATH" | "RUST_RECURSION_COUNT");
        if about_xtask {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo` for the native workspace, in the root of the checkout. `--locked` in CI.
pub(crate) fn cargo(workspace: &Workspace, subcommand: &str) -> Command {
    let mut cargo = command("cargo");
    cargo.current_dir(&workspace.root).env("CARGO_TARGET_DIR", &workspace.target).arg(subcommand);
    if is_ci() && subcommand != "fmt" {
        cargo.arg("--locked");
    }
    cargo
}

/// Runs with the output of the child on ours.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    eprintln!("$ {}", line(command));
    let status = command.status().with_context(|| missing(command))?;
    succeeded(status, command)
}

/// Runs and returns standard output; standard error goes into the message of a failure.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| missing(command))?;
    if !output.status.success() {
        bail!("`{}` failed ({}): {}", line(command), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote something that is not UTF-8", line(command)))
}

/// Runs silently but for a heartbeat; shows the output only when the command fails or takes longer than `limit`.
pub(crate) fn run_quietly(label: &str, command: &mut Command, limit: Duration) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| missing(command))?;
    let lines = Arc::new(Mutex::new(VecDeque::new()));
    let readers =
        [child.stdout.take().map(|pipe| collect(pipe, &lines)), child.stderr.take().map(|pipe| collect(pipe, &lines))];
    let ended = wait(&mut child, label, &lines, limit);
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    let result = ended.and_then(|status| succeeded(status, command));
    if result.is_err() {
        for line in lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            eprintln!("    {line}");
        }
    }
    result
}

/// True if the command succeeds in time; its output is dropped.
pub(crate) fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
        return false;
    };
    wait(&mut child, &line(command), &Mutex::default(), limit).is_ok_and(|status| status.success())
}

/// Runs with standard output both shown and handed to `each`, line by line.
pub(crate) fn run_watched(command: &mut Command, mut each: impl FnMut(&str)) -> anyhow::Result<ExitStatus> {
    eprintln!("$ {}", line(command));
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| missing(command))?;
    if let Some(pipe) = child.stdout.take() {
        for text in BufReader::new(pipe).split(b'\n') {
            let text = text.context("reading the output of a child")?;
            let text = String::from_utf8_lossy(&text);
            println!("{text}");
            each(&text);
        }
    }
    child.wait().with_context(|| format!("waiting for `{}`", line(command)))
}

/// The command as one would type it.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// True if the program is found on PATH.
pub(crate) fn exists(program: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

fn wait(
    child: &mut Child,
    label: &str,
    lines: &Mutex<VecDeque<String>>,
    limit: Duration,
) -> anyhow::Result<ExitStatus> {
    let start = Instant::now();
    let mut next = HEARTBEAT;
    loop {
        if let Some(status) = child.try_wait().context("waiting for a child")? {
            return Ok(status);
        }
        let elapsed = start.elapsed();
        if elapsed > limit {
            child.kill().context("ending a child that took too long")?;
            child.wait().context("waiting for a child")?;
            bail!("{label} took longer than {} s", limit.as_secs());
        }
        if elapsed > next {
            next += HEARTBEAT;
            let last = lines.lock().unwrap_or_else(PoisonError::into_inner).back().cloned().unwrap_or_default();
            eprintln!("    {label}: {} s  {}", elapsed.as_secs(), last.trim());
        }
        thread::sleep(POLL);
    }
}

fn collect(pipe: impl Read + Send + 'static, lines: &Arc<Mutex<VecDeque<String>>>) -> thread::JoinHandle<()> {
    let lines = Arc::clone(lines);
    thread::spawn(move || {
        for text in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
            if lines.len() == SHOWN_LINES {
                lines.pop_front();
            }
            lines.push_back(String::from_utf8_lossy(&text).into_owned());
        }
    })
}

fn succeeded(status: ExitStatus, command: &Command) -> anyhow::Result<()> {
    ensure!(status.success(), "`{}` failed ({status})", line(command));
    Ok(())
}

fn missing(command: &Command) -> String {
    format!("`{}` could not be started; is it installed and on PATH?", command.get_program().to_string_lossy())
}
