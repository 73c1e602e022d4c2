//! `cargo xtask up`: the whole shop in the foreground, as a lattice of one host. Invariant: when the command ends, for whatever reason, nothing that it started
//! runs on; what the shop stored stays in the data folder.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use swiftcart_support::shop::{Addresses, HostOptions, LatticeOptions, Shop, ShopOptions};
use swiftcart_support::tools::Progress;
use tokio::signal::unix::{SignalKind, signal};

use crate::token::{self, Holder};
use crate::workspace::Workspace;
use crate::{build, dependencies, seed};

/// Where the shop listens if nobody else does.
const DEFAULT_PORT: u16 = 8080;
/// Where `wash` and other programs look for NATS.
const NATS_PORT: u16 = 4222;
/// The lattice that they ask for.
const LATTICE: &str = "default";
/// The printed token outlives a working day.
const TOKEN_SECONDS: i64 = 12 * 3600;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataFolder,
    /// Do not enter the demo products.
    #[arg(long)]
    no_seed: bool,
    /// Port of the shop's API on 127.0.0.1; by default 8080, or a free one when that is taken.
    #[arg(long)]
    port: Option<u16>,
    /// Name of the lattice. On a NATS server that others use too (`NATS_URL`), take a name of your own.
    #[arg(long, default_value = LATTICE)]
    lattice: String,
    /// The host reads the manifest itself: no wadm, no `wash`, no swaps.
    #[arg(long)]
    standalone: bool,
}

#[derive(clap::Args)]
pub(crate) struct DataFolder {
    /// Where the shop keeps its data; by default `.swiftcart` in the checkout.
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

impl DataFolder {
    /// The folder, whether it exists or not.
    pub(crate) fn path(&self, workspace: &Workspace) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| workspace.root.join(".swiftcart"))
    }
}

/// `cargo xtask up`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let progress = dependencies::progress();
    dependencies::build(workspace)?;
    build::components(workspace, false)?;
    build::native(workspace, &build::PROGRAMS)?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(serve(workspace, arguments, progress))
}

async fn serve(workspace: &Workspace, arguments: &Arguments, progress: Progress) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let edge = edge_address(arguments.port)?;
    let starting = start(workspace, arguments, edge, &progress);
    let mut shop = tokio::select! {
        shop = starting => shop?,
        // Dropping the half-started shop ends its processes.
        _ = terminate.recv() => bail!("stopped by SIGTERM before the shop was up"),
        _ = interrupt.recv() => bail!("stopped before the shop was up"),
    };
    progress.say("The shop is up");
    let described = describe(&shop, arguments);
    if described.is_ok() {
        println!("\nCtrl-C stops everything; the data stays in {}.", shop.data_dir().display());
    }
    let died = match described {
        Err(error) => Some(format!("{error:#}")),
        Ok(()) => tokio::select! {
            what = shop.any_exit() => Some(what),
            _ = terminate.recv() => None,
            _ = interrupt.recv() => None,
        },
    };
    progress.say("Stopping");
    shop.stop().await.context("stopping the shop")?;
    progress.say("Stopped");
    match died {
        Some(what) => bail!("{what}"),
        None => Ok(()),
    }
}

async fn start(
    workspace: &Workspace,
    arguments: &Arguments,
    edge: Option<SocketAddr>,
    progress: &Progress,
) -> anyhow::Result<Shop> {
    let manifest = workspace.root.join("wadm/local.yaml");
    let migrations = workspace.root.join("migrations");
    let mut host =
        HostOptions::new(&workspace.program("swiftcart-host"), &manifest, &workspace.artifacts(), &migrations);
    host.edge_address = edge;
    if !arguments.standalone {
        host.lattice = Some(LatticeOptions::new(&arguments.lattice, &workspace.root.join("wadm/server")));
    }
    let data = arguments.data.path(workspace);
    let mut options = ShopOptions::new(&data, &workspace.program("swiftcart-sim")).with_host(host);
    options.progress = progress.clone();
    options.nats_port = Some(NATS_PORT);
    let shop = Shop::start(options).await?;
    if let Some(edge) = &shop.addresses().edge_url {
        let delivery = serde_json::json!({"url": format!("{edge}/webhooks/stripe")});
        shop.client()?.psp_webhooks(&delivery).await.context("telling the payment simulator where its events go")?;
    }
    if !arguments.no_seed {
        progress.say("Entering the demo products");
        seed::products(&shop.client()?).await.context("entering the demo products")?;
    }
    Ok(shop)
}

