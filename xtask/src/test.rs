//! The test suites. Invariant: the last line is `N passed, N failed`, and the command fails if anything failed, also when a suite
//! did not compile or a test program died without a result.

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use swiftcart_support::service::Postgres;
use swiftcart_support::tools::{Tools, Wanted};
use swiftcart_support::{Lifetime, Place};

use crate::packages::{self, Package};
use crate::process;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;
use crate::{audit, build, dependencies};

/// The package whose integration tests are the suites.
const SUITES: &str = "swiftcart-tests";
/// The test inside a library that needs the real `wash`, which only the suite `lattice` builds.
const WITH_WASH: &str = "lattice::rpc::tests::wash_calls_http";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to run; by default all but `crash-points`, which builds a host of its own.
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// For the test programs, for example `-- --nocapture refund`. `chaos` also takes `--seed N --faults N --rate ORDERS_PER_SECOND --json FILE`.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Every library by itself, components included, natively.
    Unit,
    /// Providers and contracts against real services.
    Contract,
    /// The whole shop.
    E2e,
    /// Faults, kills and audits.
    Chaos,
    /// The host dies or fails at every effect of every call, one after the other.
    CrashPoints,
    /// Several hosts, driven by the real wash and wadm.
    Lattice,
}

#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
}

/// `cargo xtask test`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let suites = match arguments.suites.as_slice() {
        [] => vec![Suite::Unit, Suite::Contract, Suite::E2e, Suite::Chaos, Suite::Lattice],
        chosen => chosen.to_vec(),
    };
    let packages = packages::native(workspace)?;
    for suite in &suites {
        ensure!(
            *suite == Suite::Unit || !programs(&packages, *suite).is_empty(),
            "there is no suite `{}` in this checkout yet",
            name(*suite)
        );
    }
    dependencies::build(workspace)?;
    let mut tally = Tally::default();
    if suites.iter().any(|suite| *suite != Suite::Unit) {
        build::components(workspace, true)?;
        let auditor = suites.contains(&Suite::Chaos).then_some(audit::PROGRAM);
        let programs: Vec<&str> = build::PROGRAMS.into_iter().chain(auditor).collect();
        build::native(workspace, &programs)?;
        dependencies::services(workspace)?;
    }
    if suites.contains(&Suite::CrashPoints) {
        build::crash_points(workspace)?;
    }
    if suites.contains(&Suite::Chaos) {
        dependencies::wadm(workspace)?;
    }
    if suites.contains(&Suite::Lattice) {
        build::native(workspace, &build::PROVIDERS)?;
        dependencies::lattice(workspace)?;
    }
    for suite in suites {
        match suite {
            Suite::Unit => unit(workspace, &arguments.rest, &mut tally)?,
            _ => whole(workspace, &programs(&packages, suite), &arguments.rest, &mut tally)?,
        }
        match suite {
            Suite::Contract => {
                statements(workspace, &arguments.rest, &mut tally)?;
                ignored(workspace, &["--skip", WITH_WASH], &arguments.rest, &mut tally)?;
            }
            Suite::Lattice if chosen(&arguments.rest, WITH_WASH) => {
                ignored(workspace, &["--exact", WITH_WASH], &[], &mut tally)?;
            }
            _ => {}
        }
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} failed", tally.failed);
    }
    Ok(())
}

fn unit(workspace: &Workspace, rest: &[String], tally: &mut Tally) -> anyhow::Result<()> {
    let mut native = process::cargo(workspace, "test");
    native.args(["--release", "--workspace", "--lib", "--bins", "--no-fail-fast", "--"]).args(rest);
    tally.count(&mut native)?;

    let mut examples = process::cargo(workspace, "test");
    tally.count(examples.args(["--release", "--workspace", "--doc", "--no-fail-fast"]))?;

    let mut components = process::cargo(workspace, "test");
    // `--tests` is the libraries and their `tests` folders: what needs a server there is ignored, and is run by `statements`.
    components.current_dir(workspace.components()).args(["--release", "--tests", "--no-fail-fast"]);
    for package in packages::components(workspace)?.iter().filter(|package| !build::is_guest(package)) {
        components.args(["--package", &package.name]);
    }
    components.arg("--").args(rest);
    tally.count(&mut components)?;
    // Found here so that a machine that cannot build components says so in the shortest suite.
    Toolchain::find(workspace).map(drop)
}

fn whole(workspace: &Workspace, programs: &[&str], rest: &[String], tally: &mut Tally) -> anyhow::Result<()> {
    let mut cargo = process::cargo(workspace, "test");
    cargo.args(["--release", "--workspace", "--no-fail-fast"]);
    for program in programs {
        cargo.args(["--test", program]);
    }
    cargo.arg("--").args(rest);
    build::announce(workspace, &mut cargo);
    tally.count(&mut cargo)
}

