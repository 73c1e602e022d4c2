//! The four databases, each read as its own service. Invariant: only SELECT.

use std::collections::BTreeMap;

use anyhow::Context as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{FromRow, Row as _};
use uuid::Uuid;

use crate::facts::{Key, Movement, NotedMail, Order, Payment, Unpublished};
use crate::sources::Sources;

const ORDERS: &str = "SELECT o.id::text, o.state, o.version, o.currency, o.total_amount, o.decided_by, o.failure_code, o.payment_id, o.refund_state, o.refund_amount,
    (extract(epoch FROM greatest(o.created_at, o.decided_at, p.latest)) * 1000000)::bigint AS changed_at
    FROM orders o LEFT JOIN (SELECT key, max(created_at) AS latest FROM outbox GROUP BY key) p ON p.key = o.id::text";
const LINES: &str = "SELECT order_id::text, sku, quantity FROM order_lines";
const KEYS: &str = "SELECT key, order_id::text, decision IS NOT NULL AS decided FROM idempotency_keys";
const PAYMENTS: &str = "SELECT order_id::text, state, amount, payment_id, (extract(epoch FROM updated_at) * 1000000)::bigint AS changed_at FROM payments";
const MOVEMENTS: &str = "SELECT sku, kind, delta, order_id::text FROM inventory_movements WHERE order_id IS NOT NULL";
const MAILS: &str = "SELECT order_id::text, kind, state, message_id FROM mails";
const UNPUBLISHED: &str = "SELECT event_id::text, topic, (extract(epoch FROM created_at) * 1000000)::bigint AS created_at FROM outbox WHERE published_at IS NULL ORDER BY id";
/// One snapshot, so that the sum and the shelf belong together.
const SHELVES: &str = "SELECT p.sku, p.on_hand, (SELECT coalesce(sum(m.delta), 0)::bigint FROM inventory_movements m WHERE m.sku = p.sku) AS moved FROM products p ORDER BY p.sku";
const ON_HAND: &str = "SELECT sku, on_hand FROM products WHERE sku = ANY($1)";
/// Reservations that were taken out already: of orders by order id, of corrections by the id of the correction.
const TAKEN_OUT: &str =
    "SELECT order_id::text AS id FROM inventory_movements WHERE kind = 'confirmed' AND order_id = ANY($1)
    UNION SELECT adjustment_id::text FROM inventory_movements WHERE adjustment_id = ANY($1)";

/// With an outbox each.
const WITH_OUTBOX: [&str; 3] = ["orders", "payments", "inventory"];

