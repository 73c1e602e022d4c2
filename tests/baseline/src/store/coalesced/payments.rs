//! The writes of the payments database, for any number of calls.

use swiftcart_domain::outbox::OutboxEvent;
use swiftcart_provider_postgres::{Postgres, Value};
use uuid::Uuid;

use super::super::{StoreError, bigint};
use super::{Row, missing, run, text, unknown, uuid};
use crate::model::Order;
use crate::payments::{Charge, ChargeState, Conclusion};

/// What every statement returns of a row.
macro_rules! columns {
    ($created:literal) => {
        concat!(
            "p.order_id, p.state, p.amount, p.currency, p.method, p.payment_id, p.decline_code, p.reason, p.attempts,
            (extract(epoch FROM now() - p.created_at) * 1000)::bigint AS age_ms, ",
            $created,
            " AS created"
        )
    };
}

// `xmax = 0` holds for a row that was inserted, not updated, by this statement.
pub(super) const BEGIN: &str = concat!(
    "WITH calls AS (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY AS c (order_id, amount, currency, method, call)
    ), begun AS (
        INSERT INTO payments AS p (order_id, state, amount, currency, method, attempts)
        SELECT order_id, 'started', amount, currency, method, 1 FROM calls ORDER BY order_id
        ON CONFLICT (order_id) DO UPDATE SET attempts = p.attempts + (p.state IN ('started', 'unknown'))::int, updated_at = now()
        RETURNING ",
    columns!("(xmax = 0)"),
    "
    )
    SELECT c.call, b.* FROM calls c JOIN begun b ON b.order_id = c.order_id"
);

/// No row means that the payment was decided before.
pub(super) const DECIDE: &str = concat!(
    "WITH calls AS (
        SELECT *, ARRAY['started', 'unknown'] AS open FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[],
                             $8::uuid[], $9::text[], $10::text[], $11::text[], $12::jsonb[])
            WITH ORDINALITY AS c (order_id, state, payment_id, decline_code, psp_code, reason, only_attempt,
                                  event_id, topic, key, payload, headers, call)
    ), decided AS (
        UPDATE payments p SET state = c.state, payment_id = COALESCE(c.payment_id, p.payment_id), decline_code = c.decline_code,
            psp_code = c.psp_code, reason = c.reason, updated_at = now()
        FROM calls c
        WHERE p.order_id = c.order_id AND p.state = ANY (c.open) AND (c.only_attempt IS NULL OR p.attempts = c.only_attempt)
        RETURNING c.call, ",
    columns!("false"),
    "
    ), told AS (
        INSERT INTO outbox (event_id, topic, key, payload, headers)
        SELECT c.event_id, c.topic, c.key, c.payload, c.headers FROM decided d JOIN calls c ON c.call = d.call ORDER BY d.call
    )
    SELECT * FROM decided"
);

pub(super) async fn begin(database: &Postgres, order: &Order, method: &str) -> Result<Charge, StoreError> {
    let params =
        vec![uuid(order.id), Value::Int64(bigint(order.total_amount)?), text(order.currency.as_str()), text(method)];
    charge(&run(database, BEGIN, params).await?.ok_or_else(missing)?)
}

pub(super) async fn decide(
    database: &Postgres,
    order_id: Uuid,
    conclusion: &Conclusion,
    event: &OutboxEvent,
) -> Result<Option<Charge>, StoreError> {
    let optional = |given: Option<&str>| given.map_or(Value::Null, text);
    let params = vec![
        uuid(order_id),
        text(conclusion.state().as_str()),
        optional(conclusion.payment_id()),
        optional(conclusion.decline_code()),
        optional(conclusion.psp_code()),
        optional(conclusion.reason()),
        conclusion.only_attempt().map_or(Value::Null, Value::Int32),
        uuid(event.event_id),
        text(event.topic),
        text(&event.key),
        text(&event.payload),
        Value::Jsonb(event.headers_json()),
    ];
    run(database, DECIDE, params).await?.map(|row| charge(&row)).transpose()
}

fn charge(row: &Row) -> Result<Charge, StoreError> {
    let optional = |name| row.optional_text(name).map(|text| text.map(str::to_owned));
    let request = match (row.get("amount")?, row.optional_text("currency")?, optional("method")?) {
        (Value::Int64(amount), Some(currency), Some(method)) => Some((
            u64::try_from(*amount).map_err(|_| unknown("amount"))?,
            currency.parse().map_err(|_| unknown("currency"))?,
            method,
        )),
        _ => None,
    };
    Ok(Charge {
        order_id: row.uuid("order_id")?,
        state: ChargeState::parse(row.text("state")?).ok_or_else(|| unknown("state"))?,
        request,
        payment_id: optional("payment_id")?,
        decline_code: optional("decline_code")?,
        reason: optional("reason")?,
        attempts: i32::try_from(row.integer("attempts")?).map_err(|_| unknown("attempts"))?,
        age_ms: row.integer("age_ms")?,
        created: row.boolean("created")?,
    })
}
