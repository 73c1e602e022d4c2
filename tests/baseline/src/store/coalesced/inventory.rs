//! Taking confirmed orders from the shelf, any number at once: the locks of all of them first, in one sequence.

use serde_json::json;
use swiftcart_provider_postgres::{Postgres, Statement, Value};

use super::super::{Applied, Confirmed, StoreError};
use super::{Row, first_row, missing, sort, text, unknown, uuid};
use crate::model::Shortage;

/// The inbox's name of this consumer.
const CONSUMER: &str = "inventory";
/// How often an order is applied when the calls beside it are in its way. Each time at least one of them is done with.
const TRIES: u32 = 16;

pub(super) const LOCK_ORDERS: &str = "SELECT sorted.call, pg_advisory_xact_lock(sorted.number)::text AS locked
    FROM (SELECT c.call, hashtextextended(c.order_id, 0) AS number FROM unnest($1::text[]) WITH ORDINALITY AS c (order_id, call)
          ORDER BY number OFFSET 0) AS sorted";

// Of an order nothing is written unless its event is new, it goes on, all its skus exist and all its lines fit; every part that writes hangs on the inbox
// row. A line fits if it does after all calls before it have taken theirs. If it only would without them, or if the same order comes twice, the call is
// told to come `again`: whatever is first is never told that.
pub(super) const APPLY: &str = "WITH calls AS (
        SELECT c.*, row_number() OVER (PARTITION BY order_id ORDER BY call) + row_number() OVER (PARTITION BY event_id ORDER BY call) > 2 AS twice
        FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[], $4::text[]) WITH ORDINALITY AS c (event_id, order_id, lines, consumer, call)
    ), wanted AS (
        SELECT c.call, c.order_id, w.sku, w.quantity FROM calls c, jsonb_to_recordset(c.lines) AS w (sku text, quantity bigint)
    ), known AS MATERIALIZED (
        SELECT c.call, c.event_id, c.order_id, c.consumer, c.twice,
            (SELECT true FROM inbox i WHERE i.consumer = c.consumer AND i.event_id = c.event_id) IS NOT NULL AS seen,
            (SELECT true FROM closed_orders e WHERE e.order_id = c.order_id) IS NOT NULL AS ended,
            ARRAY(SELECT w.sku FROM wanted w
                  WHERE w.call = c.call AND (SELECT true FROM products p WHERE p.sku = w.sku) IS NULL) AS unknown
        FROM calls c
    ), ready AS MATERIALIZED (
        SELECT call, event_id, order_id, consumer FROM known WHERE NOT twice AND NOT seen AND NOT ended AND unknown = '{}'
    ), locked AS MATERIALIZED (
        SELECT p.sku, p.on_hand FROM products p
        WHERE p.sku IN (SELECT w.sku FROM wanted w JOIN ready r ON r.call = w.call)
        ORDER BY p.sku FOR UPDATE
    ), fitted AS MATERIALIZED (
        SELECT w.call, w.sku, w.quantity, l.on_hand, sum(w.quantity) OVER (PARTITION BY w.sku ORDER BY w.call) > l.on_hand AS over
        FROM wanted w JOIN ready r ON r.call = w.call JOIN locked l ON l.sku = w.sku
    ), event AS (
        INSERT INTO inbox (consumer, event_id)
        SELECT r.consumer, r.event_id FROM ready r
        WHERE NOT EXISTS (SELECT 1 FROM fitted f WHERE f.call = r.call AND f.over) ORDER BY r.event_id
        ON CONFLICT DO NOTHING RETURNING event_id
    ), applied AS MATERIALIZED (
        SELECT r.call, r.order_id FROM ready r JOIN event e ON e.event_id = r.event_id
    ), taken AS (
        UPDATE products p SET on_hand = p.on_hand - t.quantity, updated_at = now()
        FROM (SELECT w.sku, sum(w.quantity)::bigint AS quantity FROM wanted w JOIN applied a ON a.call = w.call GROUP BY w.sku) AS t
        WHERE p.sku = t.sku
    ), moved AS (
        INSERT INTO inventory_movements (sku, kind, delta, order_id)
        SELECT w.sku, 'confirmed', -w.quantity, a.order_id FROM wanted w JOIN applied a ON a.call = w.call ORDER BY w.call, w.sku
    )
    SELECT k.call, k.seen, k.ended, k.unknown, EXISTS (SELECT 1 FROM applied a WHERE a.call = k.call) AS taken,
        (SELECT true FROM inventory_movements m WHERE m.order_id = k.order_id AND m.kind = 'confirmed' LIMIT 1) IS NOT NULL AS moved_before,
        ARRAY(SELECT f.sku FROM fitted f WHERE f.call = k.call AND f.on_hand < f.quantity ORDER BY f.sku) AS short_skus,
        ARRAY(SELECT f.on_hand FROM fitted f WHERE f.call = k.call AND f.on_hand < f.quantity ORDER BY f.sku) AS short_on_hand,
        k.twice OR EXISTS (SELECT 1 FROM fitted f WHERE f.call = k.call AND f.over) AS again
    FROM known k";

