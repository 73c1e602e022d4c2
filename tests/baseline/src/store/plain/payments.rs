//! The writes of the payments database, each one statement.

use sqlx::types::Json;
use swiftcart_domain::outbox::OutboxEvent;
use swiftcart_provider_postgres::Postgres;
use uuid::Uuid;

use super::super::{StoreError, bigint, row};
use super::{run, run_one};
use crate::model::Order;
use crate::payments::{Charge, Conclusion};

// `xmax = 0` holds for a row that was inserted, not updated, by this statement.
const BEGIN: &str = "
INSERT INTO payments AS p (order_id, state, amount, currency, method, attempts) VALUES ($1, 'started', $2, $3, $4, 1)
ON CONFLICT (order_id) DO UPDATE SET attempts = p.attempts + (p.state IN ('started', 'unknown'))::int, updated_at = now()
RETURNING p.order_id, p.state, p.amount, p.currency, p.method, p.payment_id, p.decline_code, p.reason, p.attempts,
    (extract(epoch FROM now() - p.created_at) * 1000)::bigint AS age_ms, (xmax = 0) AS created";

/// The open states, asked for with a value so that the row is always reached by its order.
const OPEN: [&str; 2] = ["started", "unknown"];

/// No row: it is decided.
const DECIDE: &str = "
WITH decided AS (
    UPDATE payments AS p
    SET state = $2, payment_id = COALESCE($3, payment_id), decline_code = $4, psp_code = $5, reason = $6, updated_at = now()
    WHERE order_id = $1 AND state = ANY ($13::text[]) AND ($7::int IS NULL OR attempts = $7)
    RETURNING p.order_id, p.state, p.amount, p.currency, p.method, p.payment_id, p.decline_code, p.reason, p.attempts,
        (extract(epoch FROM now() - p.created_at) * 1000)::bigint AS age_ms, false AS created
), published AS (
    INSERT INTO outbox (event_id, topic, key, payload, headers) SELECT $8, $9, $10, $11, $12 FROM decided
)
SELECT * FROM decided";

pub(super) async fn begin(database: &Postgres, order: &Order, method: &str) -> Result<Charge, StoreError> {
    let query =
        sqlx::query(BEGIN).bind(order.id).bind(bigint(order.total_amount)?).bind(order.currency.as_str()).bind(method);
    row::charge(&run_one(database, query).await?)
}

pub(super) async fn decide(
    database: &Postgres,
    order_id: Uuid,
    conclusion: &Conclusion,
    event: &OutboxEvent,
) -> Result<Option<Charge>, StoreError> {
    let query = sqlx::query(DECIDE)
        .bind(order_id)
        .bind(conclusion.state().as_str())
        .bind(conclusion.payment_id())
        .bind(conclusion.decline_code())
        .bind(conclusion.psp_code())
        .bind(conclusion.reason())
        .bind(conclusion.only_attempt())
        .bind(event.event_id)
        .bind(event.topic)
        .bind(&event.key)
        .bind(&event.payload)
        .bind(Json(&event.headers))
        .bind(&OPEN[..]);
    run(database, query).await?.map(|row| row::charge(&row)).transpose()
}
