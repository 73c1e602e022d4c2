//! `swiftcart-sim psp` and `swiftcart-sim issuer`: one process each, one line on standard output when ready, stopped by SIGTERM or ctrl-c.
#![allow(clippy::print_stdout, reason = "the ready line is this program's output")]

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use swiftcart_sim::{issuer, keys, psp, serve};

#[derive(Parser)]
#[command(about = "Simulators of the payment service provider and of the token issuer", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A payment service provider with Stripe's API shape and a ledger that survives a restart.
    Psp {
        /// Loopback address to listen on; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddr,
        /// Append-only file with one JSON line per change of the ledger.
        #[arg(long)]
        journal: PathBuf,
        /// Name of the environment variable with the secret key that callers must present. Without it any key is accepted.
        #[arg(long)]
        secret_key_env: Option<String>,
        /// Name of the environment variable with the secret that webhooks are signed with. Without it none are sent; where to is told by
        /// `PUT /_control/webhooks`.
        #[arg(long)]
        webhook_secret_env: Option<String>,
    },
    /// A development token issuer with real keys and OIDC discovery.
    Issuer {
        /// Loopback address to listen on; port 0 takes a free one.
        #[arg(long, default_value = "127.0.0.1:0")]
        address: SocketAddr,
        /// The `iss` claim; by default the address it listens on.
        #[arg(long)]
        issuer: Option<String>,
        /// The `aud` claim.
        #[arg(long, default_value = "swiftcart")]
        audience: String,
        /// Folder of the signing keys; made on first start.
        #[arg(long)]
        keys: PathBuf,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .with_writer(std::io::stderr)
        .init();
    match Arguments::parse().command {
        Command::Psp { address, journal, secret_key_env, webhook_secret_env } => {
            let secret = |name: Option<String>| {
                let read =
                    |name: String| std::env::var(&name).with_context(|| format!("reading a secret from ${name}"));
                name.map(read).transpose()
            };
            let (secret_key, webhook_secret) = (secret(secret_key_env)?, secret(webhook_secret_env)?);
            let psp = psp::Psp::open(psp::Options { journal, secret_key, webhook_secret })?;
            let listener = serve::bind(address).await?;
            println!("swiftcart-sim psp: ready on http://{}", listener.local_addr()?);
            serve::serve(listener, psp.router(), serve::stop_signal()).await;
        }
        Command::Issuer { address, issuer, audience, keys } => {
            let keys = keys::load_or_create(&keys)?;
            let listener = serve::bind(address).await?;
            let bound = listener.local_addr()?;
            let issuer = issuer::Issuer::new(issuer.unwrap_or_else(|| format!("http://{bound}")), audience, keys);
            println!("swiftcart-sim issuer: ready on http://{bound}");
            serve::serve(listener, issuer.router(), serve::stop_signal()).await;
        }
    }
    Ok(())
}
