//! `cargo xtask check`. Invariant: one line per step, all steps run even when one fails, and the command fails if any did.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;

use crate::packages;
use crate::process;
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::Workspace;
use crate::{build, deny, dependencies, tidy};

/// The longest step is the first native clippy: all dependencies, cold, on two cores.
const LIMIT: Duration = Duration::from_secs(3600);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these steps; by default all of them.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The house rules of the tree.
    Tidy,
    /// rustfmt, both workspaces.
    Fmt,
    /// clippy, native workspace.
    Clippy,
    /// clippy of the components, compiled natively.
    ClippyComponents,
    /// clippy of the components, compiled to wasm.
    ClippyWasm,
    /// Bans, licenses, sources and advisories of all dependencies.
    Deny,
    /// rustdoc without warnings, both workspaces.
    Docs,
}

/// `cargo xtask check`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let steps = if arguments.steps.is_empty() { Step::value_variants() } else { &arguments.steps };
    if steps.iter().any(|step| !matches!(step, Step::Tidy | Step::Fmt)) {
        dependencies::build(workspace)?;
    }
    let mut failed = Vec::new();
    for step in steps {
        let name = step.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let start = Instant::now();
        let result = run_step(workspace, *step, &name);
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(None) => println!("ok      {name:<18} {seconds:>7.1} s"),
            Ok(Some(remark)) => println!("ok      {name:<18} {seconds:>7.1} s  {remark}"),
            Err(error) => {
                println!("FAILED  {name:<18} {seconds:>7.1} s  {error:#}");
                failed.push(name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn run_step(workspace: &Workspace, step: Step, name: &str) -> anyhow::Result<Option<String>> {
    let quietly = |command: &mut Command| process::run_quietly(name, command, LIMIT);
    match step {
        Step::Tidy => tidy::run(workspace)?,
        Step::Fmt => {
            quietly(process::cargo(workspace, "fmt").args(["--all", "--check"]))?;
            let mut components = process::cargo(workspace, "fmt");
            quietly(components.current_dir(workspace.components()).args(["--all", "--check"]))?;
        }
        Step::Clippy => {
            let mut clippy = process::cargo(workspace, "clippy");
            quietly(clippy.args(["--release", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
            // The host for tests has files that no other build sees.
            let mut crash_points = process::cargo(workspace, "clippy");
            crash_points.args(["--release", "--workspace", "--bin", "swiftcart-host"]);
            quietly(crash_points.args(["--features", "swiftcart-host/crash-points", "--", "-D", "warnings"]))?;
        }
        Step::ClippyComponents => {
            let mut clippy = process::cargo(workspace, "clippy");
            clippy.current_dir(workspace.components()).args(["--release", "--all-targets"]);
            without_guests(workspace, &mut clippy)?;
            quietly(clippy.args(["--", "-D", "warnings"]))?;
        }
        Step::ClippyWasm => {
            let toolchain = Toolchain::find(workspace)?;
            let mut clippy = toolchain.cargo(workspace, "clippy");
            quietly(clippy.args(["--release", "--workspace", "--target", TARGET, "--", "-D", "warnings"]))?;
            return Ok(Some(format!("with {}", toolchain.describe())));
        }
        Step::Deny => return deny::run(workspace),
        Step::Docs => {
            let mut native = process::cargo(workspace, "doc");
            quietly(docs(&mut native).arg("--workspace"))?;
            let mut components = process::cargo(workspace, "doc");
            components.current_dir(workspace.components());
            without_guests(workspace, &mut components)?;
            quietly(docs(&mut components))?;
        }
    }
    Ok(None)
}

fn docs(cargo: &mut Command) -> &mut Command {
    cargo.env("RUSTDOCFLAGS", "-D warnings").args(["--release", "--no-deps", "--document-private-items"])
}

/// Test guests are compiled for wasm only.
fn without_guests(workspace: &Workspace, cargo: &mut Command) -> anyhow::Result<()> {
    for package in packages::components(workspace)?.iter().filter(|package| !build::is_guest(package)) {
        cargo.args(["--package", &package.name]);
    }
    Ok(())
}
