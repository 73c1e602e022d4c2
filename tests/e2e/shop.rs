//! The fixture: a shop of its own in a temporary folder, and the eyes of a test in its databases, Redis, Kafka and inbox.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use redis::AsyncCommands as _;
use serde_json::{Value, json};
use sqlx::postgres::PgPool;
use swiftcart_support::client::{Answer, Client};
use swiftcart_support::eventually;
use swiftcart_support::shop::Shop;
use swiftcart_tests::Fixture;
use swiftcart_tests::broker::Broker;
use swiftcart_tests::shop::{Stage, database};
use tempfile::TempDir;
use uuid::Uuid;

/// How long something that happens by itself may take on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The shop under test.
pub(crate) struct E2e {
    pub(crate) shop: Shop,
    pub(crate) client: Client,
    pub(crate) broker: Broker,
    pub(crate) orders: PgPool,
    pub(crate) inventory: PgPool,
    pub(crate) notifications: PgPool,
    pub(crate) payments: PgPool,
    _data: TempDir,
}

impl Fixture for E2e {
    async fn start() -> anyhow::Result<Self> {
        let (shop, data) = Stage::prepare("e2e", "SWIFTCART_HOST_BINARY")?.open(|_| {}).await?;
        Ok(Self {
            client: shop.client()?,
            broker: Broker::new(&shop.addresses().kafka_bootstrap_servers),
            orders: database(&shop, "orders").await?,
            inventory: database(&shop, "inventory").await?,
            notifications: database(&shop, "notifications").await?,
            payments: database(&shop, "payments").await?,
            shop,
            _data: data,
        })
    }

    async fn recover(&mut self) -> anyhow::Result<()> {
        for service in self.shop.services() {
            if service.exited().is_some() || service.process().is_none() {
                service.start().await?;
            }
        }
        self.client.psp_faults(&json!({})).await?;
        self.client.psp_webhooks(&json!({})).await
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shop.stop().await
    }
}

impl E2e {
    /// A token of a buyer that no other case uses, with the rights of a buyer.
    pub(crate) fn buyer(&self) -> anyhow::Result<String> {
        self.client.token(&format!("buyer-{}", Uuid::new_v4()), "orders:read orders:write")
    }

    /// A product that no other case uses.
    pub(crate) async fn product(&self, price: i64, stock: i64) -> anyhow::Result<String> {
        let sku = format!("E2E-{}", Uuid::new_v4().simple());
        self.client.stock_product(&sku, price, "USD", stock).await?;
        Ok(sku)
    }

    /// Orders `qty` of a product with a card and a fresh key.
    pub(crate) async fn order(&self, token: &str, sku: &str, qty: i64, card: &str) -> anyhow::Result<Answer> {
        self.client.post_order(token, Some(&fresh_key()), &order_of(sku, qty, card)).await
    }

    /// Redis's counter of a product.
    pub(crate) async fn available(&self, sku: &str) -> anyhow::Result<i64> {
        let mut redis = self.redis().await?;
        redis.get(format!("available_stock:{sku}")).await.context("reading the counter")
    }

    /// A connection to Redis.
    pub(crate) async fn redis(&self) -> anyhow::Result<redis::aio::MultiplexedConnection> {
        Ok(redis::Client::open(self.shop.addresses().redis_url.as_str())?.get_multiplexed_async_connection().await?)
    }

    /// What the database says is on hand.
    pub(crate) async fn on_hand(&self, sku: &str) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("SELECT on_hand FROM products WHERE sku = $1")
            .bind(sku)
            .fetch_one(&self.inventory)
            .await?)
    }

    /// Movements of an order, as (kind, delta).
    pub(crate) async fn movements(&self, order: &str) -> anyhow::Result<Vec<(String, i64)>> {
        Ok(sqlx::query_as("SELECT kind, delta FROM inventory_movements WHERE order_id = $1::uuid ORDER BY id")
            .bind(order)
            .fetch_all(&self.inventory)
            .await?)
    }

    /// Waits until stock went out for an order.
    pub(crate) async fn applied(&self, order: &str) -> anyhow::Result<Vec<(String, i64)>> {
        eventually(SOON, "the order's stock movement", async || {
            let movements = self.movements(order).await?;
            ensure!(!movements.is_empty(), "no movement yet");
            Ok(movements)
        })
        .await
    }

    /// Waits until an order has the state, and gives its body.
    pub(crate) async fn settled(&self, token: &str, order: &str, state: &str) -> anyhow::Result<Value> {
        eventually(SOON, "the order's state", async || {
            let found = self.client.get_order(token, order).await?.expect_status(200)?.json()?;
            ensure!(found["state"] == state, "the order is {}, expected {state}", found["state"]);
            Ok(found)
        })
        .await
    }

    /// How often the PSP charged an order.
    pub(crate) async fn charges(&self, order: &str) -> anyhow::Result<u64> {
        let ledger = self.client.psp_ledger().await?;
        Ok(ledger["orders"][order]["charges"].as_u64().unwrap_or(0))
    }

    /// The mails about an order.
    pub(crate) async fn mails(&self, order: &str) -> anyhow::Result<Vec<swiftcart_support::client::Mail>> {
        let inbox = self.client.inbox().await?;
        Ok(inbox.into_iter().filter(|mail| mail.header("swiftcart-order-id") == Some(order)).collect())
    }

    /// Waits until there is a mail about an order; more than one is an error.
    pub(crate) async fn mail(&self, order: &str) -> anyhow::Result<swiftcart_support::client::Mail> {
        eventually(SOON, "the mail about the order", async || {
            let mut mails = self.mails(order).await?;
            ensure!(mails.len() <= 1, "{} mails about one order", mails.len());
            mails.pop().context("no mail yet")
        })
        .await
    }
}

/// A key that was never used.
pub(crate) fn fresh_key() -> String {
    format!("e2e-{}", Uuid::new_v4())
}

/// The body of a create.
pub(crate) fn order_of(sku: &str, qty: i64, card: &str) -> Value {
    json!({"items": [{"sku": sku, "qty": qty}], "currency": "USD", "payment": {"method": card}})
}

/// The order's id in an answer.
pub(crate) fn order_id(answer: &Answer) -> anyhow::Result<String> {
    let id = answer.json()?["orderId"].as_str().map(str::to_owned);
    id.with_context(|| format!("no orderId in {}: {}", answer.status, answer.text()))
}

/// Checks a problem: status, type, and that it has a trace id.
pub(crate) fn problem(answer: &Answer, status: u16, name: &str) -> anyhow::Result<Value> {
    ensure!(answer.status == status, "expected {status} {name}, got {}: {}", answer.status, answer.text());
    ensure!(
        answer.header("content-type") == Some("application/problem+json"),
        "content-type is {:?}",
        answer.header("content-type")
    );
    let body = answer.json()?;
    ensure!(body["type"] == format!("/problems/{name}"), "expected /problems/{name}: {body}");
    ensure!(body["status"] == status, "status in the body: {body}");
    ensure!(
        body["traceId"].as_str().is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit())),
        "traceId: {body}"
    );
    Ok(body)
}
