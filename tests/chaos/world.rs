//! The fixture: a shop of its own, in one of three forms. Invariant: one shop runs at a time; after each case everything runs again, nothing
//! is paused and the PSP has no faults.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::json;
use swiftcart_audit::{Answer, Options, Report, Sources, audit};
use swiftcart_support::client::{Client, http_client, send};
use swiftcart_support::shop::{LatticeOptions, Shop, ShopOptions};
use swiftcart_tests::Fixture;
use swiftcart_tests::shop::{self, Stage};
use tempfile::TempDir;
use uuid::Uuid;

/// After the last answer everything must have settled by then: a lease of the sweep and its grace, a backlog, a postponed payment.
const SETTLED: Duration = Duration::from_secs(240);

/// The suite's shop, once a case has asked for it.
pub(crate) struct Chaos {
    running: Option<World>,
}

/// How a shop is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The host reads the manifest itself; one Kafka node.
    Alone,
    /// The same with three Kafka nodes.
    ThreeBrokers,
    /// The host is a member of a lattice on NATS, and wadm tells it what to run.
    Lattice,
}

/// A shop under test.
pub(crate) struct World {
    pub(crate) shop: Shop,
    pub(crate) client: Client,
    form: Form,
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
    /// The shop in this form; one of another form is stopped first.
    pub(crate) async fn world(&mut self, form: Form) -> anyhow::Result<&mut World> {
        if let Some(other) = self.running.take_if(|world| world.form != form) {
            other.shop.stop().await?;
        }
        if self.running.is_none() {
            self.running = Some(World::start(form).await?);
        }
        self.running.as_mut().context("no shop")
    }
}

/// A path that `cargo xtask test` gives.
pub(crate) fn given(name: &str) -> anyhow::Result<PathBuf> {
    shop::given("chaos", name)
}

impl World {
    async fn start(form: Form) -> anyhow::Result<Self> {
        let mut stage = Stage::prepare("chaos", "SWIFTCART_HOST_BINARY")?;
        if form == Form::ThreeBrokers {
            stage.host.config.push(("kafka".to_owned(), "replication_factor".to_owned(), "3".to_owned()));
        }
        if form == Form::Lattice {
            stage.host.lattice = Some(LatticeOptions::new("chaos", &stage.root.join("wadm/server")));
        }
        let change = |options: &mut ShopOptions| {
            options.nats = form == Form::Lattice;
            options.kafka_nodes = if form == Form::ThreeBrokers { 3 } else { 1 };
        };
        let (shop, data) = stage.open(change).await?;
        Ok(Self { client: shop.client()?, shop, form, _data: data })
    }

    /// Starts wadm again if it ended because NATS did: that is the business of whoever runs it.
    pub(crate) async fn supervise(&mut self) -> anyhow::Result<()> {
        if let Some(wadm) = &mut self.shop.wadm
            && wadm.exited().is_some()
        {
            wadm.start().await?;
        }
        Ok(())
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

    /// Has the PSP tell the shop of everything twice and out of order. A simulator that was killed has forgotten it; one that sends no webhooks does not know
    /// the page.
    pub(crate) async fn disorderly_webhooks(&self) -> anyhow::Result<()> {
        let addresses = self.shop.addresses();
        let edge = addresses.edge_url.as_deref().context("this shop has no host")?;
        let delivery = json!({"url": format!("{edge}/webhooks/stripe"), "duplicate": true, "reorder": true});
        let page = format!("{}/_control/webhooks", addresses.psp_base_url);
        let answer = send(http_client().build()?.put(page).json(&delivery)).await?;
        ensure!(matches!(answer.status, 204 | 404), "setting webhooks: {} {}", answer.status, answer.text());
        Ok(())
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
