//! `cargo xtask audit`: the auditor against the shop of a data folder, or against any shop by its addresses. Invariant: it ends as the auditor does: 0 if and
//! only if all books were read and agree.

use anyhow::bail;

use crate::process;
use crate::up::DataFolder;
use crate::workspace::Workspace;
use crate::{build, dependencies};

/// The program, made by the crate tests/audit.
pub(crate) const PROGRAM: &str = "swiftcart-audit";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataFolder,
    /// First wait up to so many seconds until nothing is pending, outboxes are empty and consumers are at the end.
    #[arg(long)]
    wait: Option<u64>,
    /// For the auditor itself, for example `-- --json FILE` (`-- --help` lists them).
    #[arg(last = true)]
    rest: Vec<String>,
}

/// `cargo xtask audit`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    dependencies::build(workspace)?;
    build::native(workspace, &[PROGRAM])?;
    let mut audit = process::command(workspace.program(PROGRAM));
    audit.arg("--data-dir").arg(arguments.data.path(workspace));
    if let Some(seconds) = arguments.wait {
        audit.arg("--wait").arg(seconds.to_string());
    }
    let status = audit.args(&arguments.rest).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(1) => bail!("the books do not agree"),
        _ => bail!("the auditor could not read everything ({status})"),
    }
}
