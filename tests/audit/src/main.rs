//! `swiftcart-audit`: the auditor as a program. Invariant: it ends with 0 if and only if everything was read and no promise is broken; with 1 when one
//! is, with the ids on standard output; with 2 when a system could not be read.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;
use swiftcart_audit::{Answer, Options, Report, Scope, Sources, audit};
use swiftcart_support::shop::State;

/// What has been as it is for so long is judged on a live shop.
const LIVE_SECONDS: u32 = 30;

#[derive(Parser)]
#[command(about = "Reads the books of every system of a shop and checks that they agree", max_term_width = 110)]
struct Arguments {
    /// Data folder of a shop that `cargo xtask up` runs; it goes before all other addresses.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// The database of orders.
    #[arg(long, env = "SWIFTCART_ORDERS_DATABASE_URL", hide_env_values = true)]
    orders_database_url: Option<String>,
    /// The database of payments.
    #[arg(long, env = "SWIFTCART_PAYMENTS_DATABASE_URL", hide_env_values = true)]
    payments_database_url: Option<String>,
    /// The database of inventory.
    #[arg(long, env = "SWIFTCART_INVENTORY_DATABASE_URL", hide_env_values = true)]
    inventory_database_url: Option<String>,
    /// The database of notifications.
    #[arg(long, env = "SWIFTCART_NOTIFICATIONS_DATABASE_URL", hide_env_values = true)]
    notifications_database_url: Option<String>,
    /// Redis.
    #[arg(long, env = "SWIFTCART_REDIS_URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// Kafka, `host:port` separated by commas.
    #[arg(long, env = "KAFKA_BOOTSTRAP_SERVERS")]
    kafka_bootstrap_servers: Option<String>,
    /// The books of the PSP simulator; without them money is not checked.
    #[arg(long)]
    psp_ledger_url: Option<String>,
    /// The inbox (maildev); without it only the shop's own rows about mails are checked.
    #[arg(long, env = "MAIL_WEB_URL")]
    mail_web_url: Option<String>,
    /// First wait up to so many seconds until nothing is pending, outboxes are empty and consumers are at the end, then judge everything.
    #[arg(long)]
    wait: Option<u64>,
    /// Judge only what has been as it is for so many seconds; by default 30, or 0 with --wait.
    #[arg(long)]
    settled_seconds: Option<u32>,
    /// What clients were told: a file of JSON lines with `status`, `orderId`, `user` and `key`.
    #[arg(long)]
    answers: Option<PathBuf>,
    /// Where to write the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<Report> {
    let scope = Scope {
        settled_seconds: arguments.settled_seconds.unwrap_or(if arguments.wait.is_some() { 0 } else { LIVE_SECONDS }),
    };
    let options = Options {
        wait: arguments.wait.map(Duration::from_secs),
        scope,
        answers: arguments.answers.as_deref().map(answers).transpose()?.unwrap_or_default(),
    };
    let report = audit(&sources(&arguments)?, &options).await?;
    write!(std::io::stdout().lock(), "{report}").context("writing the table")?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report.json())?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(report)
}

fn sources(arguments: &Arguments) -> anyhow::Result<Sources> {
    if let Some(data) = &arguments.data_dir {
        return match State::read(data)? {
            Some(state) => Ok(Sources::of(&state.addresses)),
            None => bail!("no shop runs in {}: start one with `cargo xtask up`", data.display()),
        };
    }
    let given =
        |value: &Option<String>, flag: &str| value.clone().with_context(|| format!("--{flag} or --data-dir is needed"));
    let databases = [
        ("orders", &arguments.orders_database_url),
        ("payments", &arguments.payments_database_url),
        ("inventory", &arguments.inventory_database_url),
        ("notifications", &arguments.notifications_database_url),
    ];
    let databases =
        databases.into_iter().map(|(name, url)| Ok((name.to_owned(), given(url, &format!("{name}-database-url"))?)));
    Ok(Sources {
        databases: databases.collect::<anyhow::Result<_>>()?,
        redis_url: given(&arguments.redis_url, "redis-url")?,
        kafka_bootstrap_servers: given(&arguments.kafka_bootstrap_servers, "kafka-bootstrap-servers")?,
        psp_ledger_url: arguments.psp_ledger_url.clone(),
        mail_web_url: arguments.mail_web_url.clone(),
    })
}

fn answers(path: &std::path::Path) -> anyhow::Result<Vec<Answer>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| serde_json::from_str(line).with_context(|| format!("no answer: {line}"))).collect()
}