/// `None` leaves the choice of a free port to the data folder, which remembers it.
fn edge_address(port: Option<u16>) -> anyhow::Result<Option<SocketAddr>> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port.unwrap_or(DEFAULT_PORT)));
    match (TcpListener::bind(wanted), port) {
        (Ok(_), _) => Ok(Some(wanted)),
        (Err(error), Some(_)) => Err(error).with_context(|| format!("{wanted} cannot be used; choose another --port")),
        (Err(_), None) => {
            eprintln!("{wanted} is taken: the shop gets another port, see the table");
            Ok(None)
        }
    }
}

fn describe(shop: &Shop, arguments: &Arguments) -> anyhow::Result<()> {
    let addresses = shop.addresses();
    let edge = addresses.edge_url.as_deref().context("the host has no address")?;
    println!();
    for (what, place) in rows(addresses, edge) {
        println!("  {what:<22} {place}");
    }
    println!("  {:<22} {}", "logs", shop.data_dir().join("logs").display());
    if let (Some(nats), Some(lattice)) = (&addresses.nats_url, &addresses.lattice) {
        println!("\nwasmCloud's own tools work on this lattice, and `cargo xtask dev` swaps in what you save:\n");
        println!("  {}wash app list", wash_environment(nats, lattice));
    }
    let token = token::mint(&shop.client()?, &Holder::buyer(), TOKEN_SECONDS)?;
    let key = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
    println!("\nPlace an order (pasted again it answers the same: the key makes it one order):\n");
    if arguments.no_seed {
        println!("  (without demo products this answers 422 until you have made {})\n", seed::FIRST_SKU);
    }
    println!(
        "curl -sS -i -X POST {edge}/orders \\\n  -H 'Authorization: Bearer {token}' \\\n  -H 'Content-Type: application/json' \\\n  \
         -H 'Idempotency-Key: demo-{key}' \\\n  -d '{{\"items\":[{{\"sku\":\"{sku}\",\"qty\":1}}],\"currency\":\"USD\",\"payment\":{{\"method\":\"pm_card_visa\"}}}}'",
        sku = seed::FIRST_SKU
    );
    Ok(())
}

fn rows(addresses: &Addresses, edge: &str) -> Vec<(&'static str, String)> {
    let mut rows = vec![("shop (API)", edge.to_owned()), ("products", format!("{edge}/products"))];
    if let Some(admin) = &addresses.admin_url {
        rows.push(("health, metrics", format!("{admin}/readyz  {admin}/metrics  {admin}/v1/inventory")));
    }
    if let Some(inbox) = &addresses.mail_web_url {
        rows.push(("inbox of all mails", inbox.clone()));
    }
    rows.push(("payment simulator", addresses.psp_base_url.clone()));
    rows.push(("token issuer", addresses.issuer_url.clone()));
    rows.push(("PostgreSQL", without_password(&addresses.admin_database_url)));
    rows.push(("Redis", without_password(&addresses.redis_url)));
    rows.push(("Kafka", addresses.kafka_bootstrap_servers.clone()));
    if let Some(nats) = &addresses.nats_url {
        rows.push(("NATS", without_password(nats)));
    }
    rows
}

/// What `wash` must be told; nothing where it looks by itself.
fn wash_environment(nats_url: &str, lattice: &str) -> String {
    let address = without_password(nats_url);
    let address = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "4222"));
    let wanted = [
        ("WASMCLOUD_CTL_HOST", host, "127.0.0.1"),
        ("WASMCLOUD_CTL_PORT", port, "4222"),
        ("WASMCLOUD_LATTICE", lattice, LATTICE),
    ];
    let told = wanted.iter().filter(|(_, value, default)| value != default);
    told.map(|(name, value, _)| format!("{name}={value} ")).collect()
}

/// A terminal is copied into chats and tickets; passwords stay in the state file.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        assert_eq!(without_password("postgres://admin:secret@127.0.0.1:5/x"), "postgres://127.0.0.1:5/x");
        assert_eq!(without_password("redis://127.0.0.1:6/0"), "redis://127.0.0.1:6/0");
    }

    #[test]
    fn wash_is_told_only_what_it_does_not_assume() {
        assert_eq!(wash_environment("nats://127.0.0.1:4222", "default"), "");
        let told = wash_environment("nats://me:secret@nats.example:4300", "mine");
        assert_eq!(told, "WASMCLOUD_CTL_HOST=nats.example WASMCLOUD_CTL_PORT=4300 WASMCLOUD_LATTICE=mine ");
    }

    #[test]
    fn a_taken_port_is_an_error_only_when_it_was_asked_for() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(edge_address(Some(port)).is_err());
        drop(taken);
        assert_eq!(edge_address(Some(port)).unwrap().map(|address| address.port()), Some(port));
    }
}
