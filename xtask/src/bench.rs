//! Benchmarks. Invariant: what is measured is the release build of this checkout, built just before.

use anyhow::ensure;
use clap::ValueEnum;

use crate::packages;
use crate::process;
use crate::workspace::Workspace;
use crate::{build, dependencies};

/// The package (and program) of the benchmarks.
const PROGRAM: &str = "swiftcart-bench";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which benchmark.
    #[arg(value_enum)]
    benchmark: Benchmark,
    /// For the benchmark itself, for example `--json FILE` or `--quick` (`bench orders --help` lists them).
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// The whole create by variant: throughput, latency, CPU per order; all orders accounted for.
    Orders,
    /// A JSON document there and back over HTTP, through a component and in native code.
    Echo,
    /// One call: to another component, to the host, over NATS.
    Call,
    /// A new version of a component under load.
    Swap,
    /// The start of a host with and without compiled code, and memory by component.
    Cold,
    /// Puts the figures of files into docs/performance.md, with plots.
    Report,
}

/// `cargo xtask bench`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let there = packages::native(workspace)?.iter().any(|package| package.programs.iter().any(|name| name == PROGRAM));
    ensure!(there, "there is no program {PROGRAM} in this checkout yet (it is made by the crate tests/bench)");
    dependencies::build(workspace)?;
    let mut programs = vec![PROGRAM];
    if arguments.benchmark != Benchmark::Report {
        programs.extend(build::PROGRAMS);
        build::components(workspace, arguments.benchmark != Benchmark::Orders)?;
    }
    if arguments.benchmark == Benchmark::Orders {
        // What the variant over NATS calls, and what the shop is compared with.
        programs.extend(build::PROVIDERS);
        programs.push(build::BASELINE);
    }
    build::native(workspace, &programs)?;
    if matches!(arguments.benchmark, Benchmark::Orders | Benchmark::Cold) {
        dependencies::services(workspace)?;
    }
    let name = arguments.benchmark.to_possible_value();
    let mut bench = process::command(workspace.program(PROGRAM));
    bench.args(name.iter().map(clap::builder::PossibleValue::get_name)).args(&arguments.rest);
    build::announce(workspace, &mut bench);
    process::run(&mut bench)
}
