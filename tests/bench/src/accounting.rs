//! Are all orders accounted for? Reads the services' databases after the load: every order that was answered 201 is CONFIRMED, charged
//! once, published once and applied to stock once. Also gives the time from an event's commit to its effect on stock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::types::Uuid;
use swiftcart_support::eventually;
use swiftcart_support::shop::Addresses;

use crate::load::Outcome;

/// How long after the last answer everything must have settled.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// The databases.
pub(crate) struct Accounts {
    orders: PgPool,
    payments: PgPool,
    inventory: PgPool,
}

impl Accounts {
    /// Connects with each service's own role.
    pub(crate) async fn open(addresses: &Addresses) -> anyhow::Result<Self> {
        let pool = async |urls: &BTreeMap<String, String>, name: &str| {
            let url = urls.get(name).with_context(|| format!("no database {name}"))?;
            anyhow::Ok(PgPoolOptions::new().max_connections(2).connect(url).await?)
        };
        let urls = &addresses.database_urls;
        Ok(Self {
            orders: pool(urls, "orders").await?,
            payments: pool(urls, "payments").await?,
            inventory: pool(urls, "inventory").await?,
        })
    }

    /// The database server's clock, in microseconds since 1970.
    pub(crate) async fn now(&self) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .fetch_one(&self.orders)
            .await?)
    }

    /// Waits until nothing is pending, unpublished or unapplied.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        eventually(SETTLED_WITHIN, "every order is decided, published and applied", async || {
            let pending: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE state = 'PENDING'")
                .fetch_one(&self.orders)
                .await?;
            let unpublished: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE published_at IS NULL")
                .fetch_one(&self.orders)
                .await?;
            let confirmed: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE state = 'CONFIRMED'")
                .fetch_one(&self.orders)
                .await?;
            let applied: i64 =
                sqlx::query_scalar("SELECT count(DISTINCT order_id) FROM inventory_movements WHERE kind = 'confirmed'")
                    .fetch_one(&self.inventory)
                    .await?;
            ensure!(
                pending == 0 && unpublished == 0 && confirmed == applied,
                "{pending} pending, {unpublished} unpublished, {confirmed} confirmed, {applied} applied"
            );
            Ok(())
        })
        .await
    }

    /// Checks every order of the run and gives the microseconds from each event's commit to its movement, sorted.
    pub(crate) async fn check(&self, since_us: i64, outcome: &Outcome) -> anyhow::Result<Vec<i64>> {
        let confirmed: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM orders WHERE state = 'CONFIRMED' AND created_at >= to_timestamp($1 / 1000000.0)",
        )
        .bind(since_us as f64)
        .fetch_all(&self.orders)
        .await?;
        let confirmed: HashSet<_> = confirmed.into_iter().collect();
        let answered: HashSet<Uuid> = outcome.confirmed.iter().copied().collect();
        ensure!(answered.len() == outcome.confirmed.len(), "two orders were answered with the same id");
        let lost = answered.difference(&confirmed).count();
        ensure!(lost == 0, "{lost} orders were answered 201 and are not CONFIRMED");

        let charged: i64 =
            sqlx::query_scalar("SELECT count(*) FROM payments WHERE state = 'succeeded' AND order_id = ANY($1)")
                .bind(answered.iter().copied().collect::<Vec<_>>())
                .fetch_one(&self.payments)
                .await?;
        ensure!(
            usize::try_from(charged)? == answered.len(),
            "{charged} charges for {} confirmed orders",
            answered.len()
        );

        let committed: HashMap<String, i64> = self
            .times(&self.orders, "SELECT key, (extract(epoch FROM created_at) * 1000000)::bigint FROM outbox WHERE topic = 'orders.confirmed.v1' AND created_at >= to_timestamp($1 / 1000000.0)", since_us)
            .await?;
        let applied: HashMap<String, i64> = self
            .times(&self.inventory, "SELECT order_id::text, (extract(epoch FROM min(created_at)) * 1000000)::bigint FROM inventory_movements WHERE kind = 'confirmed' AND created_at >= to_timestamp($1 / 1000000.0) GROUP BY order_id", since_us)
            .await?;
        let mut lags = Vec::with_capacity(answered.len());
        for order in &answered {
            let (Some(from), Some(to)) = (committed.get(&order.to_string()), applied.get(&order.to_string())) else {
                anyhow::bail!("order {order} was confirmed but its event or its movement is missing");
            };
            lags.push((to - from).max(0));
        }
        lags.sort_unstable();
        Ok(lags)
    }

    async fn times(&self, pool: &PgPool, sql: &'static str, since_us: i64) -> anyhow::Result<HashMap<String, i64>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(since_us as f64).fetch_all(pool).await?;
        Ok(rows.into_iter().collect())
    }
}
