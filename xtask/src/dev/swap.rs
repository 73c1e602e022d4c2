//! The running shop, as `dev` changes it. Invariant: each new build has a file of its own, because a host takes a reference that it runs
//! already for the code that it runs already.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use swiftcart_support::lattice::Lattice;
use swiftcart_support::shop::{self, Application, State};

use super::change::MANIFEST;
use crate::workspace::Workspace;

/// Below the folder of components.
const FOLDER: &str = "dev";
/// Builds of one component that are kept: the one that runs, and one to go back to.
const KEPT: usize = 2;
/// Compiling a component takes a second or two on an idle machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The shop of a data folder.
pub(super) struct Running {
    data: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    /// Looks for a shop that is a member of a lattice.
    pub(super) fn find(data: &Path) -> anyhow::Result<Self> {
        let running = Self {
            data: data.to_owned(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("starting the runtime")?,
        };
        running.lattice_at()?;
        Ok(running)
    }

    /// Asked anew each time, so that the shop may be stopped and started again meanwhile.
    fn lattice_at(&self) -> anyhow::Result<(String, String)> {
        let state = State::read(&self.data)?.filter(State::running);
        let Some(state) = state else {
            bail!("no shop runs in {}: start one with `cargo xtask up`", self.data.display());
        };
        match (state.addresses.nats_url, state.addresses.lattice) {
            (Some(nats), Some(lattice)) => Ok((nats, lattice)),
            _ => bail!("the shop in {} runs without a lattice: start it without --standalone", self.data.display()),
        }
    }

    /// Deploys the manifest as it is now.
    pub(super) fn deploy(&self, manifest: &Path) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let (nats, name) = self.lattice_at()?;
        let application = Application::read(manifest)?;
        self.runtime.block_on(async {
            let lattice = Lattice::connect(&nats, &name).await?;
            shop::deploy(&lattice, &application, DEADLINE).await
        })?;
        Ok(began.elapsed())
    }

    /// Swaps components by name, on every host that runs them. What is refused is tried again after the others, because it may need their
    /// new exports. Returns what stays refused, with reasons.
    pub(super) fn swap_all(&self, workspace: &Workspace, names: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
        let (nats, name) = self.lattice_at()?;
        let application = Application::read(&workspace.root.join(MANIFEST))?;
        let artifacts = &workspace.artifacts();
        self.runtime.block_on(async {
            let lattice = Lattice::connect(&nats, &name).await?;
            let mut open: Vec<&String> = names.iter().collect();
            loop {
                let mut refused = BTreeMap::new();
                for name in &open {
                    let swapped = one(&lattice, &application, artifacts, name).await;
                    if let Err(error) = swapped {
                        refused.insert((*name).clone(), format!("{error:#}"));
                    }
                }
                if refused.is_empty() || refused.len() == open.len() {
                    return Ok(refused);
                }
                open.retain(|name| refused.contains_key(*name));
            }
        })
    }
}

async fn one(lattice: &Lattice, application: &Application, artifacts: &Path, name: &str) -> anyhow::Result<()> {
    let Some(id) = application.id(name) else { bail!("{MANIFEST} has no component `{name}`") };
    let file = keep(artifacts, name)?;
    let hosts = shop::hosts_of(lattice, &id).await?;
    ensure!(!hosts.is_empty(), "no host runs {id}");
    for host in hosts {
        let reference = format!("file://{FOLDER}/{file}");
        shop::swap(lattice, &host, &id, &reference, DEADLINE).await?;
    }
    Ok(())
}

/// Copies a build to a name that no other build has, and deletes older ones. Returns the file's name.
fn keep(artifacts: &Path, name: &str) -> anyhow::Result<String> {
    let folder = artifacts.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock is before 1970")?;
    // Milliseconds of this era have thirteen digits, so that the order of names is the order of time.
    let file = format!("{name}-{}.wasm", stamp.as_millis());
    fs::copy(artifacts.join(format!("{name}.wasm")), folder.join(&file)).with_context(|| format!("writing {file}"))?;
    let mut builds: Vec<PathBuf> = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')).is_some_and(|it| it.0 == name))
        .collect();
    builds.sort();
    for old in builds.iter().rev().skip(KEPT) {
        fs::remove_file(old).with_context(|| format!("deleting {}", old.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_build_has_its_own_file_and_old_ones_go() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("lamp.wasm"), "1").unwrap();
        fs::create_dir_all(folder.path().join("dev")).unwrap();
        for old in ["lamp-1000000000001.wasm", "lamp-1000000000002.wasm", "lamp-stand-1000000000001.wasm"] {
            fs::write(folder.path().join("dev").join(old), "0").unwrap();
        }
        let file = keep(folder.path(), "lamp").unwrap();
        assert_eq!(fs::read(folder.path().join("dev").join(&file)).unwrap(), b"1");
        let mut left: Vec<_> =
            fs::read_dir(folder.path().join("dev")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["lamp-1000000000002.wasm", file.as_str(), "lamp-stand-1000000000001.wasm"]);
    }

    #[test]
    fn without_a_shop_the_error_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Running::find(folder.path()).err().unwrap();
        assert!(error.to_string().contains("cargo xtask up"), "{error}");
    }
}