/// A connection to each.
pub(crate) struct Databases(BTreeMap<&'static str, PgPool>);

impl Databases {
    pub(crate) async fn open(sources: &Sources) -> anyhow::Result<Self> {
        let mut pools = BTreeMap::new();
        for name in ["orders", "payments", "inventory", "notifications"] {
            let pool = PgPoolOptions::new().max_connections(2).connect(sources.database(name)?).await;
            // The address holds a password and stays out of the message.
            pools.insert(name, pool.with_context(|| format!("connecting to the database {name}"))?);
        }
        Ok(Self(pools))
    }

    fn pool(&self, name: &str) -> anyhow::Result<&PgPool> {
        self.0.get(name).with_context(|| format!("no database {name}"))
    }

    pub(crate) async fn now(&self) -> anyhow::Result<i64> {
        let now = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
        Ok(now.fetch_one(self.pool("orders")?).await?)
    }

    pub(crate) async fn orders(&self) -> anyhow::Result<BTreeMap<String, Order>> {
        let mut transaction = self.pool("orders")?.begin().await?;
        // Orders and lines of one moment.
        sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *transaction).await?;
        let mut orders = BTreeMap::new();
        for row in sqlx::query(ORDERS).fetch_all(&mut *transaction).await? {
            let order = Order {
                state: row.try_get("state")?,
                version: row.try_get("version")?,
                currency: row.try_get("currency")?,
                total_amount: row.try_get("total_amount")?,
                changed_at: row.try_get("changed_at")?,
                decided_by: row.try_get("decided_by")?,
                failure_code: row.try_get("failure_code")?,
                payment_id: row.try_get("payment_id")?,
                refund_state: row.try_get("refund_state")?,
                refund_amount: row.try_get("refund_amount")?,
                lines: BTreeMap::new(),
            };
            orders.insert(row.try_get::<String, _>("id")?, order);
        }
        let lines: Vec<(String, String, i32)> = sqlx::query_as(LINES).fetch_all(&mut *transaction).await?;
        for (order, sku, quantity) in lines {
            if let Some(order) = orders.get_mut(&order) {
                *order.lines.entry(sku).or_default() += i64::from(quantity);
            }
        }
        Ok(orders)
    }

    pub(crate) async fn keys(&self) -> anyhow::Result<Vec<Key>> {
        let rows: Vec<(String, String, bool)> = sqlx::query_as(KEYS).fetch_all(self.pool("orders")?).await?;
        Ok(rows.into_iter().map(|(key, order_id, decided)| Key { key, order_id, decided }).collect())
    }

    pub(crate) async fn payments(&self) -> anyhow::Result<BTreeMap<String, Payment>> {
        let mut payments = BTreeMap::new();
        for row in sqlx::query(PAYMENTS).fetch_all(self.pool("payments")?).await? {
            let payment = Payment {
                state: row.try_get("state")?,
                amount: row.try_get("amount")?,
                payment_id: row.try_get("payment_id")?,
                changed_at: row.try_get("changed_at")?,
            };
            payments.insert(row.try_get("order_id")?, payment);
        }
        Ok(payments)
    }

    pub(crate) async fn movements(&self) -> anyhow::Result<Vec<Movement>> {
        let rows: Vec<(String, String, i64, String)> =
            sqlx::query_as(MOVEMENTS).fetch_all(self.pool("inventory")?).await?;
        let movement = |(sku, kind, delta, order_id)| Movement { sku, kind, delta, order_id };
        Ok(rows.into_iter().map(movement).collect())
    }

    pub(crate) async fn mails(&self) -> anyhow::Result<Vec<NotedMail>> {
        let rows: Vec<(String, String, String, String)> =
            sqlx::query_as(MAILS).fetch_all(self.pool("notifications")?).await?;
        let mail = |(order_id, kind, state, message_id)| NotedMail { order_id, kind, state, message_id };
        Ok(rows.into_iter().map(mail).collect())
    }

    pub(crate) async fn unpublished(&self) -> anyhow::Result<Vec<Unpublished>> {
        let mut all = Vec::new();
        for database in WITH_OUTBOX {
            for row in sqlx::query(UNPUBLISHED).fetch_all(self.pool(database)?).await? {
                let (event_id, topic, created_at) = FromRow::from_row(&row)?;
                all.push(Unpublished { database: database.to_owned(), event_id, topic, created_at });
            }
        }
        Ok(all)
    }

    /// Each sku with what is on hand and what its movements add up to.
    pub(crate) async fn shelves(&self) -> anyhow::Result<Vec<(String, i64, i64)>> {
        Ok(sqlx::query_as(SHELVES).fetch_all(self.pool("inventory")?).await?)
    }

    pub(crate) async fn on_hand(&self, skus: &[String]) -> anyhow::Result<BTreeMap<String, i64>> {
        let rows: Vec<(String, i64)> = sqlx::query_as(ON_HAND).bind(skus).fetch_all(self.pool("inventory")?).await?;
        Ok(rows.into_iter().collect())
    }

    /// Those of these reservations that on_hand knows of already.
    pub(crate) async fn taken_out(&self, reservations: &[Uuid]) -> anyhow::Result<Vec<String>> {
        Ok(sqlx::query_scalar(TAKEN_OUT).bind(reservations).fetch_all(self.pool("inventory")?).await?)
    }

    /// How much is not decided, refunded, paid or published yet, in words; empty when nothing is.
    pub(crate) async fn unfinished(&self) -> anyhow::Result<Vec<String>> {
        let mut open = Vec::new();
        let questions = [
            ("orders", "SELECT count(*) FROM orders WHERE state = 'PENDING'", "orders PENDING"),
            ("orders", "SELECT count(*) FROM orders WHERE refund_state = 'pending'", "refunds pending"),
            ("payments", "SELECT count(*) FROM payments WHERE state IN ('started', 'unknown')", "payments open"),
        ];
        let outboxes = WITH_OUTBOX
            .map(|name| (name, "SELECT count(*) FROM outbox WHERE published_at IS NULL", "events unpublished"));
        for (database, question, what) in questions.into_iter().chain(outboxes) {
            let count: i64 = sqlx::query_scalar(question).fetch_one(self.pool(database)?).await?;
            if count > 0 {
                open.push(format!("{count} {what} ({database})"));
            }
        }
        Ok(open)
    }
}
