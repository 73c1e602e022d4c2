//! wadm as a program: its own arguments and environment (`--help`), logs to standard error as `RUST_LOG` says. Invariant: nothing is added to
//! or taken from what wadm does; `--version` prints `wadm 0.21.1`, by which `wash` recognises it.

use anyhow::Context as _;
use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = wadm::config::WadmConfig::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,async_nats=warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut tasks = wadm::start_wadm(config).await.context("starting wadm")?;
    tokio::select! {
        // Its two tasks (the API and the observer of events) never end by themselves; half a wadm serves nobody.
        ended = tasks.join_next() => match ended {
            Some(ended) => ended.context("a task of wadm ended in a panic")?.context("a task of wadm failed")?,
            None => {}
        },
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
