//! The writes of the orders database, each one statement.

use sqlx::types::Json;
use swiftcart_provider_postgres::Postgres;

use super::super::row::Timestamp;
use super::super::{Placed, StoreError, bigint};
use super::run;
use crate::model::{CREATE_ROUTE, Held, KEY_RETENTION_SECONDS, LEASE_SECONDS, PROVIDER, Placement, Settlement, State};

/// A key that is too old counts as free even before it is deleted.
const PLACE: &str = "
WITH claimed AS (
    INSERT INTO idempotency_keys AS held (user_id, route, key, fingerprint, order_id)
    SELECT $2::uuid, $13::text, $14::text, $15::bytea, $1::uuid WHERE $14::text IS NOT NULL
    ON CONFLICT (user_id, route, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = now(), decision = NULL, trace_id = NULL, told = false
    WHERE held.created_at < now() - make_interval(secs => $17::float8)
    RETURNING order_id
), placed AS (
    INSERT INTO orders (id, user_id, currency, total_amount, payment_method, created_at, idempotency_key, sealed_email, traceparent,
                        tracestate, lease_until)
    SELECT $1::uuid, $2::uuid, $3::text, $4::bigint, $5::text, $6::timestamptz, $14::text, $7::bytea, $8::text, $9::text,
           now() + make_interval(secs => $16::float8)
    WHERE $14::text IS NULL OR EXISTS (SELECT 1 FROM claimed)
    RETURNING id
), lined AS (
    INSERT INTO order_lines (order_id, position, sku, quantity, unit_price)
    SELECT placed.id, line.position, line.sku, line.quantity, line.unit_price
    FROM placed,
         unnest($10::text[], $11::bigint[], $12::bigint[]) WITH ORDINALITY AS line (sku, quantity, unit_price, position)
)
SELECT id FROM placed";

/// State, answer and event, or nothing. $15 is the key; $16 is null when the key is to be removed. $20 is PENDING: as a literal it would let the planner go
/// through the index of all that are pending instead of reaching the order by its id.
const DECIDE: &str = "
WITH decided AS (
    UPDATE orders
    SET state = $4::text, version = $5::bigint, decided_at = now(), decided_by = $6::text, failure_code = $7::text,
        failure_message = $8::text, payment_provider = $9::text, payment_id = $10::text, lease_until = NULL
    WHERE id = $1::uuid AND state = $20::text AND lease_epoch = $2::bigint AND version = $3::bigint
    RETURNING id, user_id
), published AS (
    INSERT INTO outbox (event_id, topic, key, payload, headers)
    SELECT $11::uuid, $12::text, decided.id::text, $13::text, $14::jsonb FROM decided
), answered AS (
    UPDATE idempotency_keys k SET decision = $16::text, trace_id = $17::text, told = $18::boolean
    FROM decided
    WHERE k.user_id = decided.user_id AND k.route = $19::text AND k.key = $15::text AND k.order_id = decided.id AND $16::text IS NOT NULL
), freed AS (
    DELETE FROM idempotency_keys k USING decided
    WHERE k.user_id = decided.user_id AND k.route = $19::text AND k.key = $15::text AND k.order_id = decided.id AND $16::text IS NULL
)
SELECT id FROM decided";

pub(super) async fn place(database: &Postgres, placement: &Placement) -> Result<Placed, StoreError> {
    let Held { order, payment_method, key, sealed_email, trace, .. } = &placement.held;
    let skus: Vec<&str> = order.lines.iter().map(|line| line.sku.as_str()).collect();
    let quantities: Vec<i64> = order.lines.iter().map(|line| i64::from(line.quantity)).collect();
    let prices = order.lines.iter().map(|line| bigint(line.unit_price)).collect::<Result<Vec<i64>, _>>()?;
    let query = sqlx::query(PLACE)
        .bind(order.id)
        .bind(order.user_id)
        .bind(order.currency.as_str())
        .bind(bigint(order.total_amount)?)
        .bind(payment_method)
        .bind(Timestamp(order.created_at))
        .bind(sealed_email.as_deref())
        .bind(&trace.parent)
        .bind(trace.state.as_deref())
        .bind(skus)
        .bind(quantities)
        .bind(prices)
        .bind(CREATE_ROUTE)
        .bind(key.as_deref())
        .bind(&placement.fingerprint)
        .bind(LEASE_SECONDS)
        .bind(KEY_RETENTION_SECONDS);
    match run(database, query).await {
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
    let query = sqlx::query(DECIDE)
        .bind(order.id)
        .bind(epoch)
        .bind(order.version - 1)
        .bind(order.state.as_str())
        .bind(order.version)
        .bind("request")
        .bind(failure.map(|failure| failure.code.as_str()))
        .bind(failure.map(|failure| failure.message.as_str()))
        .bind(payment_id.as_ref().map(|_| PROVIDER))
        .bind(payment_id.as_deref())
        .bind(event.event_id)
        .bind(event.topic)
        .bind(&event.payload)
        .bind(Json(&event.headers))
        .bind(key.as_deref())
        .bind(answer.as_deref())
        .bind(answer.as_ref().map(|_| trace_id))
        .bind(answer.is_some())
        .bind(CREATE_ROUTE)
        .bind(State::Pending.as_str());
    Ok(run(database, query).await?.is_some())
}
