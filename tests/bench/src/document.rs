//! The file of figures, whose shape is kept from release to release: `runs`, one entry per variant and repeat, and `ratios`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::statistics::Spread;

/// The figures of one benchmark.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document<R> {
    /// Its name.
    pub(crate) benchmark: String,
    /// Where and when.
    pub(crate) made: Made,
    pub(crate) runs: Vec<R>,
    /// `variant/other`.
    pub(crate) ratios: BTreeMap<String, Spread>,
}

/// Figures belong to a machine, a day and a version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Day, in UTC.
    pub(crate) date: String,
    /// Of the checkout, with `+` when files were changed since; none without git.
    pub(crate) commit: Option<String>,
    pub(crate) processor: Option<String>,
    pub(crate) cores: usize,
    /// Whether the run was only to show that the benchmark works.
    pub(crate) quick: bool,
}

impl Made {
    /// Here and now.
    pub(crate) fn now(root: &Path, quick: bool) -> anyhow::Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find(|line| line.starts_with("model name"));
        Ok(Self {
            date: time::OffsetDateTime::now_utc().date().to_string(),
            commit: commit(root),
            processor: model.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned())),
            cores: std::thread::available_parallelism()?.get(),
            quick,
        })
    }
}

fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let (commit, changed) = (git(&["rev-parse", "--short", "HEAD"])?, git(&["status", "--porcelain"])?);
    Some(if changed.is_empty() { commit } else { format!("{commit}+") })
}

impl<R: Serialize> Document<R> {
    /// Writes the file.
    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        fs::write(file, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("writing {}", file.display()))
    }
}
