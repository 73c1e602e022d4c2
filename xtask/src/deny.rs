//! The supply chain: cargo-deny in one pinned version, and RustSec's advisories from where they can be had. Invariant: a part that
//! could not be checked is said in plain words, never passed over.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::process;
use crate::workspace::Workspace;

const VERSION: &str = "0.20.2";
/// Name that this version of cargo-deny gives RustSec's database inside its folder (a hash of the address).
const DATABASE: &str = "advisory-db-3157b0e258782691";
/// A copy that may lie beside the checkout.
const COPY_BESIDE: &str = "../shared/data/advisory-db.tar.xz";
const INSTALL_LIMIT: Duration = Duration::from_secs(1800);
const CHECK_LIMIT: Duration = Duration::from_secs(600);
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Checks bans, licenses, sources and, where there is a database, advisories of both workspaces. Returns a remark for the reader.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<Option<String>> {
    let program = install(workspace)?;
    let folders = [workspace.root.clone(), workspace.components()];
    for folder in &folders {
        let mut deny = deny(workspace, &program, folder);
        process::run_quietly("cargo deny", deny.args(["check", "bans", "licenses", "sources"]), CHECK_LIMIT)?;
    }
    let remark = match advisories(workspace, &program)? {
        Advisories::None => {
            return Ok(Some(
                "advisories SKIPPED: RustSec's database can neither be fetched here nor is there a copy; \
                 name one with SWIFTCART_ADVISORY_DB=<folder or tar.xz>"
                    .to_owned(),
            ));
        }
        Advisories::Fetched => None,
        Advisories::Copy { newest } => Some(format!("advisories from a copy whose newest entry is of {newest}")),
    };
    for folder in &folders {
        // Offline: crates are there from the first check, and the database from above.
        let mut deny = deny(workspace, &program, folder);
        process::run_quietly("cargo deny", deny.args(["--offline", "check", "advisories"]), CHECK_LIMIT)?;
    }
    Ok(remark)
}

enum Advisories {
    None,
    Fetched,
    Copy { newest: String },
}

fn deny(workspace: &Workspace, program: &Path, folder: &Path) -> Command {
    let mut deny = process::command(program);
    deny.current_dir(folder).env("SWIFTCART_ADVISORY_DBS", databases(workspace));
    deny
}

fn databases(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("advisory-dbs")
}

/// A copy that was named wins; then a fresh download; then a copy beside the checkout.
fn advisories(workspace: &Workspace, program: &Path) -> anyhow::Result<Advisories> {
    if let Some(copy) = env::var_os("SWIFTCART_ADVISORY_DB").filter(|copy| !copy.is_empty()) {
        let newest = unpack(workspace, Path::new(&copy))?;
        return Ok(Advisories::Copy { newest });
    }
    let home = databases(workspace);
    fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    // A copy that stands where the repository would be cloned is not a repository.
    if home.join(DATABASE).exists() && !home.join(DATABASE).join(".git/HEAD").exists() {
        fs::remove_dir_all(home.join(DATABASE)).context("removing an older copy of the advisories")?;
    }
    if process::exists("git") {
        let mut fetch = deny(workspace, program, &workspace.root);
        fetch.args(["fetch", "db"]).env("GIT_TERMINAL_PROMPT", "0");
        if process::succeeds_within(&mut fetch, FETCH_LIMIT) {
            return Ok(Advisories::Fetched);
        }
    }
    let beside = workspace.root.join(COPY_BESIDE);
    if beside.exists() {
        return Ok(Advisories::Copy { newest: unpack(workspace, &beside)? });
    }
    Ok(Advisories::None)
}

/// Puts a copy where cargo-deny looks, dated by its newest advisory so that cargo-deny can refuse one that is too old.
fn unpack(workspace: &Workspace, copy: &Path) -> anyhow::Result<String> {
    let home = databases(workspace).join(DATABASE);
    if home.exists() {
        fs::remove_dir_all(&home).context("removing the older copy of the advisories")?;
    }
    let git = home.join(".git");
    fs::create_dir_all(&git).with_context(|| format!("making {}", git.display()))?;
    if copy.is_dir() {
        process::output(process::command("cp").arg("-R").arg(copy.join("crates")).arg(&home))?;
    } else {
        process::output(process::command("tar").arg("-xf").arg(copy).arg("-C").arg(&home))
            .context("unpacking the copy of the advisories (it needs tar and xz-utils)")?;
    }
    let newest = newest_date(&home.join("crates"))?;
    process::output(process::command("touch").args(["-d", &newest]).arg(git.join("FETCH_HEAD")))?;
    Ok(newest)
}

/// The latest `date = "YYYY-MM-DD"` of all advisories.
fn newest_date(crates: &Path) -> anyhow::Result<String> {
    let mut newest = String::new();
    let mut folders = vec![crates.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let dates = text.lines().filter_map(|line| line.strip_prefix("date = \"")?.strip_suffix('"'));
            newest = dates.map(str::to_owned).fold(newest, String::max);
        }
    }
    ensure!(!newest.is_empty(), "{} holds no advisory", crates.display());
    Ok(newest)
}

/// The pinned version from PATH or from the cache; else it is built once into the cache.
fn install(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let tools = workspace.cache.join("tools");
    let cached = tools.join("bin/cargo-deny");
    for program in [PathBuf::from("cargo-deny"), cached.clone()] {
        let version = process::output(process::command(&program).arg("--version")).unwrap_or_default();
        if version.trim() == format!("cargo-deny {VERSION}") {
            return Ok(program);
        }
    }
    eprintln!("    installing cargo-deny {VERSION} into {} (about a minute, once)", tools.display());
    let build = tools.join(format!("build-{}", std::process::id()));
    let mut cargo = process::command("cargo");
    // Unoptimised: it compiles in half the time and checks both workspaces in seconds all the same.
    cargo.env("CARGO_TARGET_DIR", &build).env("CARGO_PROFILE_DEV_DEBUG", "0");
    cargo.args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug", "--force", "--root"]).arg(&tools);
    let installed = process::run_quietly("cargo install cargo-deny", &mut cargo, INSTALL_LIMIT);
    let _ = fs::remove_dir_all(&build);
    installed.map(|()| cached)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_as_old_as_its_newest_advisory() {
        let folder = env::temp_dir().join(format!("swiftcart-xtask-advisories-{}", std::process::id()));
        fs::create_dir_all(folder.join("one")).unwrap();
        assert!(newest_date(&folder).is_err(), "an empty copy is no copy");
        fs::write(folder.join("one/a.md"), "```toml\n[advisory]\ndate = \"2024-03-01\"\n```").unwrap();
        fs::write(folder.join("one/b.md"), "```toml\n[advisory]\ndate = \"2026-08-20\"\n```").unwrap();
        assert_eq!(newest_date(&folder).unwrap(), "2026-08-20");
        fs::remove_dir_all(&folder).unwrap();
    }
}
