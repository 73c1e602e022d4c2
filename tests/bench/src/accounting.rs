//! Are all orders accounted for? Reads the services' databases after the load: every order that was answered 201 is CONFIRMED, charged
//! once, published once, applied to stock once, and its mail is on its way. Also gives the time from an event's commit to its effect on stock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::types::Uuid;
use swiftcart_support::eventually;
use swiftcart_support::shop::Addresses;

/// How long after the last answer everything must have settled: mails pile up, since the catcher of a test is slower than the shop.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks. Counting takes the database's time, which counts for the orders.
const LOOK: Duration = Duration::from_millis(250);

/// The databases.
pub(crate) struct Accounts {
    orders: PgPool,
    payments: PgPool,
    inventory: PgPool,
    notifications: PgPool,
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
            notifications: pool(urls, "notifications").await?,
        })
    }

    /// The database server's clock, in microseconds since 1970.
    pub(crate) async fn now(&self) -> anyhow::Result<i64> {
        Ok(sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
            .fetch_one(&self.orders)
            .await?)
    }

    /// Waits until nothing is pending, unpublished, unapplied or unmailed; gives how long that took.
    pub(crate) async fn settle(&self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let looks = tokio::sync::Mutex::new(tokio::time::interval(LOOK));
        eventually(SETTLED_WITHIN, "every order is decided, published, applied and mailed", async || {
            looks.lock().await.tick().await;
            // Cheap ones first: both have an index that holds nothing else.
            let unpublished = count(&self.orders, "SELECT count(*) FROM outbox WHERE published_at IS NULL").await?;
            ensure!(unpublished == 0, "{unpublished} unpublished");
            let pending = count(&self.orders, "SELECT count(*) FROM orders WHERE state = 'PENDING'").await?;
            ensure!(pending == 0, "{pending} pending");
            let confirmed = count(&self.orders, "SELECT count(*) FROM orders WHERE state = 'CONFIRMED'").await?;
            let applied = "SELECT count(DISTINCT order_id) FROM inventory_movements WHERE kind = 'confirmed'";
            let applied = count(&self.inventory, applied).await?;
            ensure!(confirmed == applied, "{confirmed} confirmed, {applied} applied");
            let mailed = count(&self.notifications, "SELECT count(*) FROM mails WHERE state <> 'sending'").await?;
            ensure!(confirmed == mailed, "{confirmed} confirmed, {mailed} mailed");
            Ok(())
        })
        .await?;
        Ok(began.elapsed())
    }

    /// Checks every order of the run and gives the microseconds from each event's commit to its movement, sorted.
    pub(crate) async fn check(&self, since_us: i64, ids: &[Uuid]) -> anyhow::Result<Vec<i64>> {
        let confirmed: Vec<Uuid> = sqlx::query_scalar(
            "SELECT id FROM orders WHERE state = 'CONFIRMED' AND created_at >= to_timestamp($1 / 1000000.0)",
        )
        .bind(since_us as f64)
        .fetch_all(&self.orders)
        .await?;
        let confirmed: HashSet<_> = confirmed.into_iter().collect();
        let answered: HashSet<Uuid> = ids.iter().copied().collect();
        ensure!(answered.len() == ids.len(), "two orders were answered with the same id");
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

    /// Closes the connections, so that the server can stop at once.
    pub(crate) async fn close(self) {
        for pool in [self.orders, self.payments, self.inventory, self.notifications] {
            pool.close().await;
        }
    }

    async fn times(&self, pool: &PgPool, sql: &'static str, since_us: i64) -> anyhow::Result<HashMap<String, i64>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).bind(since_us as f64).fetch_all(pool).await?;
        Ok(rows.into_iter().collect())
    }
}

async fn count(pool: &PgPool, sql: &'static str) -> anyhow::Result<i64> {
    Ok(sqlx::query_scalar(sql).fetch_one(pool).await?)
}
