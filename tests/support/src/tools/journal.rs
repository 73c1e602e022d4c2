//! The external provider of the tests, somebody else's code: built on the public SDK, from `tests/provider-sdk`. Invariant: it is built once
//! per version of its source; what the build needs is removed afterwards.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::{Tools, cache, run};

const PROGRAM: &str = "journal-provider";
/// What the program is made of.
const SOURCES: [&str; 4] = ["Cargo.lock", "Cargo.toml", "src/journal.rs", "src/main.rs"];

impl Tools {
    /// The program of the provider `journal`; builds it if need be, for several minutes.
    ///
    /// # Errors
    /// What the build said.
    pub fn journal_provider(&self) -> anyhow::Result<PathBuf> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../provider-sdk");
        let name = format!("tools/{PROGRAM}-{:016x}", fingerprint(&source)?);
        std::fs::create_dir_all(self.cache.join("tools")).context("making the folder of tools")?;
        let folder = cache::folder(self, &name, |unfinished| build(self, &source, unfinished))?;
        Ok(folder.join(PROGRAM))
    }
}

fn fingerprint(source: &Path) -> anyhow::Result<u64> {
    let mut hasher = DefaultHasher::new();
    for file in SOURCES {
        let path = source.join(file);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn build(tools: &Tools, source: &Path, unfinished: &Path) -> anyhow::Result<()> {
    tools.progress.say("Building the external provider of the tests on the public SDK (about four minutes, once)");
    let target = unfinished.join("target");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(source).args(["build", "--locked", "--target-dir"]).arg(&target);
    run(&mut cargo, "building the external provider")?;
    let program = target.join("debug").join(PROGRAM);
    if !program.is_file() {
        bail!("the build made no {}", program.display());
    }
    std::fs::copy(&program, unfinished.join(PROGRAM)).context("keeping the provider")?;
    std::fs::remove_dir_all(&target).context("removing what the build needed")
}
