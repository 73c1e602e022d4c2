//! The orders database: port -> SQL and rows; no decisions. Invariant: each function is one statement, so each is one round trip and
//! all or nothing; what it may write is guarded by state, and by lease epoch or version, in the statement itself.
//!
//! Leases and ages are reckoned with the database's clock, the only one that all hosts share.

use swiftcart_capabilities::postgres::{
    self, Database, Error, Row, RowError, RowExt, RowSet, Statement, Value, statement,
};
use uuid::Uuid;

mod sql;

pub use sql::*;

use crate::error::StoreError;
use crate::model::{
    CREATE_ROUTE, Decision, Failure, Held, INBOX_RETENTION_SECONDS, KEY_RETENTION_SECONDS, KeyChange, LEASE_SECONDS,
    Line, OUTBOX_RETENTION_SECONDS, Order, Payment, Refund, RefundFailed, RefundState, Refunded, Reversal,
    SWEEP_GRACE_SECONDS, Settlement, State, Trace,
};
use crate::ports::{Due, KeyRecord, Placed, Placement, Position, Store};

/// The inbox's name of this consumer.
const CONSUMER: &str = "order";

/// The store over the one database that the link grants.
pub struct PgStore<D>(pub D);

fn seconds(seconds: u32) -> Value {
    Value::Float64(f64::from(seconds))
}

fn id(id: Uuid) -> Value {
    postgres::uuid(id.to_string())
}

fn bigint(number: u64) -> Result<Value, StoreError> {
    i64::try_from(number).map(Value::Int64).map_err(|_| StoreError::Internal(format!("{number} is no bigint")))
}

fn text(text: Option<&str>) -> Value {
    Value::from(text)
}

/// What the database says, in the words of the port.
fn store_error(error: Error) -> StoreError {
    match error {
        Error::Unavailable(text) => StoreError::Unavailable(text),
        Error::Uncertain(text) => StoreError::Uncertain(text),
        Error::Invalid(text) => StoreError::Internal(text),
        Error::Conflict(violation) => StoreError::Internal(format!("constraint {}", violation.constraint)),
        Error::Stale(index) => StoreError::Internal(format!("statement {index} met another number of rows")),
    }
}

fn row_error(error: RowError) -> StoreError {
    StoreError::Internal(error.to_string())
}

impl<D: Database> PgStore<D> {
    fn run(&self, statement: Statement) -> Result<RowSet, StoreError> {
        self.0.run(statement).map_err(store_error)
    }
}

impl<D: Database> Store for PgStore<D> {
    fn place(&self, placement: &Placement) -> Result<Placed, StoreError> {
        let Held { order, payment_method, key, sealed_email, trace, .. } = &placement.held;
        let prices = order.lines.iter().map(|line| i64::try_from(line.unit_price)).collect::<Result<Vec<_>, _>>();
        let prices = prices.map_err(|_| StoreError::Internal("a unit price is no bigint".to_owned()))?;
        let place = statement(
            PLACE,
            vec![
                id(order.id),
                id(order.user_id),
                order.currency.as_str().into(),
                bigint(order.total_amount)?,
                payment_method.as_str().into(),
                postgres::timestamp(order.created_at),
                sealed_email.clone().into(),
                trace.parent.as_str().into(),
                text(trace.state.as_deref()),
                order.lines.iter().map(|line| line.sku.clone()).collect::<Vec<_>>().into(),
                order.lines.iter().map(|line| i64::from(line.quantity)).collect::<Vec<_>>().into(),
                prices.into(),
                CREATE_ROUTE.into(),
                text(key.as_deref()),
                placement.fingerprint.clone().into(),
                seconds(LEASE_SECONDS),
                seconds(KEY_RETENTION_SECONDS),
            ],
        );
        match self.0.run(place) {
            Ok(set) if set.rows.is_empty() => Ok(Placed::KeyTaken),
            Ok(_) => Ok(Placed::Ours),
            // The id is drawn for this placement: an earlier try of it was written after all.
            Err(Error::Conflict(violation)) if violation.constraint == "orders_pkey" => Ok(Placed::Ours),
            Err(error) => Err(store_error(error)),
        }
    }

    fn find_key(&self, user_id: Uuid, key: &str, fingerprint: &[u8]) -> Result<Option<KeyRecord>, StoreError> {
        let params = vec![
            id(user_id),
            CREATE_ROUTE.into(),
            key.into(),
            fingerprint.to_vec().into(),
            seconds(KEY_RETENTION_SECONDS),
        ];
        let set = self.run(statement(FIND_KEY, params))?;
        set.first().map(|row| key_record(&row)).transpose()
    }

    fn take_lease(&self, order_id: Uuid, epoch: i64) -> Result<Option<i64>, StoreError> {
        let set = self.run(statement(TAKE_LEASE, vec![id(order_id), epoch.into(), seconds(LEASE_SECONDS)]))?;
        set.first().map(|row| row.get("lease_epoch").map_err(row_error)).transpose()
    }

