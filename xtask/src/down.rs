//! `cargo xtask down`: ends a shop from outside. Invariant: only processes that the state file names by number and start time are ended.

use swiftcart_support::shop;

use crate::up::DataFolder;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataFolder,
}

/// `cargo xtask down`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let data = arguments.data.path(workspace);
    let stopped = shop::down(&data)?;
    if stopped.is_empty() {
        println!("nothing runs in {}", data.display());
    } else {
        println!("stopped: {}", stopped.join(", "));
    }
    Ok(())
}
