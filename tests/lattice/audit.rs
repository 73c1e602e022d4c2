//! The shop as it was deployed, and its books. Invariant: the books are read by the auditor, from each system itself and not through the shop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use swiftcart_audit::{Answer, Options, Sources};
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
        Ok(Self { clients })
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

    /// Checks all books, those of earlier orders too. `published_once`: without a crash no event may be published twice; after one it may, and must have
    /// had its effect once.
    pub(crate) async fn check(
        &self,
        world: &World,
        answered: &[String],
        published_once: bool,
    ) -> anyhow::Result<String> {
        let unique: BTreeSet<&String> = answered.iter().collect();
        ensure!(unique.len() == answered.len(), "two orders were answered with the same id");
        let answer = |order: &String| Answer { status: 201, order_id: order.clone(), ..Answer::default() };
        let answers = answered.iter().map(answer).collect();
        let options = Options { wait: Some(BOOKS_SETTLED), answers, ..Options::default() };
        let report = swiftcart_audit::audit(&Sources::of(world.shop.addresses()), &options).await?;
        ensure!(report.is_clean(), "the books do not agree:\n{report}");
        let published = self.published(world, &unique, published_once).await?;
        Ok(format!("{} answered, {published} events; all books agree on {} orders", answered.len(), report.judged))
    }

    async fn published(&self, world: &World, answered: &BTreeSet<&String>, once: bool) -> anyhow::Result<usize> {
        let broker = Broker::new(&world.shop.addresses().kafka_bootstrap_servers);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for message in broker.read_all("orders.confirmed.v1").await? {
            let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
            *counts.entry(key).or_default() += 1;
        }
        for order in answered {
            let count = counts.get(*order).copied().unwrap_or(0);
            ensure!(count == 1 || (count > 1 && !once), "order {order} was published {count} times");
        }
        Ok(answered.iter().filter_map(|order| counts.get(*order)).sum())
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
