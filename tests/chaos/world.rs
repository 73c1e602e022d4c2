//! The fixture: a shop of its own, with one Kafka node or three. Invariant: one shop runs at a time; after each case everything runs again, nothing
//! is paused and the PSP has no faults.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use swiftcart_audit::{Answer, Options, Report, Sources, audit};
use swiftcart_support::client::Client;
use swiftcart_support::shop::{HostOptions, Shop, ShopOptions};
use swiftcart_tests::Fixture;
use tempfile::TempDir;
use uuid::Uuid;

/// After the last answer everything must have settled by then: a lease of the sweep and its grace, a backlog, a postponed payment.
const SETTLED: Duration = Duration::from_secs(240);

/// The suite's shop, once a case has asked for it.
pub(crate) struct Chaos {
    running: Option<World>,
}

/// A shop under test.
pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) client: Client,
    kafka_nodes: u32,
    _data: TempDir,
}

impl Fixture for Chaos {
    async fn start() -> anyhow::Result<Self> {
        Ok(Self { running: None })
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        match &mut self.running {
            Some(world) => world.recover().await,
            None => Ok(()),
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        match self.running {
            Some(world) => world.shop.stop().await,
            None => Ok(()),
        }
    }
}

impl Chaos {
    /// The shop with so many Kafka nodes; another one is stopped first.
    pub(crate) async fn world(&mut self, kafka_nodes: u32) -> anyhow::Result<&mut World> {
        if let Some(other) = self.running.take_if(|world| world.kafka_nodes != kafka_nodes) {
            other.shop.stop().await?;
        }
        if self.running.is_none() {
            self.running = Some(World::start(kafka_nodes).await?);
        }
        self.running.as_mut().context("no shop")
    }
}

/// A path that `cargo xtask test` gives.
pub(crate) fn given(name: &str) -> anyhow::Result<PathBuf> {
    std::env::var(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set; run this as `cargo xtask test chaos`"))
}

impl World {
    async fn start(kafka_nodes: u32) -> anyhow::Result<Self> {
        let root = given("SWIFTCART_REPOSITORY_ROOT")?;
        let data = TempDir::new()?;
        let mut host = HostOptions::new(
            &given("SWIFTCART_HOST_BINARY")?,
            &root.join("wadm/local.yaml"),
            &given("SWIFTCART_ARTIFACT_ROOT")?,
            &root.join("migrations"),
        );
        host.environment.push(("SWIFTCART_HOST_LOG_FORMAT".to_owned(), "text".to_owned()));
        if kafka_nodes > 1 {
            host.config.push(("kafka".to_owned(), "replication_factor".to_owned(), kafka_nodes.min(3).to_string()));
        }
        let mut options = ShopOptions::new(data.path(), &given("SWIFTCART_SIM_BINARY")?).with_host(host);
        (options.nats, options.kafka_nodes) = (false, kafka_nodes);
        let shop = Shop::start(options).await?;
        Ok(Self { client: shop.client()?, shop, kafka_nodes, _data: data })
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        for service in self.shop.services() {
            service.resume()?;
        }
        for service in self.shop.services() {
            if service.exited().is_some() || service.process().is_none() {
                service.start().await?;
            }
        }
        self.client.psp_faults(&json!({})).await
    }

    /// A product that no other case uses.
    pub(crate) async fn product(&self, stock: i64) -> anyhow::Result<String> {
        let sku = format!("CHAOS-{}", Uuid::new_v4().simple());
        self.client.stock_product(&sku, 100, "USD", stock).await?;
        Ok(sku)
    }

    /// A product of which there is nothing.
    pub(crate) async fn sold_out(&self) -> anyhow::Result<String> {
        let sku = format!("CHAOS-{}", Uuid::new_v4().simple());
        let keeper = self.client.token("stock-keeper", "inventory:write")?;
        let body = json!({"name": "Sold out", "unitPrice": 100, "currency": "USD"});
        self.client.put_product(&keeper, &sku, &body).await?.expect_status(201)?;
        Ok(sku)
    }

    /// Whether this shop takes cancellations: its contract says so.
    pub(crate) async fn takes_cancellations(&self) -> anyhow::Result<bool> {
        let contract = self.client.get("/openapi.json", None).await?.expect_status(200)?.json()?;
        Ok(contract["paths"]["/orders/{id}/cancel"].is_object()
            || contract["paths"]["/orders/{orderId}/cancel"].is_object())
    }

    /// Waits until all has settled and reads all books.
    pub(crate) async fn audit(&self, answers: Vec<Answer>) -> anyhow::Result<Report> {
        let options = Options { wait: Some(SETTLED), answers, ..Options::default() };
        audit(&Sources::of(self.shop.addresses()), &options).await
    }

    /// As [`Self::audit`]; any finding fails the case.
    pub(crate) async fn clean(&self, answers: Vec<Answer>) -> anyhow::Result<Report> {
        let report = self.audit(answers).await?;
        if !report.is_clean() {
            bail!("the books do not agree:\n{report}");
        }
        ensure!(report.judged > 0, "no order was judged:\n{report}");
        Ok(report)
    }
}
