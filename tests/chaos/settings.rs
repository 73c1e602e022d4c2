//! The suite's own arguments. Invariant: they are read once, before anything starts, and what is left goes to the test harness.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Context as _;
use swiftcart_tests::Arguments;

/// How the suite runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Of the load and of the list of faults.
    pub(crate) seed: u64,
    /// How many faults in `every_fault_under_load`; by default each kind once.
    pub(crate) faults: Option<usize>,
    /// Only faults whose name has this in it, for example `postgres`.
    pub(crate) only: Option<String>,
    /// Orders per second.
    pub(crate) rate: f64,
    /// Where to write the report of `every_fault_under_load`.
    pub(crate) json: Option<PathBuf>,
}

/// Modest, so that two cores that also run every server are not the fault that is found.
const RATE: f64 = 10.0;

static SETTINGS: OnceLock<Settings> = OnceLock::new();

/// Takes ours out and gives the rest.
pub(crate) fn read(arguments: impl IntoIterator<Item = String>) -> anyhow::Result<Arguments> {
    let mut settings =
        Settings { seed: rand::random::<u32>().into(), faults: None, only: None, rate: RATE, json: None };
    let mut rest = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        if !matches!(argument.as_str(), "--seed" | "--faults" | "--only" | "--rate" | "--json") {
            rest.push(argument);
            continue;
        }
        let value = arguments.next().with_context(|| format!("{argument} needs a value"))?;
        let wrong = || format!("{argument} {value}");
        match argument.as_str() {
            "--seed" => settings.seed = value.parse().with_context(wrong)?,
            "--faults" => settings.faults = Some(value.parse().with_context(wrong)?),
            "--only" => settings.only = Some(value),
            "--rate" => settings.rate = value.parse().with_context(wrong)?,
            _ => settings.json = Some(value.into()),
        }
    }
    anyhow::ensure!(
        settings.rate > 0.0 && settings.rate <= 1000.0,
        "--rate {}: orders per second, up to 1000",
        settings.rate
    );
    SETTINGS.set(settings).ok().context("the arguments were read before")?;
    Ok(Arguments::from_iter(rest))
}

/// How the suite runs.
pub(crate) fn settings() -> &'static Settings {
    SETTINGS.get_or_init(|| Settings { seed: 0, faults: None, only: None, rate: RATE, json: None })
}
