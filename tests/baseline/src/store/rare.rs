//! What is rare on a create's path and so is done in one way only: repeats of a key, leases, refills, the catalog, orders that failed.

use std::collections::BTreeSet;

use sqlx::Postgres as Pg;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use swiftcart_provider_postgres::Postgres;
use uuid::Uuid;

use super::row::{self, column};
use super::{Databases, StoreError, Wanted, acquire, after_sending, bigint};
use crate::catalog::Product;
use crate::model::{CREATE_ROUTE, Held, KEY_RETENTION_SECONDS, KeyRecord, LEASE_SECONDS};
use crate::payments::Charge;

/// Every column of an order and, as three arrays, its lines; of `orders AS o`.
macro_rules! order_columns {
    () => {
        "o.id, o.user_id, o.state, o.version, o.currency, o.total_amount, o.payment_method, o.idempotency_key, o.sealed_email, o.traceparent,
         o.tracestate, o.lease_epoch, o.answered_pending, o.failure_code, o.failure_message,
         (extract(epoch FROM o.created_at) * 1000000)::bigint AS created_at_us, l.skus, l.quantities, l.unit_prices"
    };
}

/// Joins the lines to `orders AS o`.
macro_rules! join_lines {
    () => {
        "CROSS JOIN LATERAL (
             SELECT array_agg(sku ORDER BY position) AS skus, array_agg(quantity::bigint ORDER BY position) AS quantities,
                    array_agg(unit_price ORDER BY position) AS unit_prices
             FROM order_lines WHERE order_id = o.id) AS l"
    };
}

/// Reading an answer is telling it: the first reader is marked in the same statement.
const FIND_KEY: &str = concat!(
    "
WITH told AS (
    UPDATE idempotency_keys SET told = true
    WHERE user_id = $1 AND route = $2 AND key = $3 AND fingerprint = $4 AND decision IS NOT NULL AND NOT told
      AND created_at >= now() - make_interval(secs => $5::float8)
    RETURNING 1
)
SELECT k.fingerprint, k.decision, k.trace_id, EXISTS (SELECT 1 FROM told) AS first_told,
       CASE WHEN o.lease_yielded OR o.lease_until <= now() THEN 0
            ELSE ceil(extract(epoch FROM o.lease_until - now()))::bigint END AS busy_seconds, ",
    order_columns!(),
    " FROM idempotency_keys k JOIN orders o ON o.id = k.order_id ",
    join_lines!(),
    " WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3 AND k.created_at >= now() - make_interval(secs => $5::float8)"
);

const TAKE_LEASE: &str = "
UPDATE orders
SET lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $3::float8), lease_yielded = false
WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2 AND NOT answered_pending AND (lease_yielded OR lease_until <= now())
RETURNING lease_epoch";

const YIELD_LEASE: &str =
    "UPDATE orders SET lease_yielded = true WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

const NOTE_PENDING: &str = "
UPDATE orders SET answered_pending = true, lease_until = now() WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

const READ: &str = concat!("SELECT ", order_columns!(), " FROM orders o ", join_lines!(), " WHERE o.id = $1");

/// What every statement returns of `payments AS p`.
macro_rules! charge_columns {
    () => {
        "p.order_id, p.state, p.amount, p.currency, p.method, p.payment_id, p.decline_code, p.reason, p.attempts,
         (extract(epoch FROM now() - p.created_at) * 1000)::bigint AS age_ms, false AS created"
    };
}

/// A tombstone where no charge was begun: a late one meets it.
const BEGIN_SETTLE: &str = concat!(
    "INSERT INTO payments AS p (order_id, state, reason) VALUES ($1, 'unavailable', 'no charge was begun')
    ON CONFLICT (order_id) DO UPDATE SET attempts = p.attempts + (p.state IN ('started', 'unknown'))::int, updated_at = now()
    RETURNING ",
    charge_columns!()
);

const FIND_CHARGE: &str = concat!("SELECT ", charge_columns!(), " FROM payments p WHERE order_id = $1");

const NOTE_UNKNOWN: &str =
    "UPDATE payments SET state = 'unknown', reason = $2, payment_id = COALESCE($3, payment_id), updated_at = now()
    WHERE order_id = $1 AND state IN ('started', 'unknown')";

