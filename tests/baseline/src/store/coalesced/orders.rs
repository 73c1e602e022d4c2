//! The writes of the orders database, for any number of calls.

use serde_json::json;
use swiftcart_provider_postgres::{Postgres, Value};

use super::super::{Placed, StoreError, bigint};
use super::{run, text, uuid};
use crate::model::{CREATE_ROUTE, Held, KEY_RETENTION_SECONDS, LEASE_SECONDS, Line, PROVIDER, Placement, Settlement};

/// A key that is too old counts as free even before it is deleted; of several placements with the same key the first has it, and the others find it
/// taken.
pub(super) const PLACE: &str = include_str!("../../../../../components/order/src/store/place.sql");

/// Of each decision state, answer and event, or nothing. Without a decision for its key the key is removed.
pub(super) const DECIDE: &str = include_str!("../../../../../components/order/src/store/decide.sql");

pub(super) async fn place(database: &Postgres, placement: &Placement) -> Result<Placed, StoreError> {
    let Held { order, payment_method, key, sealed_email, trace, .. } = &placement.held;
    let line = |line: &Line| json!({"sku": line.sku, "quantity": line.quantity, "unit_price": line.unit_price});
    let lines = serde_json::Value::Array(order.lines.iter().map(line).collect()).to_string();
    let params = vec![
        uuid(order.id),
        uuid(order.user_id),
        text(order.currency.as_str()),
        Value::Int64(bigint(order.total_amount)?),
        text(payment_method),
        Value::Timestamptz(order.created_at),
        sealed_email.clone().map_or(Value::Null, Value::Bytes),
        text(&trace.parent),
        trace.state.as_deref().map_or(Value::Null, text),
        Value::Jsonb(lines),
        text(CREATE_ROUTE),
        key.as_deref().map_or(Value::Null, text),
        Value::Bytes(placement.fingerprint.clone()),
        Value::Float64(LEASE_SECONDS),
        Value::Float64(KEY_RETENTION_SECONDS),
    ];
    match run(database, PLACE, params).await {
        Ok(Some(_)) => Ok(Placed::Ours),
        Ok(None) => Ok(Placed::KeyTaken),
        // The id is drawn for this placement: an earlier try of it was written after all.
        Err(StoreError::Conflict(constraint)) if constraint == "orders_pkey" => Ok(Placed::Ours),
        Err(error) => Err(error),
    }
}

pub(super) async fn decide(database: &Postgres, settlement: &Settlement) -> Result<bool, StoreError> {
    let Settlement { order, epoch, payment_id, key, answer, trace_id, event, .. } = settlement;
    let failure = order.failure.as_ref();
    let optional = |given: Option<&str>| given.map_or(Value::Null, text);
    let params = vec![
        uuid(order.id),
        Value::Int64(*epoch),
        Value::Int64(order.version - 1),
        text(order.state.as_str()),
        Value::Int64(order.version),
        text("request"),
        optional(failure.map(|failure| failure.code.as_str())),
        optional(failure.map(|failure| failure.message.as_str())),
        optional(payment_id.as_ref().map(|_| PROVIDER)),
        optional(payment_id.as_deref()),
        uuid(event.event_id),
        text(event.topic),
        text(&event.payload),
        Value::Jsonb(event.headers_json()),
        optional(key.as_deref()),
        optional(answer.as_deref()),
        optional(answer.as_ref().map(|_| trace_id.as_str())),
        Value::Boolean(answer.is_some()),
        text(CREATE_ROUTE),
    ];
    Ok(run(database, DECIDE, params).await?.is_some())
}
