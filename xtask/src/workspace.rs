//! Where things are: the checkout, the shared target folder, the cache. Invariant: every path is absolute, and nothing but
//! this file decides where a file of the build goes.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};

/// The checkout and the folders round it.
pub(crate) struct Workspace {
    /// The root of the checkout.
    pub root: PathBuf,
    /// Build output of both workspaces: `CARGO_TARGET_DIR`, else `target` in the checkout.
    pub target: PathBuf,
    /// Downloaded and unpacked tools, outside the checkout: `SWIFTCART_CACHE_DIR`, else `swiftcart` in the user's cache.
    pub cache: PathBuf,
}

impl Workspace {
    /// Finds the checkout that this command was started in.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = env::current_dir().context("reading the current folder")?;
        let root = match env::var_os("CARGO_MANIFEST_DIR") {
            Some(xtask) => PathBuf::from(xtask).parent().map(Path::to_owned),
            None => here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").is_file()).map(Path::to_owned),
        };
        let root = root.ok_or_else(|| anyhow!("{} is not inside a SwiftCart checkout", here.display()))?;
        let root = root.canonicalize().with_context(|| format!("resolving {}", root.display()))?;
        let target = match non_empty("CARGO_TARGET_DIR") {
            Some(folder) => here.join(folder),
            None => root.join("target"),
        };
        Ok(Self { target, cache: here.join(cache_folder()?), root })
    }

    /// The workspace of the components, which are built for another target.
    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    /// Where `build` puts `<service>.wasm`.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.target.join("components")
    }

    /// Where `build --guests` puts `<guest>.wasm`.
    pub(crate) fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// A native program of the release profile.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }
}

/// True in a CI run: lock files must not change, and nobody reads progress bars.
pub(crate) fn is_ci() -> bool {
    non_empty("CI").is_some_and(|value| value != "false" && value != "0")
}

fn cache_folder() -> anyhow::Result<PathBuf> {
    if let Some(folder) = non_empty("SWIFTCART_CACHE_DIR") {
        return Ok(folder.into());
    }
    if let Some(folder) = non_empty("XDG_CACHE_HOME") {
        return Ok(Path::new(&folder).join("swiftcart"));
    }
    match env::home_dir() {
        Some(home) => Ok(home.join(".cache/swiftcart")),
        None => bail!("there is no home folder: set SWIFTCART_CACHE_DIR to a folder for downloaded tools"),
    }
}

fn non_empty(name: &str) -> Option<std::ffi::OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
