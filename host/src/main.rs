//! The host's program: arguments, configuration, run, exit code. 0: ended as asked; 1: failed or work was cut short; 2: could not start.

use std::process::ExitCode;

use clap::Parser as _;
use swiftcart_host::config::{Cli, Command, ProcessSecrets};
use swiftcart_host::{app, dead_letters, telemetry};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(code) = swiftcart_host::lattice::provider::guard() {
        return code;
    }
    let cli = Cli::parse();
    // Two providers of cryptography are linked, so rustls does not choose by itself. This comes first, so nobody was faster.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _logs = match telemetry::init_logs(&cli.log.config()) {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("swiftcart-host: {error}");
            return ExitCode::from(2);
        }
    };
    swiftcart_host::runtime::crash_point::announce();
    let command = match cli.command() {
        Ok(command) => command,
        Err(error) => error.exit(),
    };
    let outcome = match &command {
        Command::Run(arguments) => match arguments.load(&ProcessSecrets) {
            Ok(config) => app::run(config).await,
            Err(error) => Err(error.into()),
        },
        Command::Check(arguments) => match arguments.load(&ProcessSecrets) {
            Ok(config) => app::check(config).await,
            Err(error) => Err(error.into()),
        },
        Command::Lattice(arguments) => match arguments.load() {
            Ok(config) => app::lattice::run(config).await,
            Err(error) => Err(error.into()),
        },
        Command::Dlq(arguments) => dead_letters::run(arguments, &ProcessSecrets).await,
        Command::Breaker(arguments) => app::breaker::run(arguments).await,
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("swiftcart-host: {error:#}");
            ExitCode::from(2)
        }
    }
}
