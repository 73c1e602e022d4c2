//! `swiftcart-bench`: figures of the shop and of its parts, each against something that does the same in another way in the same run. A figure is printed
//! only if everything that was promised for the work behind it holds afterwards: the accounting is part of the run, and a run that does not add up fails.

#![allow(clippy::print_stdout, reason = "the report is this program's output")]

mod accounting;
mod alone;
mod built;
mod call;
mod cold;
mod control;
mod cpu;
mod document;
mod echo;
mod load;
mod manifest;
mod orders;
mod page;
mod report;
mod stage;
mod statistics;
mod swap;
mod variant;

use clap::{Parser, Subcommand};

/// As the host has it, so that a comparison with it compares the rest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Puts load on a shop of its own and on parts of it, and reports what it saw", max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Creates orders: token check, idempotency, reservation, charge, all writes, and both consumers behind it.
    Orders(orders::Options),
    /// A JSON document there and back over HTTP: through a component, and in native code.
    Echo(echo::Options),
    /// One call: to another component, to the host, over NATS.
    Call(call::Options),
    /// A new version of a component under load.
    Swap(swap::Options),
    /// The start of a host, and what components take in memory.
    Cold(cold::Options),
    /// Puts figures into docs/performance.md.
    Report(report::Options),
    /// The native server of `echo`.
    #[command(name = echo::native::COMMAND, hide = true)]
    ServeEcho,
}

fn main() -> anyhow::Result<()> {
    let benchmark = match Cli::parse().benchmark {
        Benchmark::ServeEcho => return echo::native::serve(),
        Benchmark::Report(options) => return report::run(&options),
        benchmark => benchmark,
    };
    // The generator shares the machine with what it loads: one core of four, and on a small machine one thread.
    let threads = (std::thread::available_parallelism()?.get() / 4).max(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        match benchmark {
            Benchmark::Orders(options) => orders::run(options).await,
            Benchmark::Echo(options) => echo::run(options).await,
            Benchmark::Call(options) => call::run(options).await,
            Benchmark::Swap(options) => swap::run(options).await,
            Benchmark::Cold(options) => cold::run(options).await,
            Benchmark::Report(_) | Benchmark::ServeEcho => Ok(()),
        }
    })
}