/// Nothing is owed for an order whose charge surely came to nothing. No row: it did come to something, or is not known.
const NOTE_FAILED: &str = "
INSERT INTO inbox (consumer, event_id)
SELECT 'payment', $1 WHERE NOT EXISTS (SELECT 1 FROM payments WHERE order_id = $2 AND state IN ('started', 'unknown', 'succeeded'))
ON CONFLICT (consumer, event_id) DO UPDATE SET received_at = inbox.received_at
RETURNING event_id";

const PRODUCTS: &str = "SELECT sku, name, unit_price, currency, version FROM products WHERE sku = ANY($1)";

// `xmax = 0` holds for a row that was inserted, not updated, by this statement.
const PUT: &str = "INSERT INTO products AS p (sku, name, unit_price, currency) VALUES ($1, $2, $3, $4)
    ON CONFLICT (sku) DO UPDATE SET name = $2, unit_price = $3, currency = $4, version = p.version + 1, updated_at = now()
    RETURNING sku, name, unit_price, currency, version, (xmax = 0) AS created";

const RESTOCK: &str = "WITH changed AS (
        UPDATE products SET on_hand = on_hand + $2, updated_at = now() WHERE sku = $1 RETURNING sku
    )
    INSERT INTO inventory_movements (sku, kind, delta, adjustment_id) SELECT sku, 'restock', $2, $3 FROM changed RETURNING id";

const STOCK_LEVELS: &str = "SELECT p.sku, p.on_hand, ARRAY(
        SELECT COALESCE(m.order_id, m.adjustment_id) FROM inventory_movements m
        WHERE m.sku = p.sku AND m.kind = 'confirmed' AND m.order_id = ANY($2)
        UNION ALL
        SELECT m.adjustment_id FROM inventory_movements m WHERE m.sku = p.sku AND m.adjustment_id = ANY($2)
    ) AS applied
    FROM products p WHERE p.sku = ANY($1)";

const UNADDRESSED: &str = "WITH noted AS (
        INSERT INTO mails (order_id, kind, event_id, state, message_id) VALUES ($1, $2, $3, 'unaddressed', $4) ON CONFLICT DO NOTHING
    )
    INSERT INTO inbox (consumer, event_id) VALUES ('notification', $3) ON CONFLICT DO NOTHING";

/// What PostgreSQL knows of a sku's stock, in one snapshot.
pub(crate) struct StockLevel {
    pub(crate) sku: String,
    pub(crate) on_hand: i64,
    /// Which of the reservations asked about were taken from it.
    pub(crate) applied: BTreeSet<Uuid>,
}

async fn rows(database: &Postgres, query: Query<'_, Pg, PgArguments>) -> Result<Vec<PgRow>, StoreError> {
    let mut connection = acquire(database).await?;
    query.fetch_all(&mut *connection).await.map_err(|error| after_sending(&error))
}

async fn row(database: &Postgres, query: Query<'_, Pg, PgArguments>) -> Result<Option<PgRow>, StoreError> {
    Ok(rows(database, query).await?.into_iter().next())
}

fn missing() -> StoreError {
    StoreError::Internal("a statement gave no row".to_owned())
}

fn product(row: &PgRow) -> Result<Product, StoreError> {
    let number = |name| column::<i64>(row, name).map(|number| u64::try_from(number).unwrap_or(0));
    Ok(Product {
        sku: column(row, "sku")?,
        name: column(row, "name")?,
        unit_price: number("unit_price")?,
        currency: column(row, "currency")?,
        version: number("version")?,
    })
}

impl Databases {
    /// What is known under a key that is not too old.
    pub(crate) async fn find_key(
        &self,
        user_id: Uuid,
        key: &str,
        fingerprint: &[u8],
    ) -> Result<Option<KeyRecord>, StoreError> {
        let query = sqlx::query(FIND_KEY)
            .bind(user_id)
            .bind(CREATE_ROUTE)
            .bind(key)
            .bind(fingerprint)
            .bind(KEY_RETENTION_SECONDS);
        row(&self.orders, query).await?.map(|row| row::key_record(&row)).transpose()
    }

    /// Takes over a PENDING order that nobody works on; the new epoch.
    pub(crate) async fn take_lease(&self, order_id: Uuid, epoch: i64) -> Result<Option<i64>, StoreError> {
        let query = sqlx::query(TAKE_LEASE).bind(order_id).bind(epoch).bind(LEASE_SECONDS);
        row(&self.orders, query).await?.map(|row| column(&row, "lease_epoch")).transpose()
    }

