//! Benchmarks against the whole shop. Invariant: what is measured is the release build of this checkout, built just before.

use anyhow::ensure;

use crate::packages;
use crate::process;
use crate::workspace::Workspace;
use crate::{build, dependencies};

/// The package (and program) of the benchmarks.
const PROGRAM: &str = "swiftcart-bench";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which benchmark, for example `orders`.
    name: String,
    /// For the benchmark itself, for example `--json FILE` (`bench orders --help` lists them).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

/// `cargo xtask bench`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let there = packages::native(workspace)?.iter().any(|package| package.programs.iter().any(|name| name == PROGRAM));
    ensure!(there, "there is no program {PROGRAM} in this checkout yet (it is made by the crate tests/bench)");
    dependencies::build(workspace)?;
    build::components(workspace, false)?;
    build::native(workspace, &[build::PROGRAMS.as_slice(), &[PROGRAM]].concat())?;
    dependencies::services(workspace)?;
    let mut bench = process::command(workspace.program(PROGRAM));
    bench.arg(&arguments.name).args(&arguments.rest);
    build::announce(workspace, &mut bench);
    process::run(&mut bench)
}
