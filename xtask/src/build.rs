//! Builds what a shop runs. Invariant: an artifact file changes only when its content does, so its digest and its time can be
//! trusted, and both workspaces share one target folder and one set of compiled dependencies.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::audit;
use crate::packages::{self, Package};
use crate::process;
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::Workspace;

/// Folder of the components that exist for tests only.
const GUESTS: &str = "tests/guests/";
/// The native programs of a shop.
pub(crate) const PROGRAMS: [&str; 2] = [HOST, "swiftcart-sim"];
const HOST: &str = "swiftcart-host";
/// The service written by hand that the shop is measured against.
pub(crate) const BASELINE: &str = "swiftcart-baseline";
/// The host with the feature `crash-points`.
const CRASH_POINTS_HOST: &str = "swiftcart-host-crash-points";
/// The provider libraries as programs, for lattices.
pub(crate) const PROVIDERS: [&str; 5] = [
    "swiftcart-email-provider",
    "swiftcart-http-provider",
    "swiftcart-kafka-provider",
    "swiftcart-postgres-provider",
    "swiftcart-redis-provider",
];

/// What to do with what was built.
const AFTER_HELP: &str = "\
Components end up as <target>/components/<name>.wasm. These files are what a registry takes:

  wash push HOST/NAME:VERSION <target>/components/order.wasm

prints the digest by which to pin it (HOST/NAME@sha256:...); `--insecure` is for registries in plain HTTP. A registry keeps what it got: push \
each version under a tag of its own. `wash build --skip-fetch` in the folder of one component makes the same component with a signature.";

#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Arguments {
    /// Also the components that exist for tests only.
    #[arg(long)]
    guests: bool,
    /// Only the components.
    #[arg(long, conflicts_with = "native")]
    components: bool,
    /// Only the native programs.
    #[arg(long)]
    native: bool,
}

/// `cargo xtask build`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    if !arguments.native {
        components(workspace, arguments.guests)?;
    }
    if !arguments.components {
        native(workspace, &PROGRAMS)?;
    }
    Ok(())
}

/// Builds the components and copies them to `<target>/components` (and `<target>/guests`).
pub(crate) fn components(workspace: &Workspace, guests: bool) -> anyhow::Result<()> {
    let packages = packages::components(workspace)?;
    let wanted: Vec<&Package> =
        packages.iter().filter(|package| package.component.is_some() && (guests || !is_guest(package))).collect();
    ensure!(!wanted.is_empty(), "the workspace in {} makes no component", workspace.components().display());
    let toolchain = Toolchain::find(workspace)?;
    eprintln!("building {} components with {}", wanted.len(), toolchain.describe());
    let mut cargo = toolchain.cargo(workspace, "build");
    cargo.args(["--release", "--target", TARGET, "--lib"]);
    for package in &wanted {
        cargo.args(["--package", &package.name]);
    }
    process::run(&mut cargo)?;
    wanted.into_iter().try_for_each(|package| publish(workspace, package).map(drop))
}

/// Copies a built component to where hosts find it. True if it is another than before.
pub(crate) fn publish(workspace: &Workspace, package: &Package) -> anyhow::Result<bool> {
    let Some(file) = &package.component else { return Ok(false) };
    let folder = if is_guest(package) { workspace.guests() } else { workspace.artifacts() };
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let built = workspace.target.join(TARGET).join("release").join(format!("{file}.wasm"));
    copy_if_changed(&built, &folder.join(format!("{}.wasm", short_name(package))))
}

/// Builds native programs. The whole workspace is named so that cargo chooses the same features of every dependency as
/// `test` and `check` do; only the named programs and what they need are compiled.
pub(crate) fn native(workspace: &Workspace, programs: &[&str]) -> anyhow::Result<()> {
    let mut cargo = process::cargo(workspace, "build");
    cargo.args(["--release", "--workspace"]);
    for program in programs {
        cargo.args(["--bin", program]);
    }
    process::run(&mut cargo)
}

/// Builds the host that dies where it is told to, for tests, under a name of its own. The plain one is built after it: cargo gives both the same
/// name, and what lies there must never be this one.
pub(crate) fn crash_points(workspace: &Workspace) -> anyhow::Result<()> {
    let mut cargo = process::cargo(workspace, "build");
    cargo.args(["--release", "--workspace", "--bin", HOST, "--features", "swiftcart-host/crash-points"]);
    process::run(&mut cargo)?;
    let (built, kept) = (workspace.program(HOST), workspace.program(CRASH_POINTS_HOST));
    // The file is a link that cargo replaces, so a copy is needed.
    let copied = fs::copy(&built, &kept).map(drop).with_context(|| format!("copying to {}", kept.display()));
    native(workspace, &PROGRAMS)?;
    copied
}

/// Tells a test or benchmark where everything is.
pub(crate) fn announce(workspace: &Workspace, command: &mut Command) {
    command
        .env("SWIFTCART_REPOSITORY_ROOT", &workspace.root)
        .env("SWIFTCART_HOST_BINARY", workspace.program(HOST))
        .env("SWIFTCART_CRASH_POINTS_HOST_BINARY", workspace.program(CRASH_POINTS_HOST))
        .env("SWIFTCART_SIM_BINARY", workspace.program("swiftcart-sim"))
        .env("SWIFTCART_BASELINE_BINARY", workspace.program(BASELINE))
        .env("SWIFTCART_AUDIT_BINARY", workspace.program(audit::PROGRAM))
        .env("SWIFTCART_ARTIFACT_ROOT", workspace.artifacts())
        .env("SWIFTCART_GUESTS_ROOT", workspace.guests())
        .env("SWIFTCART_CACHE_DIR", &workspace.cache);
}

/// True for a component that exists for tests only.
pub(crate) fn is_guest(package: &Package) -> bool {
    package.folder.starts_with(GUESTS)
}

/// The folder's name is the component's name in manifests.
pub(crate) fn short_name(package: &Package) -> &str {
    package.folder.rsplit('/').next().unwrap_or(&package.name)
}

fn copy_if_changed(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(from).with_context(|| format!("reading {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    // A running host may be watching: it must see the old bytes or the new ones, never half.
    let partial = to.with_extension("wasm.partial");
    fs::write(&partial, &bytes)
        .and_then(|()| fs::rename(&partial, to))
        .with_context(|| format!("writing {}", to.display()))?;
    println!("{} ({} KB)", to.display(), bytes.len() / 1024);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equal_artifact_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("swiftcart-xtask-copy-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (from, to) = (folder.join("from.wasm"), folder.join("to.wasm"));
        fs::write(&from, "one").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        let first = fs::metadata(&to).unwrap().modified().unwrap();
        assert!(!copy_if_changed(&from, &to).unwrap());
        assert_eq!(fs::metadata(&to).unwrap().modified().unwrap(), first);
        fs::write(&from, "two").unwrap();
        copy_if_changed(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"two");
        fs::remove_dir_all(&folder).unwrap();
    }
}