/// The statements of a component's store against a PostgreSQL that starts empty and ends with this.
fn statements(workspace: &Workspace, rest: &[String], tally: &mut Tally) -> anyhow::Result<()> {
    let wanted = Wanted { postgres: true, ..Wanted::NONE };
    let installed = Tools::with_cache(&workspace.cache, dependencies::progress()).install(wanted)?;
    let bin = installed.postgres_bin.context("PostgreSQL is not there")?;
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let place = Place::open(folder.path(), Lifetime::WithParent)?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let mut postgres = runtime.block_on(Postgres::start_in(&place, &bin))?;
    let mut cargo = process::cargo(workspace, "test");
    cargo.current_dir(workspace.components());
    cargo.args(["--release", "--package", "swiftcart-order", "--test", "store_sql", "--", "--ignored"]);
    cargo.args(rest.iter().filter(|argument| !matches!(argument.as_str(), "--ignored" | "--include-ignored")));
    // A new server's own database is empty.
    cargo.env("SWIFTCART_TEST_DATABASE_URL", postgres.admin_url());
    let counted = tally.count(&mut cargo);
    let stopped = runtime.block_on(postgres.stop());
    counted.and(stopped)
}

/// The tests inside libraries that need what `unit` does not have, and are ignored there: the host's control plane and its calls between hosts on a
/// real NATS server, which each test starts for itself.
fn ignored(workspace: &Workspace, which: &[&str], rest: &[String], tally: &mut Tally) -> anyhow::Result<()> {
    let tools = Tools::with_cache(&workspace.cache, dependencies::progress());
    let installed = tools.install(Wanted { nats: true, ..Wanted::NONE })?;
    let mut cargo = process::cargo(workspace, "test");
    // The whole workspace, as in `unit`, so that nothing is compiled a second time with other features.
    cargo.args(["--release", "--workspace", "--lib", "--no-fail-fast", "--", "--ignored"]).args(which);
    cargo.args(rest.iter().filter(|argument| !matches!(argument.as_str(), "--ignored" | "--include-ignored")));
    build::announce(workspace, &mut cargo);
    cargo.env("SWIFTCART_NATS_SERVER", installed.nats_server.context("the NATS server is not there")?);
    if which.contains(&"--exact") {
        cargo.env("SWIFTCART_WASH", tools.wash()?);
    }
    tally.count(&mut cargo)
}

/// Whether the filters among the arguments for test programs let a test through.
fn chosen(rest: &[String], test: &str) -> bool {
    let mut filters = rest.iter().filter(|argument| !argument.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| test.contains(filter.as_str()))
}

impl Tally {
    fn count(&mut self, command: &mut std::process::Command) -> anyhow::Result<()> {
        let before = self.failed;
        let status = process::run_watched(command, |line| self.add(line))?;
        if !status.success() && self.failed == before {
            // It did not compile, or a test program was killed: no test reported it.
            self.failed += 1;
            eprintln!("failed without a failed test: {} ({status})", process::line(command));
        }
        Ok(())
    }

    /// Adds a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; ...`.
    fn add(&mut self, line: &str) {
        let Some((_, numbers)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". ")) else {
            return;
        };
        for part in numbers.split("; ") {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

/// The test programs of a suite. What a crate keeps in its own `tests` folder speaks to real servers and belongs to `contract`, but for what has the
/// name of another suite: that needs what the other suite needs.
fn programs(packages: &[Package], suite: Suite) -> Vec<&str> {
    let own = packages.iter().filter(|package| package.name == SUITES).flat_map(|package| &package.tests);
    let mut programs: Vec<&str> = own.filter(|test| **test == name(suite)).map(String::as_str).collect();
    if suite == Suite::Contract {
        let others = packages.iter().filter(|package| package.name != SUITES);
        let of_another = |test: &&String| Suite::value_variants().iter().any(|other| name(*other) == test.as_str());
        programs.extend(others.flat_map(|package| &package.tests).filter(|test| !of_another(test)).map(String::as_str));
    }
    programs.sort_unstable();
    programs.dedup();
    programs
}

fn name(suite: Suite) -> String {
    suite.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_programs_add_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.add("test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s");
        tally.add("a line that says 9 passed; 9 failed");
        assert_eq!((tally.passed, tally.failed), (15, 2));
    }

    #[test]
    fn a_filter_that_names_another_test_leaves_one_out() {
        let rest = |arguments: &[&str]| arguments.iter().map(|argument| (*argument).to_owned()).collect::<Vec<_>>();
        assert!(chosen(&rest(&[]), WITH_WASH) && chosen(&rest(&["--nocapture"]), WITH_WASH));
        assert!(chosen(&rest(&["swap", "wash_calls"]), WITH_WASH));
        assert!(!chosen(&rest(&["--nocapture", "swap"]), WITH_WASH));
    }

    #[test]
    fn a_program_that_dies_without_a_result_is_a_failure() {
        let mut tally = Tally::default();
        tally.count(std::process::Command::new("sh").args(["-c", "exit 3"])).unwrap();
        assert_eq!((tally.passed, tally.failed), (0, 1));
    }

    #[test]
    fn a_failed_test_is_not_counted_twice() {
        let mut tally = Tally::default();
        let script = "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'; exit 101";
        tally.count(std::process::Command::new("sh").args(["-c", script])).unwrap();
        assert_eq!((tally.passed, tally.failed), (1, 1));
    }
}
