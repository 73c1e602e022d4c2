//! `cargo xtask dev`: what is saved is served. Watches the checkout, builds only what a change reaches, and swaps it into the shop that
//! `cargo xtask up` runs. Invariant: nothing is restarted and nothing stored is touched; code that does not compile or that the host
//! refuses leaves the shop as it was.

mod change;
mod swap;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use notify::event::{EventKind, ModifyKind};
use notify::{RecursiveMode, Watcher as _};

use crate::packages::{self, Package};
use crate::toolchain::{TARGET, Toolchain};
use crate::up::DataFolder;
use crate::workspace::Workspace;
use crate::{build, process};
use change::{Change, WATCHED};
use swap::Running;

/// An editor that saves several files is done within this; the wait is part of every swap, so it is short.
const QUIET: Duration = Duration::from_millis(40);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataFolder,
    /// Ends after the first change was served, or after the first that was not.
    #[arg(long)]
    once: bool,
}

/// `cargo xtask dev`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let running = Running::find(&arguments.data.path(workspace))?;
    let watch = Watch::start(&workspace.root)?;
    let toolchain = Toolchain::find(workspace)?;
    let packages = packages::components(workspace)?;
    eprintln!("building what changed since the shop was started");
    serve(workspace, &toolchain, &running, &packages, &Change::all(&packages), Instant::now())?;
    println!(
        "watching {}; save a file of a component, Ctrl-C ends this and leaves the shop running",
        WATCHED.join(", ")
    );
    loop {
        let (paths, saved) = watch.next()?;
        // Read anew, since a change may have been one of dependencies; it costs less than a tenth of a second.
        let packages = match packages::components(workspace) {
            Ok(packages) => packages,
            Err(error) => {
                eprintln!("error: {error:#}");
                continue;
            }
        };
        let mut change = Change::default();
        paths.iter().for_each(|path| change.add(path, &packages));
        if change.is_empty() {
            continue;
        }
        let served = serve(workspace, &toolchain, &running, &packages, &change, saved);
        if arguments.once {
            return served;
        }
        if let Err(error) = served {
            eprintln!("error: {error:#}");
            println!("the shop runs on as it was");
        }
    }
}

/// Builds and swaps, and says how long that took.
fn serve(
    workspace: &Workspace,
    toolchain: &Toolchain,
    running: &Running,
    packages: &[Package],
    change: &Change,
    saved: Instant,
) -> anyhow::Result<()> {
    for folder in &change.restart {
        println!("{folder} is part of the host: stop `cargo xtask up` and start it again to run it");
    }
    if change.manifest {
        let took = running.deploy(&workspace.root.join(change::MANIFEST))?;
        println!("the manifest is deployed after {}", seconds(took));
    }
    let wanted: Vec<&Package> = packages.iter().filter(|package| change.packages.contains(&package.name)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    compile(workspace, toolchain, &wanted)?;
    let compiled = Instant::now();
    let mut changed = Vec::new();
    for package in wanted {
        if build::publish(workspace, package)? {
            changed.push(build::short_name(package).to_owned());
        }
    }
    if changed.is_empty() {
        println!("compiled in {}: the code is the same", seconds(compiled - saved));
        return Ok(());
    }
    let refused = running.swap_all(workspace, &changed)?;
    let names: Vec<&str> = changed.iter().map(String::as_str).filter(|name| !refused.contains_key(*name)).collect();
    if !names.is_empty() {
        println!(
            "{} served: saved -> compiled {}, compiled -> served {}, saved -> served {}",
            names.join(", "),
            seconds(compiled - saved),
            seconds(compiled.elapsed()),
            seconds(saved.elapsed())
        );
    }
    for (name, reason) in &refused {
        eprintln!("{name} is not swapped, the version before serves on: {reason}");
    }
    ensure!(refused.is_empty(), "{} of {} not swapped", refused.len(), changed.len());
    Ok(())
}

fn compile(workspace: &Workspace, toolchain: &Toolchain, packages: &[&Package]) -> anyhow::Result<()> {
    let mut cargo = toolchain.cargo(workspace, "build");
    cargo.args(["--release", "--target", TARGET, "--lib"]);
    for package in packages {
        cargo.args(["--package", &package.name]);
    }
    process::run(&mut cargo)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Sees what is saved.
struct Watch {
    root: PathBuf,
    events: Receiver<notify::Result<notify::Event>>,
    /// Ends the watch when it is dropped.
    _watcher: notify::RecommendedWatcher,
}

impl Watch {
    fn start(root: &Path) -> anyhow::Result<Self> {
        let (sender, events) = channel();
        let mut watcher = notify::recommended_watcher(sender).context("watching files")?;
        for name in WATCHED {
            let path = root.join(name);
            watcher.watch(&path, RecursiveMode::Recursive).with_context(|| format!("watching {}", path.display()))?;
        }
        Ok(Self { root: root.to_owned(), events, _watcher: watcher })
    }

    /// Waits for files that were saved together; gives them relative to the checkout, and when the first was saved.
    fn next(&self) -> anyhow::Result<(Vec<PathBuf>, Instant)> {
        let mut paths: Vec<PathBuf> = Vec::new();
        let mut first = None;
        loop {
            let event = match first {
                None => self.events.recv().context("the watch has ended")?,
                Some(_) => match self.events.recv_timeout(QUIET) {
                    Ok(event) => event,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(error) => return Err(error).context("the watch has ended"),
                },
            };
            let event = event.context("watching files")?;
            if is_save(event.kind) {
                first.get_or_insert_with(Instant::now);
                paths
                    .extend(event.paths.iter().filter_map(|path| Some(path.strip_prefix(&self.root).ok()?.to_owned())));
            }
        }
        Ok((paths, first.unwrap_or_else(Instant::now)))
    }
}

/// Reading and a changed time alone are none.
fn is_save(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Remove(_) => true,
        EventKind::Modify(what) => !matches!(what, ModifyKind::Metadata(_)),
        EventKind::Access(_) | EventKind::Any | EventKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_saved_together_come_together_and_reading_is_no_save() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in WATCHED {
            std::fs::create_dir(root.join(name)).unwrap();
        }
        std::fs::write(root.join("host/before.rs"), "").unwrap();
        let watch = Watch::start(&root).unwrap();
        std::fs::read(root.join("host/before.rs")).unwrap();
        std::fs::write(root.join("host/one.rs"), "1").unwrap();
        std::fs::rename(root.join("host/before.rs"), root.join("wit/two.wit")).unwrap();
        let (paths, _) = watch.next().unwrap();
        for path in ["host/one.rs", "wit/two.wit"] {
            assert!(paths.iter().any(|seen| seen == Path::new(path)), "{path} is not in {paths:?}");
        }
        std::fs::read(root.join("host/one.rs")).unwrap();
        assert!(watch.events.try_iter().all(|event| !is_save(event.unwrap().kind)));
    }
}
