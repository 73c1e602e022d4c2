//! The shop as it was deployed, and its books: is every order that was answered decided, charged, published, applied and written to its buyer
//! exactly once? Invariant: the books are read from each system itself and not through the shop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use redis::AsyncCommands as _;
use serde_json::{Value, json};
use sqlx::postgres::{PgPool, PgPoolOptions};
use swiftcart_support::client::Client;
use swiftcart_support::eventually;
use swiftcart_tests::broker::Broker;
use uuid::Uuid;

use crate::world::{World, text};

/// After the last answer everything must have settled by then.
const BOOKS_SETTLED: Duration = Duration::from_secs(120);
/// Buyers in a load.
const BUYERS: usize = 50;

/// The deployed shop.
pub(crate) struct Store {
    /// A client for each host's edge.
    pub(crate) clients: Vec<Client>,
    orders: PgPool,
    inventory: PgPool,
    notifications: PgPool,
}

/// `wadm/production.yaml` for this machine: images from the folder of built components, nothing else changed. The paths are absolute, because `wash`
/// looks for relative ones beside the manifest.
pub(crate) fn production(world: &World, version: &str, images: &BTreeMap<&str, String>) -> anyhow::Result<Value> {
    let path = world.built.root.join("wadm/production.yaml");
    let manifest = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let mut manifest: Value =
        serde_norway::from_str(&manifest).with_context(|| format!("reading {}", path.display()))?;
    manifest["metadata"]["annotations"]["version"] = json!(version);
    let components = manifest.pointer_mut("/spec/components").and_then(Value::as_array_mut).context("no components")?;
    for component in components.iter_mut().filter(|component| component["type"] == "component") {
        let name = component["name"].as_str().context("a component without a name")?;
        let built = || format!("file://{}", world.built.artifacts.join(format!("{name}.wasm")).display());
        let image = images.get(name).cloned().unwrap_or_else(built);
        component["properties"]["image"] = json!(image);
    }
    Ok(manifest)
}

/// Writes a manifest where `wash` can read it.
pub(crate) fn write(world: &World, name: &str, manifest: &Value) -> anyhow::Result<String> {
    let path = world.folder("manifests")?.join(format!("{name}.yaml"));
    // JSON is YAML.
    std::fs::write(&path, serde_json::to_vec_pretty(manifest)?)?;
    Ok(text(&path))
}

/// Puts the configs, deploys the shop with `wash` on both hosts and waits until it serves.
pub(crate) async fn deploy(world: &World) -> anyhow::Result<Store> {
    world.put_configs().await?;
    let path = world.built.root.join("wadm/production-config.yaml");
    let shared = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let shared: BTreeMap<String, BTreeMap<String, String>> = serde_norway::from_str(&shared)?;
    for (name, pairs) in &shared {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        world.lattice.put_config(name, &pairs).await?;
    }
    let manifest = production(world, "0.0.1", &BTreeMap::new())?;
    let file = write(world, "production-1", &manifest)?;
    world.wash.run(&["app", "deploy", &file]).await?.success()?;
    world.deployed("swiftcart").await?;
    Store::open(world).await
}

