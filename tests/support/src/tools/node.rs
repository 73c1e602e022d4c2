//! The mail catcher maildev and the Node.js that it needs. Invariant: a Node.js that is too old is left alone and another one used.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::{MaildevProgram, Tools, cache, find_on_path, output, python, run};

const MAILDEV: &str = "maildev@3.0.0";
const MAILDEV_FOLDER: &str = "maildev-3.0.0";
const MAILDEV_SCRIPT: &str = "node_modules/maildev/dist/bin/maildev.js";
/// What maildev 3 asks for.
const OLDEST_NODE: u32 = 20;

/// True when neither the machine nor the cache has a Node.js that serves, so that one must come from the Python package index.
pub(super) fn needs_python(tools: &Tools) -> bool {
    system_node(tools).is_none() && !python::node_path(tools).0.exists()
}

pub(super) fn maildev(tools: &Tools) -> anyhow::Result<MaildevProgram> {
    let (node, npm) = match system_node(tools) {
        Some(found) => found,
        None => python::node(tools).context("installing Node.js; by hand: Node.js 20 or later with npm")?,
    };
    let folder = cache::folder(tools, MAILDEV_FOLDER, |unfinished| install(tools, &node, &npm, unfinished))?;
    Ok(MaildevProgram { node, script: folder.join(MAILDEV_SCRIPT) })
}

/// The machine's Node.js and, while maildev is still to be installed, its npm.
fn system_node(tools: &Tools) -> Option<(PathBuf, PathBuf)> {
    let node = find_on_path("node")?;
    let version = output(Command::new(&node).arg("--version"), "asking Node.js for its version").ok()?;
    let major: u32 = version.trim().strip_prefix('v')?.split('.').next()?.parse().ok()?;
    let npm = find_on_path("npm");
    let installed = tools.cache.join(MAILDEV_FOLDER).exists();
    (major >= OLDEST_NODE && (installed || npm.is_some())).then(|| (node, npm.unwrap_or_default()))
}

fn install(tools: &Tools, node: &Path, npm: &Path, unfinished: &Path) -> anyhow::Result<()> {
    tools.progress.say("Installing the mail catcher (maildev 3.0.0)");
    // npm is a script for a `node` on the path, or, from the wheel, a script file to be run by that very Node.js.
    let mut command =
        if npm.extension().is_some_and(|extension| extension == "js") { Command::new(node) } else { Command::new(npm) };
    if npm.extension().is_some_and(|extension| extension == "js") {
        command.arg(npm);
    }
    let mut path = node.parent().map(|folder| folder.as_os_str().to_owned()).unwrap_or_default();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    command.args([
        "install",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--ignore-scripts",
        "--omit=dev",
        "--loglevel=error",
        "--prefix",
    ]);
    command.arg(unfinished).arg(MAILDEV).current_dir(unfinished).env("PATH", path);
    run(&mut command, "installing maildev")
}
