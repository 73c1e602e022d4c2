//! The writes of the payments database, for any number of calls.

use swiftcart_domain::outbox::OutboxEvent;
use swiftcart_provider_postgres::{Postgres, Value};
use uuid::Uuid;

use super::super::{StoreError, bigint};
use super::{Row, missing, run, text, unknown, uuid};
use crate::model::Order;
use crate::payments::{Charge, ChargeState, Conclusion};

pub(super) const BEGIN: &str = include_str!("../../../../../components/payment/src/store/begin.sql");

/// No row means that the payment was decided before.
pub(super) const DECIDE: &str = include_str!("../../../../../components/payment/src/store/decide.sql");

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
