//! System packages, on Debian-like systems and as root only. Invariant: no service of a package is started, and a `policy-rc.d` of the user
//! stays as it is.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use super::{Tools, cache, find_on_path, run};

const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# Made by SwiftCart while it installs packages, so that their services are not started; may be deleted.\nexit 101\n";

/// Installs packages without what they merely recommend.
pub(super) fn install(tools: &Tools, packages: &[&str], by_hand: &str) -> anyhow::Result<()> {
    let refuse = |why: &str| {
        format!(
            "{why}, so please install this by hand and try again: {by_hand} (on Debian or Ubuntu: sudo apt-get install --no-install-recommends {})",
            packages.join(" ")
        )
    };
    if find_on_path("apt-get").is_none() {
        bail!(refuse("This system has no apt-get"));
    }
    if !rustix::process::geteuid().is_root() {
        bail!(refuse("Packages can be installed by root only"));
    }
    let _lock = cache::lock(&tools.cache, "apt", &tools.progress)?;
    let _policy = Policy::hold()?;
    let apt = |arguments: &[&str], what: &str| {
        let mut command = Command::new("apt-get");
        command
            .args(["-o", "DPkg::Lock::Timeout=300", "-q"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1");
        run(&mut command, what)
    };
    // A list that cannot be refreshed may still serve; the installation tells.
    if let Err(error) = apt(&["update"], "refreshing the list of packages") {
        tools
            .progress
            .say(format!("The list of packages could not be refreshed, going on with the old one: {error:#}"));
    }
    let mut arguments = vec!["install", "-y", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments, "installing system packages").with_context(|| refuse("The package manager failed"))
}

/// Keeps the services of new packages from being started, until dropped.
struct Policy {
    ours: bool,
}

impl Policy {
    fn hold() -> anyhow::Result<Self> {
        let left_over = fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT);
        match fs::OpenOptions::new().create_new(true).write(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                file.write_all(POLICY_TEXT.as_bytes())?;
                Ok(Self { ours: true })
            }
            // Either one that we left behind when we were killed, or one of the user: his own rule then decides.
            Err(_) if Path::new(POLICY).exists() => Ok(Self { ours: left_over }),
            Err(error) => Err(error).with_context(|| format!("writing {POLICY}")),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}
