//! Rows to values, and the one type that sqlx is built without. Invariant: a column that holds something unknown is an error that names it.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, Postgres};
use sqlx::{Encode, Row as _, Type};

use super::StoreError;
use crate::model::{Decision, Failure, Held, KeyRecord, Line, Order, State, Trace};
use crate::payments::{Charge, ChargeState};

/// Microseconds since 1970-01-01T00:00:00Z as a `timestamptz`.
pub(crate) struct Timestamp(pub(crate) i64);

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_2000_US: i64 = 946_684_800_000_000;
/// `timestamptz` in PostgreSQL's catalog of types.
const TIMESTAMPTZ: Oid = Oid(1184);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.0.saturating_sub(EPOCH_2000_US), buffer)
    }
}

/// A column of a row.
pub(crate) fn column<'r, T>(row: &'r PgRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(name).map_err(|error| StoreError::Internal(error.to_string()))
}

fn unknown(column: &str) -> StoreError {
    StoreError::Internal(format!("column `{column}` holds something unknown"))
}

fn lines(row: &PgRow) -> Result<Vec<Line>, StoreError> {
    let skus: Option<Vec<String>> = column(row, "skus")?;
    let quantities: Option<Vec<i64>> = column(row, "quantities")?;
    let prices: Option<Vec<i64>> = column(row, "unit_prices")?;
    let rows = skus.unwrap_or_default().into_iter().zip(quantities.unwrap_or_default()).zip(prices.unwrap_or_default());
    rows.map(|((sku, quantity), unit_price)| {
        let quantity = u32::try_from(quantity).map_err(|_| unknown("quantity"))?;
        let unit_price = u64::try_from(unit_price).map_err(|_| unknown("unit_price"))?;
        Ok(Line { sku, quantity, unit_price })
    })
    .collect()
}

/// An order with what a run needs to go on with it.
pub(crate) fn held(row: &PgRow) -> Result<Held, StoreError> {
    let failure_code: Option<String> = column(row, "failure_code")?;
    let failure_message: Option<String> = column(row, "failure_message")?;
    let order = Order {
        id: column(row, "id")?,
        user_id: column(row, "user_id")?,
        state: State::parse(column(row, "state")?).ok_or_else(|| unknown("state"))?,
        lines: lines(row)?,
        total_amount: u64::try_from(column::<i64>(row, "total_amount")?).map_err(|_| unknown("total_amount"))?,
        currency: column::<&str>(row, "currency")?.parse().map_err(|_| unknown("currency"))?,
        created_at: column(row, "created_at_us")?,
        version: column(row, "version")?,
        failure: failure_code.map(|code| Failure { code, message: failure_message.unwrap_or_default() }),
    };
    Ok(Held {
        order,
        payment_method: column(row, "payment_method")?,
        key: column(row, "idempotency_key")?,
        sealed_email: column(row, "sealed_email")?,
        trace: Trace { parent: column(row, "traceparent")?, state: column(row, "tracestate")? },
        epoch: column(row, "lease_epoch")?,
        answered_pending: column(row, "answered_pending")?,
    })
}

/// What is known under an idempotency key.
pub(crate) fn key_record(row: &PgRow) -> Result<KeyRecord, StoreError> {
    let decision: Option<&str> = column(row, "decision")?;
    let trace_id: Option<String> = column(row, "trace_id")?;
    let decision: Option<Decision> =
        decision.map(|text| serde_json::from_str(text).map_err(|_| unknown("decision"))).transpose()?;
    Ok(KeyRecord {
        fingerprint: column(row, "fingerprint")?,
        answer: decision.map(|decision| (decision, trace_id.unwrap_or_default())),
        first_told: column(row, "first_told")?,
        held: held(row)?,
        busy_seconds: column::<Option<i64>>(row, "busy_seconds")?.unwrap_or(0),
    })
}

/// A row of the table `payments`.
pub(crate) fn charge(row: &PgRow) -> Result<Charge, StoreError> {
    let amount: Option<i64> = column(row, "amount")?;
    let currency: Option<&str> = column(row, "currency")?;
    let method: Option<String> = column(row, "method")?;
    let request = match (amount, currency, method) {
        (Some(amount), Some(currency), Some(method)) => Some((
            u64::try_from(amount).map_err(|_| unknown("amount"))?,
            currency.parse().map_err(|_| unknown("currency"))?,
            method,
        )),
        _ => None,
    };
    Ok(Charge {
        order_id: column(row, "order_id")?,
        state: ChargeState::parse(column(row, "state")?).ok_or_else(|| unknown("state"))?,
        request,
        payment_id: column(row, "payment_id")?,
        decline_code: column(row, "decline_code")?,
        reason: column(row, "reason")?,
        attempts: column(row, "attempts")?,
        age_ms: column(row, "age_ms")?,
        created: column(row, "created")?,
    })
}