impl Store {
    async fn open(world: &World) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for host in 0..world.hosts.len() {
            let mut addresses = world.shop.addresses().clone();
            addresses.edge_url = Some(world.edge(host, "http").await?);
            let client = Client::new(&addresses)?;
            eventually(crate::world::SETTLED, "the shop to serve", async || {
                client.get("/products", None).await?.expect_status(200)
            })
            .await?;
            clients.push(client);
        }
        let urls = &world.shop.addresses().database_urls;
        let pool = async |name: &str| {
            let url = urls.get(name).with_context(|| format!("no database {name}"))?;
            anyhow::Ok(PgPoolOptions::new().max_connections(3).connect(url).await?)
        };
        Ok(Self {
            clients,
            orders: pool("orders").await?,
            inventory: pool("inventory").await?,
            notifications: pool("notifications").await?,
        })
    }

    /// A product that no other case uses.
    pub(crate) async fn product(&self, stock: i64) -> anyhow::Result<String> {
        let sku = format!("LATTICE-{}", Uuid::new_v4().simple());
        self.clients[0].stock_product(&sku, 100, "USD", stock).await?;
        Ok(sku)
    }

    /// Tokens of buyers. They have no mail address: the mail server of a test is not made for such a load, and the row about the mail that would be
    /// sent is written all the same.
    pub(crate) fn buyers(&self) -> anyhow::Result<Arc<Vec<String>>> {
        let mint = |number: usize| {
            let mut request = self.clients[0]
                .token_request(&format!("buyer-{number}-{}", Uuid::new_v4()), "orders:read orders:write");
            request.email = None;
            self.clients[0].mint(&request)
        };
        Ok(Arc::new((0..BUYERS).map(mint).collect::<anyhow::Result<_>>()?))
    }

    /// Checks all books for the orders of one product. `published_once`: without a crash no event may be published twice; after one it may, and
    /// must have had its effect once.
    pub(crate) async fn check(
        &self,
        world: &World,
        sku: &str,
        stock: i64,
        answered: &[String],
        published_once: bool,
    ) -> anyhow::Result<String> {
        let unique: BTreeSet<&String> = answered.iter().collect();
        ensure!(unique.len() == answered.len(), "two orders were answered with the same id");
        let states = eventually(BOOKS_SETTLED, "every order to be decided", async || {
            let states: BTreeMap<String, String> = sqlx::query_as("SELECT orders.id::text, state FROM orders JOIN order_lines ON order_lines.order_id = orders.id WHERE sku = $1").bind(sku).fetch_all(&self.orders).await?.into_iter().collect();
            let pending = states.values().filter(|state| *state == "PENDING").count();
            ensure!(pending == 0, "{pending} are pending");
            Ok(states)
        })
        .await?;
        let confirmed: BTreeSet<&String> =
            states.iter().filter(|(_, state)| *state == "CONFIRMED").map(|(id, _)| id).collect();
        let lost = unique.difference(&confirmed).count();
        ensure!(lost == 0, "{lost} orders were answered 201 and are not CONFIRMED");

        let ledger = world.client.psp_ledger().await?;
        for (order, state) in &states {
            let charges = ledger["orders"][order]["charges"].as_u64().unwrap_or(0);
            ensure!(
                charges == u64::from(state == "CONFIRMED"),
                "order {order} is {state} and was charged {charges} times"
            );
        }
        let sold = i64::try_from(confirmed.len())?;
        self.stock(world, sku, stock, sold).await?;
        self.mails(&confirmed).await?;
        let published = self.published(world, &confirmed, published_once).await?;
        Ok(format!(
            "{} answered, {sold} confirmed, charged, applied and noted once each; {published} events",
            answered.len()
        ))
    }

    async fn stock(&self, world: &World, sku: &str, stock: i64, sold: i64) -> anyhow::Result<()> {
        eventually(BOOKS_SETTLED, "every confirmed order to be applied once", async || {
            let moved: i64 = sqlx::query_scalar(
                "SELECT coalesce(sum(delta), 0)::bigint FROM inventory_movements WHERE sku = $1 AND kind = 'confirmed'",
            )
            .bind(sku)
            .fetch_one(&self.inventory)
            .await?;
            let on_hand: i64 = sqlx::query_scalar("SELECT on_hand FROM products WHERE sku = $1")
                .bind(sku)
                .fetch_one(&self.inventory)
                .await?;
            let mut redis = redis::Client::open(world.shop.addresses().redis_url.as_str())?
                .get_multiplexed_async_connection()
                .await?;
            let counter: i64 = redis.get(format!("available_stock:{sku}")).await?;
            let books = (moved, on_hand, counter);
            ensure!(books == (-sold, stock - sold, stock - sold), "moved, on hand, counter: {books:?} for {sold} sold");
            Ok(())
        })
        .await
    }

    async fn mails(&self, confirmed: &BTreeSet<&String>) -> anyhow::Result<()> {
        let orders: Vec<Uuid> = confirmed.iter().map(|id| id.parse()).collect::<Result<_, _>>()?;
        eventually(BOOKS_SETTLED, "a row about a mail for every order", async || {
            let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM mails WHERE kind = 'order_confirmed' AND state IN ('sent', 'unaddressed') AND order_id = ANY($1)")
                .bind(&orders)
                .fetch_one(&self.notifications)
                .await?;
            ensure!(usize::try_from(rows)? == orders.len(), "{rows} of {}", orders.len());
            Ok(())
        })
        .await
    }

    async fn published(&self, world: &World, confirmed: &BTreeSet<&String>, once: bool) -> anyhow::Result<usize> {
        let broker = Broker::new(&world.shop.addresses().kafka_bootstrap_servers);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for message in broker.read_all("orders.confirmed.v1").await? {
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            *counts.entry(key).or_default() += 1;
        }
        for order in confirmed {
            let count = counts.get(*order).copied().unwrap_or(0);
            ensure!(count == 1 || (count > 1 && !once), "order {order} was published {count} times");
        }
        Ok(confirmed.iter().filter_map(|order| counts.get(*order)).sum())
    }
}

/// The body of a create.
pub(crate) fn order_of(sku: &str) -> Value {
    json!({"items": [{"sku": sku, "qty": 1}], "currency": "USD", "payment": {"method": "pm_card_visa"}})
}

/// One order: its id, or what was said instead.
pub(crate) async fn buy(client: Client, token: String, key: String, sku: String) -> Result<String, String> {
    let answer = client.post_order(&token, Some(&key), &order_of(&sku)).await.map_err(|error| format!("{error:#}"))?;
    if answer.status != 201 {
        return Err(format!("{}: {}", answer.status, answer.text()));
    }
    let body = answer.json().map_err(|error| format!("{error:#}"))?;
    body["orderId"].as_str().map(str::to_owned).ok_or_else(|| format!("no orderId: {body}"))
}
