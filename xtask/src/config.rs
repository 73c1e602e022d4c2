//! `cargo xtask config`: puts named configs on a lattice, where external configs of a manifest are looked for. Invariant: what is not in
//! the file stays as it is.

use std::path::PathBuf;

use anyhow::{Context, bail};
use swiftcart_support::lattice::Lattice;
use swiftcart_support::shop::{State, read_configs, store_configs};

use crate::up::DataFolder;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataFolder,
    /// Files of the form `name: {key: text}`, for example wadm/production-config.yaml.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The NATS server; by default that of the shop that runs in the data folder.
    #[arg(long, env = "NATS_URL")]
    nats_url: Option<String>,
    /// The lattice; by default that of the running shop, or `default` with --nats-url.
    #[arg(long, env = "WASMCLOUD_LATTICE")]
    lattice: Option<String>,
}

/// `cargo xtask config`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let (nats_url, name) = target(workspace, arguments)?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let lattice = Lattice::connect(&nats_url, &name).await?;
        for file in &arguments.files {
            let configs = read_configs(file)?;
            let changed = store_configs(&lattice, &configs).await?;
            println!("{}: {} configs on the lattice {name}, {changed} new or changed", file.display(), configs.len());
        }
        Ok(())
    })
}

fn target(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<(String, String)> {
    let lattice = arguments.lattice.clone();
    if let Some(url) = &arguments.nats_url {
        return Ok((url.clone(), lattice.unwrap_or_else(|| "default".to_owned())));
    }
    let data = arguments.data.path(workspace);
    let addresses = State::read(&data)?.map(|state| state.addresses);
    let found = addresses.and_then(|addresses| Some((addresses.nats_url?, lattice.or(addresses.lattice)?)));
    match found {
        Some(found) => Ok(found),
        None => bail!("no lattice runs in {}: name its server with --nats-url", data.display()),
    }
}
