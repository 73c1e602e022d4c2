//! `swiftcart-baseline`: the service that one would write by hand, as one native program on axum, sqlx, redis and rdkafka, so that the shop is measured
//! against something real. It does all that the shop does for a create: the same token check, idempotency, tables, statements, scripts, charge, events,
//! relays, consumers and mail, with the same durability and the same sizes of pools, and it is tuned with the same care.
//!
//! What it leaves out costs nothing on that path: sweeps and retention, cancel, refunds, the saga, the PSP's webhooks and search, lists, corrections of
//! stock, metrics, and the policies of links (breaker, bulkhead). So an order whose payment is unknown stays PENDING here until its key comes again or
//! for good, and an order that cannot be honoured becomes a dead letter.
//!
//! Where our own libraries are native code already they serve both sides: the consumer and the producer of Kafka, the outbox relay, SMTP, the pool of
//! PostgreSQL. Rooms: `api` (HTTP), `create` (the steps), `catalog`, `stock` (Redis), `payments`, `psp`, `consume`, `mail`, `store` (the two ways of
//! writing), `model` (values).

mod api;
mod app;
mod catalog;
mod consume;
mod create;
mod mail;
mod model;
mod payments;
mod psp;
mod settings;
mod stock;
mod store;

use std::sync::Arc;

use anyhow::Context as _;
use axum::serve::ListenerExt as _;
use clap::{Parser, ValueEnum};
use governor::Quota;
use secrecy::ExposeSecret as _;
use swiftcart_provider_email::Mailer;
use swiftcart_provider_kafka::{Consumer, ConsumerConfig, Handler, Producer};
use swiftcart_provider_outbox::Relay;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use api::{Edge, Tokens};
use app::App;
use settings::Settings;
use store::{Coalesced, Databases, Plain, Store};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The topics of each relay and of each consumer group.
const RELAYS: [(&str, &str); 2] = [
    ("orders", "orders.confirmed.v1,orders.failed.v1,orders.cancelled.v1"),
    ("payments", "payments.succeeded.v1,payments.failed.v1,payments.refunded.v1"),
];
const ALL_ORDERS: &str = "orders.confirmed.v1,orders.failed.v1,orders.cancelled.v1";
const ENDED_ORDERS: &str = "orders.failed.v1,orders.cancelled.v1";

#[derive(Parser)]
#[command(about = "The shop's create as one native program; everything else it is told by its environment")]
struct Cli {
    /// How it writes.
    #[arg(long, value_enum)]
    store: Way,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// One statement per write.
    Plain,
    /// One statement for all writes of a kind that wait at the same time.
    Coalesced,
}

/// Tasks that end only when they are told to, or when they cannot go on.
type Tasks = JoinSet<anyhow::Result<()>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // Several providers of cryptography may be linked, so rustls does not choose by itself. This comes first, so nobody was faster.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().json().with_env_filter(filter).init();
    let settings = Settings::read()?;
    let stop = CancellationToken::new();
    let mut tasks = Tasks::new();
    let databases = Databases::connect(&settings.database_urls).await?;
    let app = Arc::new(service(&settings, databases, cli.store).await?);
    for (name, topics) in RELAYS {
        relay(&settings, name, topics, &stop, &mut tasks).await?;
    }
    let groups: [(&str, &str, Arc<dyn Handler>); 3] = [
        ("inventory", ALL_ORDERS, Arc::new(consume::Inventory(Arc::clone(&app)))),
        ("notification", ALL_ORDERS, Arc::new(consume::Notification(Arc::clone(&app)))),
        ("payment", ENDED_ORDERS, Arc::new(consume::Payment(Arc::clone(&app)))),
    ];
    for (group, topics, handler) in groups {
        consumer(&settings, group, topics, handler, &stop, &mut tasks)?;
    }
    let Settings { issuer, audience, jwks_url, address, requests_per_second, burst, .. } = settings;
    let quota = Quota::per_second(requests_per_second).allow_burst(burst);
    let edge = Arc::new(Edge::new(app, Tokens::new(issuer, audience, jwks_url).await?, quota));
    let (maintained, until) = (Arc::clone(&edge), stop.clone());
    tasks.spawn(async move {
        maintained.maintain(until).await;
        Ok(())
    });
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))?;
    // Answers are small and complete: waiting for more would only delay them.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let until = stop.clone();
    tasks.spawn(async move {
        let serving = axum::serve(listener, api::router(edge));
        Ok(serving.with_graceful_shutdown(async move { until.cancelled().await }).await?)
    });
    run(tasks, &stop).await
}

/// Runs until a signal, or until a task ends by itself, which is an error.
async fn run(mut tasks: Tasks, stop: &CancellationToken) -> anyhow::Result<()> {
    let ended = tokio::select! {
        signal = stop_signal() => signal,
        Some(ended) = tasks.join_next() => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("a task ended by itself")),
            Ok(Err(error)) => Err(error),
            Err(error) => Err(error.into()),
        },
    };
    stop.cancel();
    while let Some(rest) = tasks.join_next().await {
        rest??;
    }
    ended
}

async fn stop_signal() -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

async fn service(settings: &Settings, databases: Databases, way: Way) -> anyhow::Result<App> {
    let store: Arc<dyn Store> = match way {
        Way::Plain => Arc::new(Plain(databases.clone())),
        Way::Coalesced => Arc::new(Coalesced(databases.clone())),
    };
    let mailer = [("url", &settings.smtp_url), ("from", &settings.mail_from)];
    Ok(App {
        store,
        databases,
        stock: stock::Stock::connect(&settings.redis_url).await.context("connecting to Redis")?,
        psp: psp::Psp::new(&settings.psp_base_url, &settings.psp_secret_key)?,
        mailer: Mailer::new(swiftcart_provider_email::Config::from_pairs(pairs(mailer))?)?,
        seal_public_key: settings.seal_public_key.clone(),
        seal_secret_key: settings.seal_secret_key.clone(),
    })
}

async fn relay(
    settings: &Settings,
    name: &'static str,
    topics: &str,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let url = settings.database_urls.get(name).with_context(|| format!("no address of the database {name}"))?;
    let config = [("bootstrap_servers", settings.kafka.as_str()), ("url", url), ("topics", topics)];
    let config = swiftcart_provider_outbox::Config::from_pairs(pairs(config))?;
    // As the host does it: a connection that holds the lock and reads, and one to spare while it is replaced.
    let database = store::database(config.url.expose_secret(), Some(2)).await?;
    let producer = Arc::new(Producer::new(config.producer.clone())?);
    let relay = Relay::new(config, Arc::new(database), producer)?;
    let stop = stop.clone();
    tasks.spawn(async move { Ok(relay.run(stop).await?) });
    Ok(())
}

fn consumer(
    settings: &Settings,
    group: &str,
    topics: &str,
    handler: Arc<dyn Handler>,
    stop: &CancellationToken,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let config = [("bootstrap_servers", settings.kafka.as_str()), ("group_id", group), ("topics", topics)];
    let config = ConsumerConfig::from_pairs(pairs(config))?;
    let stop = stop.clone();
    tasks.spawn(async move { Ok(Consumer::run(config, handler, stop).await?) });
    Ok(())
}

fn pairs<const N: usize, T: ToString + ?Sized>(pairs: [(&str, &T); N]) -> Vec<(String, String)> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_string())).collect()
}
