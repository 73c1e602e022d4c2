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

pub(super) const LOCK_ORDERS: &str = include_str!("../../../../../components/inventory/src/store/lock_orders.sql");

// Of an order nothing is written unless its event is new, it goes on, all its skus exist and all its lines fit; every part that writes hangs on the inbox
// row. A line fits if it does after all calls before it have taken theirs. If it only would without them, or if the same order comes twice, the call is
// told to come `again`: whatever is first is never told that.
pub(super) const APPLY: &str = include_str!("../../../../../components/inventory/src/store/apply.sql");

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
