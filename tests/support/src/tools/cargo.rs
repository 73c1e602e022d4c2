//! Programs that come as source and are built by this machine's cargo: `wash`, and wadm's server. Invariant: a program is built once per version,
//! in a folder of its own that is given back afterwards, never in the checkout; a build says that it goes on, and keeps its log when it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sha2::{Digest as _, Sha256};

use super::{Tools, cache};
use crate::process::tail;

const WASH_VERSION: &str = "0.43.0";
const WADM_VERSION: &str = "0.21.1";
/// Between two sentences about a build that goes on.
const SENTENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

impl Tools {
    /// The command line of wasmCloud, `wash`. Built on first use, which takes some twenty minutes on two cores.
    ///
    /// # Errors
    /// When it cannot be built, with the end of the log.
    pub fn wash(&self) -> anyhow::Result<PathBuf> {
        let name = format!("tools/wash-{WASH_VERSION}");
        let folder = cache::folder(self, &name, |unfinished| {
            let mut cargo = cargo(unfinished);
            // Unoptimised, because it is waited for once and then runs for milliseconds.
            cargo.args(["install", "wash", "--version", WASH_VERSION, "--locked", "--debug", "--root"]).arg(unfinished);
            self.build(&mut cargo, &format!("wash {WASH_VERSION}"), &name)?;
            give_back(unfinished)
        })?;
        Ok(folder.join("bin/wash"))
    }

    /// wadm as a program, from the folder `wadm/server` of a checkout. Built on first use, which takes minutes.
    ///
    /// # Errors
    /// When it cannot be built, with the end of the log.
    pub fn wadm(&self, source: &Path) -> anyhow::Result<PathBuf> {
        let source = source.canonicalize().with_context(|| format!("looking for {}", source.display()))?;
        let name = format!("tools/wadm-{WADM_VERSION}-{}", fingerprint(&source)?);
        let folder = cache::folder(self, &name, |unfinished| {
            let mut cargo = cargo(unfinished);
            cargo.args(["build", "--locked", "--manifest-path"]).arg(source.join("Cargo.toml"));
            self.build(&mut cargo, &format!("wadm {WADM_VERSION}"), &name)?;
            fs::create_dir_all(unfinished.join("bin"))?;
            fs::copy(target(unfinished).join("debug/wadm"), unfinished.join("bin/wadm")).context("copying wadm")?;
            give_back(unfinished)
        })?;
        Ok(folder.join("bin/wadm"))
    }

    fn build(&self, cargo: &mut Command, what: &str, name: &str) -> anyhow::Result<()> {
        let log = self.cache.join(format!("{name}.log"));
        let file = fs::File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        self.progress.say(format!("Building {what} with cargo, once; the log is {}", log.display()));
        let began = Instant::now();
        let mut child = cargo
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("building {what}: starting cargo"))?;
        let mut said = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().with_context(|| format!("waiting for the build of {what}"))? {
                break status;
            }
            if said.elapsed() >= SENTENCE {
                said = Instant::now();
                let crates = fs::read_to_string(&log).unwrap_or_default().matches("Compiling ").count();
                self.progress.say(format!("Still building {what}: {crates} crates in {} s", began.elapsed().as_secs()));
            }
            std::thread::sleep(POLL);
        };
        if !status.success() {
            bail!("building {what}: cargo ended with {status}; the end of {}:\n{}", log.display(), tail(&log));
        }
        self.progress.say(format!("Built {what} in {} s", began.elapsed().as_secs()));
        Ok(fs::remove_file(&log)?)
    }
}

/// Started outside the checkout, so that neither its settings for cargo nor those of the cargo that may run us have a say.
fn cargo(unfinished: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let about_us =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_BIN_", "CARGO_TARGET_"];
        if about_us.iter().any(|prefix| text.starts_with(prefix))
            || matches!(
                text,
                "CARGO" | "CARGO_PRIMARY_PACKAGE" | "CARGO_CRATE_NAME" | "LD_LIBRARY_PATH" | "RUST_RECURSION_COUNT"
            )
        {
            cargo.env_remove(&name);
        }
    }
    cargo.current_dir(unfinished).env("CARGO_TARGET_DIR", target(unfinished)).env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo
}

fn target(unfinished: &Path) -> PathBuf {
    unfinished.join("target")
}

/// The build folder is gigabytes; the program is not.
fn give_back(unfinished: &Path) -> anyhow::Result<()> {
    let target = target(unfinished);
    fs::remove_dir_all(&target).with_context(|| format!("removing {}", target.display()))
}

/// Changes with everything that decides what is built.
fn fingerprint(source: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
        let path = source.join(file);
        hash.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::tools::Progress;

    /// A crate without dependencies in the place of wadm's.
    fn source(folder: &Path, main: &str) {
        fs::create_dir_all(folder.join("src")).unwrap();
        let manifest = "[workspace]\n[package]\nname = \"wadm\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
        fs::write(folder.join("Cargo.toml"), manifest).unwrap();
        fs::write(folder.join("Cargo.lock"), "version = 4\n\n[[package]]\nname = \"wadm\"\nversion = \"0.0.0\"\n")
            .unwrap();
        fs::write(folder.join("src/main.rs"), main).unwrap();
    }

    #[test]
    fn a_program_is_built_once_per_source_and_a_failure_shows_the_compilers_words() {
        let (cache, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let tools = Tools::with_cache(cache.path(), Progress::silent());
        source(folder.path(), "fn main() {}");
        let program = tools.wadm(folder.path()).unwrap();
        assert!(Command::new(&program).status().unwrap().success());
        assert!(!program.parent().unwrap().parent().unwrap().join("target").exists());
        let built = fs::metadata(&program).unwrap().modified().unwrap();
        assert_eq!(fs::metadata(tools.wadm(folder.path()).unwrap()).unwrap().modified().unwrap(), built);

        source(folder.path(), "fn main() { nonsense }");
        let error = format!("{:#}", tools.wadm(folder.path()).unwrap_err());
        assert!(error.contains("nonsense"), "{error}");
    }
}
