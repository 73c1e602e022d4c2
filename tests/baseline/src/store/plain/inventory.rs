//! Taking a confirmed order from the shelf: a transaction of two statements, because the second must look after the order's lock is held.

use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection};
use swiftcart_provider_postgres::Postgres;

use super::super::row::column;
use super::super::{Applied, Confirmed, StoreError, acquire, after_sending};
use crate::model::Shortage;

/// The inbox's name of this consumer.
const CONSUMER: &str = "inventory";

// The events of one order come over several topics, so at the same time. The next statement's snapshot is taken once the lock is held.
const LOCK_ORDER: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))::text AS locked";

// $1 event, $2 order, $3 skus, $4 quantities, $5 consumer. Nothing is written unless the event is new, the order goes on, all skus exist and all
// lines fit; every part that writes hangs on the inbox row. What concurrent statements did is seen through the row locks, not through the snapshot.
const APPLY: &str = "WITH wanted AS (
        SELECT w.sku, w.quantity FROM unnest($3::text[], $4::bigint[]) AS w (sku, quantity)
    ), seen AS (
        SELECT 1 FROM inbox WHERE consumer = $5 AND event_id = $1
    ), ended AS (
        SELECT 1 FROM closed_orders WHERE order_id = $2
    ), unknown AS (
        SELECT w.sku FROM wanted w WHERE NOT EXISTS (SELECT 1 FROM products p WHERE p.sku = w.sku)
    ), locked AS MATERIALIZED (
        SELECT p.sku, p.on_hand FROM products p
        WHERE p.sku = ANY($3) AND NOT EXISTS (SELECT 1 FROM seen) AND NOT EXISTS (SELECT 1 FROM ended) AND NOT EXISTS (SELECT 1 FROM unknown)
        ORDER BY p.sku FOR UPDATE
    ), short AS MATERIALIZED (
        SELECT w.sku, l.on_hand FROM wanted w JOIN locked l ON l.sku = w.sku WHERE l.on_hand < w.quantity
    ), event AS (
        INSERT INTO inbox (consumer, event_id)
        SELECT $5, $1 WHERE NOT EXISTS (SELECT 1 FROM seen) AND NOT EXISTS (SELECT 1 FROM ended)
            AND NOT EXISTS (SELECT 1 FROM unknown) AND NOT EXISTS (SELECT 1 FROM short)
        ON CONFLICT DO NOTHING RETURNING event_id
    ), taken AS (
        UPDATE products p SET on_hand = p.on_hand - w.quantity, updated_at = now()
        FROM wanted w WHERE p.sku = w.sku AND EXISTS (SELECT 1 FROM event)
        RETURNING p.sku, w.quantity
    ), moved AS (
        INSERT INTO inventory_movements (sku, kind, delta, order_id) SELECT sku, 'confirmed', -quantity, $2 FROM taken
    )
    SELECT EXISTS (SELECT 1 FROM ended) AS ended,
        EXISTS (SELECT 1 FROM event) AS taken,
        EXISTS (SELECT 1 FROM inventory_movements m WHERE m.order_id = $2 AND m.kind = 'confirmed') AS moved_before,
        ARRAY(SELECT sku FROM unknown) AS unknown,
        ARRAY(SELECT sku::text FROM short ORDER BY sku) AS short_skus,
        ARRAY(SELECT on_hand FROM short ORDER BY sku) AS short_on_hand";

pub(super) async fn apply(database: &Postgres, order: &Confirmed) -> Result<Applied, StoreError> {
    let mut connection = acquire(database).await?;
    match take(&mut connection, order).await {
        Ok(row) => verdict(order, &row),
        Err(error) => match after_sending(&error) {
            // Applied by an event whose inbox row is gone.
            StoreError::Conflict(constraint) if constraint == "inventory_movements_once_per_order" => Ok(Applied::Done),
            error => Err(error),
        },
    }
}

async fn take(connection: &mut PgConnection, order: &Confirmed) -> Result<PgRow, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query(LOCK_ORDER).bind(order.order_id.to_string()).execute(&mut *transaction).await?;
    let row = sqlx::query(APPLY)
        .bind(order.event_id)
        .bind(order.order_id)
        .bind(&order.skus)
        .bind(&order.quantities)
        .bind(CONSUMER)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(row)
}

fn verdict(order: &Confirmed, row: &PgRow) -> Result<Applied, StoreError> {
    if column(row, "ended")? {
        return Ok(Applied::Ended);
    }
    if column(row, "taken")? || column(row, "moved_before")? {
        return Ok(Applied::Done);
    }
    let unknown: Vec<String> = column(row, "unknown")?;
    if !unknown.is_empty() {
        return Ok(Applied::UnknownSku(unknown));
    }
    let short_skus: Vec<String> = column(row, "short_skus")?;
    let short_on_hand: Vec<i64> = column(row, "short_on_hand")?;
    if short_skus.is_empty() {
        return Ok(Applied::Busy);
    }
    let requested = |sku: &String| {
        let line = order.skus.iter().zip(&order.quantities).find(|(known, _)| *known == sku);
        line.and_then(|(_, quantity)| u32::try_from(*quantity).ok()).unwrap_or(0)
    };
    let shortage =
        |(sku, on_hand)| Shortage { requested: requested(&sku), sku, available: u64::try_from(on_hand).unwrap_or(0) };
    Ok(Applied::Short(short_skus.into_iter().zip(short_on_hand).map(shortage).collect()))
}
