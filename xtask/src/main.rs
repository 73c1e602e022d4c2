//! `cargo xtask`: every command that the README names. Invariant: a command ends with zero if and only if all it promises was done.
#![allow(clippy::print_stdout, reason = "a command-line program talks to its user on standard output")]

mod audit;
mod bench;
mod build;
mod check;
mod config;
mod deny;
mod dependencies;
mod dev;
mod down;
mod packages;
mod process;
mod seed;
mod test;
mod tidy;
mod token;
mod toolchain;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Builds, checks, tests and runs SwiftCart", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts everything and runs the shop in the foreground, without Docker.
    Up(up::Arguments),
    /// Watches the checkout: what is saved is built and swapped into the shop that `up` runs.
    Dev(dev::Arguments),
    /// Puts the named configs of a file on a lattice.
    Config(config::Arguments),
    /// Stops a shop that was left running.
    Down(down::Arguments),
    /// Prints an access token of the development issuer.
    Token(token::Arguments),
    /// Format, lints (native and wasm), supply chain, house rules, documentation.
    Check(check::Arguments),
    /// The components (wasm) and the native programs, in release.
    Build(build::Arguments),
    /// The test suites: unit, contract, e2e, chaos, crash-points, lattice.
    Test(test::Arguments),
    /// Benchmarks: orders, echo, call, swap, cold; report puts their figures into the documentation.
    Bench(bench::Arguments),
    /// Reads the books of every system of a running shop and checks that they agree.
    Audit(audit::Arguments),
    /// The house rules of the tree: layers, names, sizes, secrets.
    Tidy,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Up(arguments) => up::run(&workspace, &arguments),
        Command::Dev(arguments) => dev::run(&workspace, &arguments),
        Command::Config(arguments) => config::run(&workspace, &arguments),
        Command::Down(arguments) => down::run(&workspace, &arguments),
        Command::Token(arguments) => token::run(&workspace, &arguments),
        Command::Check(arguments) => check::run(&workspace, &arguments),
        Command::Build(arguments) => build::run(&workspace, &arguments),
        Command::Test(arguments) => test::run(&workspace, &arguments),
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
        Command::Audit(arguments) => audit::run(&workspace, &arguments),
        Command::Tidy => tidy::run(&workspace),
    }
}
