//! Which compiler builds the components. Invariant: the toolchain that `find` returns has the standard library of the target, and
//! the system's own Rust is never touched beyond `rustup target add`.
//!
//! In this order: the active toolchain; a private one that an earlier run made; `rustup target add`; a private one made from
//! Debian's packages (`debian`). The private one stands before the download so that a machine without the download asks once.

mod debian;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::process;
use crate::workspace::Workspace;

/// The target of every component.
pub(crate) const TARGET: &str = "wasm32-wasip2";
/// `rustup target add` downloads 40 MB; without a network it fails at once or hangs.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(180);

/// A toolchain that can build for [`TARGET`].
pub(crate) struct Toolchain {
    /// Name for rustup; `None` is the active toolchain.
    name: Option<String>,
}

impl Toolchain {
    /// Finds a toolchain, or makes one.
    pub(crate) fn find(workspace: &Workspace) -> anyhow::Result<Self> {
        let active = Self { name: None };
        if active.has_target() {
            return Ok(active);
        }
        if !process::exists("rustup") {
            bail!(
                "this Rust has no standard library for {TARGET}, and there is no rustup to fetch one. \
                 Install rustup, then run `rustup target add {TARGET}`"
            );
        }
        let private = Self { name: Some(private_name()) };
        if debian::is_current(&private)? {
            return Ok(private);
        }
        eprintln!("asking rustup for {TARGET}");
        let mut add = process::command("rustup");
        let added = process::succeeds_within(add.args(["target", "add", TARGET]), DOWNLOAD_LIMIT);
        if added && active.has_target() {
            return Ok(active);
        }
        eprintln!("`rustup target add {TARGET}` does not help here; making a private toolchain from Debian's packages");
        debian::make(workspace, &private).with_context(|| {
            format!("no compiler for {TARGET}: run `rustup target add {TARGET}` where the network allows it")
        })?;
        if !debian::is_current(&private)? {
            bail!("the toolchain made from Debian's packages does not work: run `rustup target add {TARGET}` instead");
        }
        Ok(private)
    }

    /// `cargo` of this toolchain in the workspace of the components, with the shared target folder.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Command {
        let mut cargo = process::cargo(workspace, subcommand);
        cargo.current_dir(workspace.components());
        self.select(&mut cargo);
        cargo
    }

    /// How the toolchain is called in messages.
    pub(crate) fn describe(&self) -> &str {
        self.name.as_deref().unwrap_or("the active toolchain")
    }

    fn select(&self, command: &mut Command) {
        if let Some(name) = &self.name {
            command.env("RUSTUP_TOOLCHAIN", name);
        }
    }

    /// Asks the compiler itself where the target's libraries are, and looks whether `std` is among them.
    fn has_target(&self) -> bool {
        let mut rustc = process::command("rustc");
        rustc.args(["--print", "target-libdir", "--target", TARGET]);
        self.select(&mut rustc);
        process::output(&mut rustc).is_ok_and(|folder| holds_std(Path::new(folder.trim())))
    }
}

/// Name of the private toolchain. Another one can be chosen so that two caches on one machine do not fight for the name.
fn private_name() -> String {
    env::var("SWIFTCART_WASM_TOOLCHAIN").ok().filter(|name| !name.is_empty()).unwrap_or("swiftcart-wasm".to_owned())
}

fn holds_std(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

/// The active toolchain's own folder.
fn active_sysroot() -> anyhow::Result<PathBuf> {
    let sysroot = process::output(process::command("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(sysroot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_standard_library_is_no_target() {
        let folder = env::temp_dir().join(format!("swiftcart-xtask-std-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!holds_std(&folder));
        fs::write(folder.join("libcore-1.rlib"), "").unwrap();
        assert!(!holds_std(&folder));
        fs::write(folder.join("libstd-1.rlib"), "").unwrap();
        assert!(holds_std(&folder));
        fs::remove_dir_all(&folder).unwrap();
        assert!(!holds_std(&folder));
    }
}