    /// Gives the lease back early: the same key may go on at once.
    pub(crate) async fn yield_lease(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError> {
        row(&self.orders, sqlx::query(YIELD_LEASE).bind(order_id).bind(epoch)).await.map(drop)
    }

    /// Notes that the buyer is told 202.
    pub(crate) async fn note_pending(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError> {
        row(&self.orders, sqlx::query(NOTE_PENDING).bind(order_id).bind(epoch)).await.map(drop)
    }

    /// An order, whoever owns it.
    pub(crate) async fn read(&self, order_id: Uuid) -> Result<Option<Held>, StoreError> {
        row(&self.orders, sqlx::query(READ).bind(order_id)).await?.map(|row| row::held(&row)).transpose()
    }

    /// The row of a charge, or the tombstone that bars one.
    pub(crate) async fn begin_settle(&self, order_id: Uuid) -> Result<Charge, StoreError> {
        let row = row(&self.payments, sqlx::query(BEGIN_SETTLE).bind(order_id)).await?;
        row::charge(&row.ok_or_else(missing)?)
    }

    /// The row of a charge that was begun.
    pub(crate) async fn find_charge(&self, order_id: Uuid) -> Result<Charge, StoreError> {
        let row = row(&self.payments, sqlx::query(FIND_CHARGE).bind(order_id)).await?;
        row::charge(&row.ok_or_else(missing)?)
    }

    /// Notes on an open row that its outcome is unknown.
    pub(crate) async fn note_unknown(
        &self,
        order_id: Uuid,
        reason: &str,
        payment_id: Option<&str>,
    ) -> Result<(), StoreError> {
        let query = sqlx::query(NOTE_UNKNOWN).bind(order_id).bind(reason).bind(payment_id);
        row(&self.payments, query).await.map(drop)
    }

    /// Notes the event of a failed order that nothing is owed for. False: something is, or it is not known.
    pub(crate) async fn note_failed(&self, order_id: Uuid, event_id: Uuid) -> Result<bool, StoreError> {
        Ok(row(&self.payments, sqlx::query(NOTE_FAILED).bind(event_id).bind(order_id)).await?.is_some())
    }

    /// The products with these skus; the others are left out.
    pub(crate) async fn products(&self, skus: &[String]) -> Result<Vec<Product>, StoreError> {
        rows(&self.inventory, sqlx::query(PRODUCTS).bind(skus)).await?.iter().map(product).collect()
    }

    /// Makes or changes a product; true when it is new.
    pub(crate) async fn put_product(
        &self,
        sku: &str,
        name: &str,
        unit_price: u64,
        currency: &str,
    ) -> Result<(Product, bool), StoreError> {
        let query = sqlx::query(PUT).bind(sku).bind(name).bind(bigint(unit_price)?).bind(currency);
        let row = row(&self.inventory, query).await?.ok_or_else(missing)?;
        Ok((product(&row)?, column(&row, "created")?))
    }

    /// Adds to a product's stock, with the movement; false when there is no such product.
    pub(crate) async fn restock(&self, sku: &str, delta: i64, id: Uuid) -> Result<bool, StoreError> {
        Ok(row(&self.inventory, sqlx::query(RESTOCK).bind(sku).bind(delta).bind(id)).await?.is_some())
    }

    /// What lies on the shelf, and which of these reservations were taken from it.
    pub(crate) async fn stock_levels(
        &self,
        skus: &[String],
        reservations: &[Uuid],
    ) -> Result<Vec<StockLevel>, StoreError> {
        let query = sqlx::query(STOCK_LEVELS).bind(skus).bind(reservations);
        let level = |row: &PgRow| {
            let applied: Vec<Uuid> = column(row, "applied")?;
            Ok(StockLevel {
                sku: column(row, "sku")?,
                on_hand: column(row, "on_hand")?,
                applied: applied.into_iter().collect(),
            })
        };
        rows(&self.inventory, query).await?.iter().map(level).collect()
    }

    /// Notes that there is nobody to write to, with the inbox row.
    pub(crate) async fn unaddressed(&self, wanted: &Wanted, message_id: &str) -> Result<(), StoreError> {
        let query =
            sqlx::query(UNADDRESSED).bind(wanted.order_id).bind(wanted.kind).bind(wanted.event_id).bind(message_id);
        row(&self.notifications, query).await.map(drop)
    }
}
