//! `swiftcart-bench`: puts load on a shop of its own and reports figures. A figure is printed only if everything that was promised for the
//! orders behind it holds afterwards: the accounting is part of the run, and a run that does not add up fails.

#![allow(clippy::print_stdout, reason = "the report is this program's output")]

mod accounting;
mod cpu;
mod load;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use swiftcart_support::shop::{HostOptions, Shop, ShopOptions};
use swiftcart_support::tools::Progress;

use accounting::Accounts;
use load::Plan;

#[derive(Parser)]
#[command(about = "Puts load on a shop of its own and reports what it saw")]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Creates orders: token check, idempotency, reservation, charge, all writes, and both consumers behind it.
    Orders(Orders),
}

/// When the next order is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// At a fixed rate, whether or not earlier ones were answered; latency counts from the moment an order was due.
    Open,
    /// As soon as the one before was answered.
    Closed,
}

#[derive(clap::Args, Clone, Debug)]
struct Orders {
    /// Open or closed loop.
    #[arg(long, value_enum, default_value = "open")]
    mode: Mode,
    /// Orders per second, for the open loop.
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Clients that wait for answers, for the closed loop.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seconds that count.
    #[arg(long, default_value_t = 60)]
    duration: u64,
    /// Seconds before, at the same load, that do not count.
    #[arg(long, default_value_t = 5)]
    warmup: u64,
    /// Buyers, each with a token; the edge limits the rate of each.
    #[arg(long, default_value_t = 200)]
    buyers: usize,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Two seconds at a low rate: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// Fail unless the floor of the system's design holds: no errors, p99 below 200 ms, median event to stock below 1 s.
    #[arg(long)]
    floor: bool,
}

fn main() -> anyhow::Result<()> {
    let Benchmark::Orders(mut options) = Cli::parse().benchmark;
    if options.quick {
        (options.duration, options.warmup, options.rate, options.clients) =
            (2, 1, options.rate.min(20.0), options.clients.min(4));
    }
    anyhow::ensure!(
        options.rate > 0.0 && options.clients > 0 && options.buyers > 0 && options.duration > 0,
        "rate, clients, buyers and duration must be above zero"
    );
    tokio::runtime::Runtime::new()?.block_on(orders(options))
}

async fn orders(options: Orders) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    eprintln!("Starting a shop of its own");
    let shop = Shop::start(shop_options(data.path())?).await?;
    let measured = measure(&shop, &options).await;
    shop.stop().await?;
    let run = measured?;
    run.print();
    if let Some(file) = &options.json {
        report::write(file, std::slice::from_ref(&run))?;
        println!("written to {}", file.display());
    }
    if options.floor { run.check_floor() } else { Ok(()) }
}

async fn measure(shop: &Shop, options: &Orders) -> anyhow::Result<report::Run> {
    let client = shop.client()?;
    let accounts = Accounts::open(shop.addresses()).await?;
    client.stock_product("BENCH-1", 1299, "USD", 1_000_000_000).await?;
    client.stock_product("BENCH-2", 450, "USD", 1_000_000_000).await?;
    let tokens = (0..options.buyers)
        .map(|buyer| client.token(&format!("bench-buyer-{buyer}"), "orders:write"))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let plan = |seconds| Plan {
        mode: options.mode,
        rate: options.rate,
        clients: options.clients,
        duration: Duration::from_secs(seconds),
        tokens: tokens.clone(),
    };

    eprintln!("Warming up for {} s", options.warmup);
    load::run(&client, &plan(options.warmup)).await?;
    accounts.settle().await?;

    eprintln!("Measuring for {} s", options.duration);
    let host = shop.host.as_ref().and_then(|host| host.process()).context("the host is not running")?;
    let postgres = shop.postgres.as_ref().and_then(|postgres| postgres.process());
    let since = accounts.now().await?;
    let before = cpu::Usage::read(host.pid, postgres.map(|process| process.pid))?;
    let outcome = load::run(&client, &plan(options.duration)).await?;
    accounts.settle().await?;
    let used = cpu::Usage::read(host.pid, postgres.map(|process| process.pid))?.since(&before);
    let lags = accounts.check(since, &outcome).await?;
    Ok(report::Run::new(options.mode, options.rate, &outcome, &lags, used))
}

fn shop_options(data: &std::path::Path) -> anyhow::Result<ShopOptions> {
    let path = |name: &str| {
        std::env::var(name)
            .map(PathBuf::from)
            .with_context(|| format!("{name} is not set; run this as `cargo xtask bench`"))
    };
    let root = path("SWIFTCART_REPOSITORY_ROOT")?;
    let host = HostOptions::new(
        &path("SWIFTCART_HOST_BINARY")?,
        &root.join("wadm/local.yaml"),
        &path("SWIFTCART_ARTIFACT_ROOT")?,
        &root.join("migrations"),
    );
    let mut options = ShopOptions::new(data, &path("SWIFTCART_SIM_BINARY")?).with_host(host);
    options.nats = false;
    options.progress = Progress::silent();
    Ok(options)
}
