//! The writes of the orders database, for any number of calls.

use serde_json::json;
use swiftcart_provider_postgres::{Postgres, Value};

use super::super::{Placed, StoreError, bigint};
use super::{run, text, uuid};
use crate::model::{CREATE_ROUTE, Held, KEY_RETENTION_SECONDS, LEASE_SECONDS, Line, PROVIDER, Placement, Settlement};

/// A key that is too old counts as free even before it is deleted; of several placements with the same key the first has it, and the others find it
/// taken.
pub(super) const PLACE: &str = "
WITH calls AS (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::bytea[], $8::text[], $9::text[], $10::jsonb[],
                $11::text[], $12::text[], $13::bytea[], $14::float8[], $15::float8[])
         WITH ORDINALITY AS c (id, user_id, currency, total_amount, payment_method, created_at, sealed_email, traceparent, tracestate, lines,
                               route, key, fingerprint, lease_seconds, retention_seconds, call)
), asking AS (
    SELECT DISTINCT ON (user_id, route, key) * FROM calls WHERE key IS NOT NULL ORDER BY user_id, route, key, call
), claimed AS (
    INSERT INTO idempotency_keys AS held (user_id, route, key, fingerprint, order_id)
    SELECT user_id, route, key, fingerprint, id FROM asking ORDER BY user_id, route, key
    ON CONFLICT (user_id, route, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = now(), decision = NULL, trace_id = NULL, told = false
    WHERE held.created_at < now() - make_interval(secs => (SELECT max(retention_seconds) FROM asking))
    RETURNING order_id
), placed AS (
    INSERT INTO orders (id, user_id, currency, total_amount, payment_method, created_at, idempotency_key, sealed_email, traceparent,
                        tracestate, lease_until)
    SELECT c.id, c.user_id, c.currency, c.total_amount, c.payment_method, c.created_at, c.key, c.sealed_email, c.traceparent, c.tracestate,
           now() + make_interval(secs => c.lease_seconds)
    FROM calls c WHERE c.key IS NULL OR c.id IN (SELECT order_id FROM claimed)
    RETURNING id
), lined AS (
    INSERT INTO order_lines (order_id, position, sku, quantity, unit_price)
    SELECT c.id, line.position, line.sku, line.quantity, line.unit_price
    FROM placed JOIN calls c ON c.id = placed.id
         CROSS JOIN ROWS FROM (jsonb_to_recordset(c.lines) AS (sku text, quantity bigint, unit_price bigint))
                    WITH ORDINALITY AS line (sku, quantity, unit_price, position)
)
SELECT c.call, c.id FROM calls c JOIN placed ON placed.id = c.id";

/// Of each decision state, answer and event, or nothing. Without a decision for its key the key is removed.
pub(super) const DECIDE: &str = "
WITH calls AS (
    SELECT *, 'PENDING' AS open
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                $11::uuid[], $12::text[], $13::text[], $14::jsonb[], $15::text[], $16::text[], $17::text[], $18::boolean[], $19::text[])
         WITH ORDINALITY AS c (id, epoch, old_version, state, new_version, decided_by, failure_code, failure_message, payment_provider,
                               payment_id, event_id, topic, payload, headers, key, decision, trace_id, told, route, call)
), decided AS (
    UPDATE orders o
    SET state = c.state, version = c.new_version, decided_at = now(), decided_by = c.decided_by, failure_code = c.failure_code,
        failure_message = c.failure_message, payment_provider = c.payment_provider, payment_id = c.payment_id, lease_until = NULL
    FROM calls c
    WHERE o.id = c.id AND o.state = c.open AND o.lease_epoch = c.epoch AND o.version = c.old_version
    RETURNING c.call, o.id, o.user_id, c.route, c.key, c.decision, c.trace_id, c.told
), published AS (
    INSERT INTO outbox (event_id, topic, key, payload, headers)
    SELECT c.event_id, c.topic, d.id::text, c.payload, c.headers FROM decided d JOIN calls c ON c.call = d.call ORDER BY d.call
), answered AS (
    UPDATE idempotency_keys k SET decision = d.decision, trace_id = d.trace_id, told = d.told FROM decided d
    WHERE k.user_id = d.user_id AND k.route = d.route AND k.key = d.key AND k.order_id = d.id AND d.decision IS NOT NULL
), freed AS (
    DELETE FROM idempotency_keys k USING decided d
    WHERE k.user_id = d.user_id AND k.route = d.route AND k.key = d.key AND k.order_id = d.id AND d.decision IS NULL
)
SELECT call, id FROM decided";

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