pub(super) async fn apply(database: &Postgres, order: &Confirmed) -> Result<Applied, StoreError> {
    let line = |(sku, quantity): (&String, &i64)| json!({"sku": sku, "quantity": quantity});
    let lines = serde_json::Value::Array(order.skus.iter().zip(&order.quantities).map(line).collect()).to_string();
    let statement = |sql: &str, params| Statement { sql: sql.to_owned(), params, expected_rows: None };
    let params = vec![uuid(order.event_id), uuid(order.order_id), Value::Jsonb(lines), text(CONSUMER)];
    let deciding = vec![statement(LOCK_ORDERS, vec![text(&order.order_id.to_string())]), statement(APPLY, params)];
    for _ in 1..=TRIES {
        match database.coalesce(deciding.clone()).await.map_err(sort) {
            Ok(mut sets) => {
                let row = sets.pop().and_then(first_row).ok_or_else(missing)?;
                if let Some(applied) = verdict(order, &row)? {
                    return Ok(applied);
                }
            }
            // Applied by an event whose inbox row is gone.
            Err(StoreError::Conflict(constraint)) if constraint == "inventory_movements_once_per_order" => {
                return Ok(Applied::Done);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(Applied::Busy)
}

/// What became of the order; none if it has to come again.
fn verdict(order: &Confirmed, row: &Row) -> Result<Option<Applied>, StoreError> {
    if row.boolean("ended")? {
        return Ok(Some(Applied::Ended));
    }
    if row.boolean("taken")? || row.boolean("moved_before")? {
        return Ok(Some(Applied::Done));
    }
    let texts = |name| match row.get(name)? {
        Value::TextArray(texts) => Ok(texts.clone()),
        _ => Err(unknown(name)),
    };
    let missing = texts("unknown")?;
    if !missing.is_empty() {
        return Ok(Some(Applied::UnknownSku(missing)));
    }
    let short_skus = texts("short_skus")?;
    if short_skus.is_empty() {
        return Ok(if row.boolean("again")? { None } else { Some(Applied::Busy) });
    }
    let Value::Int64Array(on_hand) = row.get("short_on_hand")? else { return Err(unknown("short_on_hand")) };
    let shortage = |(sku, on_hand): (String, &i64)| {
        let line = order.skus.iter().zip(&order.quantities).find(|(known, _)| **known == sku);
        let requested = line.and_then(|(_, quantity)| u32::try_from(*quantity).ok()).unwrap_or(0);
        Shortage { sku, requested, available: u64::try_from(*on_hand).unwrap_or(0) }
    };
    Ok(Some(Applied::Short(short_skus.into_iter().zip(on_hand).map(shortage).collect())))
}