    fn yield_lease(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError> {
        self.run(statement(YIELD_LEASE, vec![id(order_id), epoch.into()])).map(drop)
    }

    fn note_pending(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError> {
        self.run(statement(NOTE_PENDING, vec![id(order_id), epoch.into()])).map(drop)
    }

    fn decide(&self, settlement: &Settlement) -> Result<bool, StoreError> {
        let Settlement { order, epoch, by, payment, key, key_change, event, .. } = settlement;
        let (decision, trace_id, told) = match key_change {
            KeyChange::Answer { decision, trace_id, told } => (Some(decision.as_str()), Some(trace_id.as_str()), *told),
            KeyChange::None | KeyChange::Remove => (None, None, false),
        };
        let params = vec![
            id(order.id),
            (*epoch).into(),
            bigint(order.version.saturating_sub(1))?,
            order.state.as_str().into(),
            bigint(order.version)?,
            by.as_str().into(),
            text(order.failure.as_ref().map(|failure| failure.code.as_str())),
            text(order.failure.as_ref().map(|failure| failure.message.as_str())),
            text(payment.as_ref().map(|payment| payment.provider.as_str())),
            text(payment.as_ref().map(|payment| payment.payment_id.as_str())),
            id(event.event_id),
            event.topic.into(),
            event.payload.as_str().into(),
            postgres::jsonb(event.headers_json()),
            text(key.as_deref()),
            text(decision),
            text(trace_id),
            told.into(),
            CREATE_ROUTE.into(),
        ];
        Ok(!self.run(statement(DECIDE, params))?.rows.is_empty())
    }

    fn read(&self, order_id: Uuid) -> Result<Option<Held>, StoreError> {
        let set = self.run(statement(READ, vec![id(order_id)]))?;
        set.first().map(|row| held(&row)).transpose()
    }

    fn get(&self, user_id: Uuid, order_id: Uuid) -> Result<Option<Order>, StoreError> {
        let set = self.run(statement(GET, vec![id(order_id), id(user_id)]))?;
        set.first().map(|row| order(&row)).transpose()
    }

    fn list(
        &self,
        user_id: Uuid,
        after: Option<Position>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Vec<Order>, StoreError> {
        // Later than any order: 9999-12-31T23:59:59.999999Z.
        let after = after.unwrap_or(Position { created_at: 253_402_300_799_999_999, id: Uuid::max() });
        let params = vec![
            id(user_id),
            postgres::timestamp(after.created_at),
            id(after.id),
            text(state.map(State::as_str)),
            limit.into(),
        ];
        self.run(statement(LIST, params))?.iter().map(|row| order(&row)).collect()
    }

    fn claim_due(&self) -> Result<Option<Due>, StoreError> {
        let set = self.run(statement(CLAIM_DUE, vec![seconds(SWEEP_GRACE_SECONDS), seconds(LEASE_SECONDS)]))?;
        set.first()
            .map(|row| Ok(Due { held: held(&row)?, attempt: row.get("settle_attempts").map_err(row_error)? }))
            .transpose()
    }

    fn postpone(&self, order_id: Uuid, epoch: i64, wait_seconds: u32) -> Result<(), StoreError> {
        self.run(statement(POSTPONE, vec![id(order_id), epoch.into(), seconds(wait_seconds)])).map(drop)
    }

    fn reverse(&self, reversal: &Reversal, cause: Option<Uuid>) -> Result<bool, StoreError> {
        let Reversal { order, by, event } = reversal;
        let params = vec![
            id(order.id),
            bigint(order.version.saturating_sub(1))?,
            order.state.as_str().into(),
            bigint(order.version)?,
            by.as_str().into(),
            text(order.failure.as_ref().map(|failure| failure.code.as_str())),
            text(order.failure.as_ref().map(|failure| failure.message.as_str())),
            id(event.event_id),
            event.topic.into(),
            event.payload.as_str().into(),
            postgres::jsonb(event.headers_json()),
            CONSUMER.into(),
            cause.map_or(Value::Null, id),
        ];
        Ok(!self.run(statement(REVERSE, params))?.rows.is_empty())
    }

    fn refund(&self, refunded: &Refunded, version: u64, cause: Uuid) -> Result<bool, StoreError> {
        let params = vec![
            id(refunded.order_id),
            bigint(version)?,
            refunded.refund_id.as_str().into(),
            bigint(refunded.amount)?,
            CONSUMER.into(),
            id(cause),
        ];
        Ok(!self.run(statement(REFUND, params))?.rows.is_empty())
    }

    fn fail_refund(&self, failed: &RefundFailed, version: u64, cause: Uuid) -> Result<bool, StoreError> {
        let params = vec![
            id(failed.order_id),
            bigint(version)?,
            text(failed.refund_id.as_deref()),
            bigint(failed.amount)?,
            CONSUMER.into(),
            id(cause),
        ];
        Ok(!self.run(statement(FAIL_REFUND, params))?.rows.is_empty())
    }

    fn note_event(&self, cause: Uuid) -> Result<(), StoreError> {
        self.run(statement(NOTE_EVENT, vec![CONSUMER.into(), id(cause)])).map(drop)
    }

    fn purge(&self, limit: u32) -> Result<u32, StoreError> {
        let mut purged = 0;
        for (sql, age) in [
            (PURGE_KEYS, KEY_RETENTION_SECONDS),
            (PURGE_OUTBOX, OUTBOX_RETENTION_SECONDS),
            (PURGE_INBOX, INBOX_RETENTION_SECONDS),
        ] {
            purged += self.run(statement(sql, vec![seconds(age), limit.into()]))?.rows_affected;
        }
        Ok(u32::try_from(purged).unwrap_or(u32::MAX))
    }
}

fn uuid_of(row: &Row<'_>, column: &str) -> Result<Uuid, StoreError> {
    let text: String = row.get(column).map_err(row_error)?;
    Uuid::try_parse(&text).map_err(|_| StoreError::Internal(format!("column `{column}` is no uuid")))
}

fn lines(row: &Row<'_>) -> Result<Vec<Line>, StoreError> {
    let skus: Option<Vec<String>> = row.get("skus").map_err(row_error)?;
    let quantities: Option<Vec<i64>> = row.get("quantities").map_err(row_error)?;
    let prices: Option<Vec<i64>> = row.get("unit_prices").map_err(row_error)?;
    let (skus, quantities, prices) =
        (skus.unwrap_or_default(), quantities.unwrap_or_default(), prices.unwrap_or_default());
    skus.into_iter()
        .zip(quantities)
        .zip(prices)
        .map(|((sku, quantity), unit_price)| {
            let bad = || StoreError::Internal(format!("line of `{sku}` is out of range"));
            let quantity = u32::try_from(quantity).map_err(|_| bad())?;
            let unit_price = u64::try_from(unit_price).map_err(|_| bad())?;
            Ok(Line { sku, quantity, unit_price })
        })
        .collect()
}

fn order(row: &Row<'_>) -> Result<Order, StoreError> {
    let column = |name: &str| StoreError::Internal(format!("column `{name}` holds something unknown"));
    let state: String = row.get("state").map_err(row_error)?;
    let currency: String = row.get("currency").map_err(row_error)?;
    let failure_code: Option<String> = row.get("failure_code").map_err(row_error)?;
    let failure_message: Option<String> = row.get("failure_message").map_err(row_error)?;
    let refund_state: Option<String> = row.get("refund_state").map_err(row_error)?;
    let refund_amount: Option<u64> = row.get("refund_amount").map_err(row_error)?;
    let refund = refund_state
        .zip(refund_amount)
        .map(|(state, amount)| {
            RefundState::parse(&state).map(|state| Refund { state, amount }).ok_or_else(|| column("refund_state"))
        })
        .transpose()?;
    Ok(Order {
        id: uuid_of(row, "id")?,
        user_id: uuid_of(row, "user_id")?,
        state: State::parse(&state).ok_or_else(|| column("state"))?,
        lines: lines(row)?,
        total_amount: row.get("total_amount").map_err(row_error)?,
        currency: currency.parse().map_err(|_| column("currency"))?,
        created_at: row.get("created_at").map_err(row_error)?,
        version: row.get("version").map_err(row_error)?,
        failure: failure_code.map(|code| Failure { code, message: failure_message.unwrap_or_default() }),
        refund,
    })
}

fn held(row: &Row<'_>) -> Result<Held, StoreError> {
    Ok(Held {
        order: order(row)?,
        payment_method: row.get("payment_method").map_err(row_error)?,
        key: row.get("idempotency_key").map_err(row_error)?,
        sealed_email: row.get("sealed_email").map_err(row_error)?,
        trace: Trace {
            parent: row.get("traceparent").map_err(row_error)?,
            state: row.get("tracestate").map_err(row_error)?,
        },
        epoch: row.get("lease_epoch").map_err(row_error)?,
        answered_pending: row.get("answered_pending").map_err(row_error)?,
        refund_id: row.get("refund_id").map_err(row_error)?,
        payment: row
            .get::<Option<String>>("payment_provider")
            .map_err(row_error)?
            .zip(row.get::<Option<String>>("payment_id").map_err(row_error)?)
            .map(|(provider, payment_id)| Payment { provider, payment_id }),
    })
}

fn key_record(row: &Row<'_>) -> Result<KeyRecord, StoreError> {
    let decision: Option<String> = row.get("decision").map_err(row_error)?;
    let trace_id: Option<String> = row.get("trace_id").map_err(row_error)?;
    let decision: Option<Decision> = decision
        .map(|text| {
            serde_json::from_str(&text).map_err(|error| StoreError::Internal(format!("stored answer: {error}")))
        })
        .transpose()?;
    Ok(KeyRecord {
        fingerprint: row.get("fingerprint").map_err(row_error)?,
        answer: decision.map(|decision| (decision, trace_id.unwrap_or_default())),
        first_told: row.get("first_told").map_err(row_error)?,
        held: held(row)?,
        busy_seconds: row.get::<Option<u32>>("busy_seconds").map_err(row_error)?.unwrap_or(0),
    })
}
