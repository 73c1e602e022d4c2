//! The orders database: port -> SQL and rows; no decisions. Invariant: each function is one statement, so each is one round trip and
//! all or nothing; what it may write is guarded by state and lease epoch in the statement itself.
//!
//! Leases and ages are reckoned with the database's clock, the only one that all hosts share.

use swiftcart_capabilities::postgres::{
    self, Database, Error, Row, RowError, RowExt, RowSet, Statement, Value, statement,
};
use uuid::Uuid;

use crate::error::StoreError;
use crate::model::{
    CREATE_ROUTE, Decision, Failure, Held, KEY_RETENTION_SECONDS, KeyChange, LEASE_SECONDS, Line,
    OUTBOX_RETENTION_SECONDS, Order, Refund, RefundState, SWEEP_GRACE_SECONDS, Settlement, State, Trace,
};
use crate::ports::{Due, KeyRecord, Placed, Placement, Position, Store};

/// Every column of an order and, as three arrays, its lines.
macro_rules! order_columns {
    () => {
        "o.id, o.user_id, o.state, o.version, o.currency, o.total_amount, o.payment_method, o.created_at, o.idempotency_key, \
         o.sealed_email, o.traceparent, o.tracestate, o.lease_epoch, o.answered_pending, o.failure_code, o.failure_message, o.refund_state, o.refund_amount, \
         l.skus, l.quantities, l.unit_prices"
    };
}

/// Joins the lines to `orders AS o`.
macro_rules! join_lines {
    () => {
        "CROSS JOIN LATERAL (
             SELECT array_agg(sku ORDER BY position) AS skus, array_agg(quantity::bigint ORDER BY position) AS quantities,
                    array_agg(unit_price ORDER BY position) AS unit_prices
             FROM order_lines WHERE order_id = o.id) AS l"
    };
}

/// A key that is too old counts as free even before it is deleted.
pub const PLACE: &str = "
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

/// Reading an answer is telling it: the first reader is marked in the same statement.
pub const FIND_KEY: &str = concat!(
    "
WITH told AS (
    UPDATE idempotency_keys SET told = true
    WHERE user_id = $1 AND route = $2 AND key = $3 AND fingerprint = $4 AND decision IS NOT NULL AND NOT told
      AND created_at >= now() - make_interval(secs => $5::float8)
    RETURNING 1
)
SELECT k.fingerprint, k.decision, k.trace_id, EXISTS (SELECT 1 FROM told) AS first_told,
       CASE WHEN o.lease_yielded OR o.lease_until <= now() THEN 0
            ELSE ceil(extract(epoch FROM o.lease_until - now()))::bigint END AS busy_seconds, ",
    order_columns!(),
    "
FROM idempotency_keys k JOIN orders o ON o.id = k.order_id ",
    join_lines!(),
    "
WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3 AND k.created_at >= now() - make_interval(secs => $5::float8)"
);

/// Only what nobody works on, and never what the buyer was told 202 about: that is the sweep's.
pub const TAKE_LEASE: &str = "
UPDATE orders
SET lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $3::float8), lease_yielded = false
WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2 AND NOT answered_pending AND (lease_yielded OR lease_until <= now())
RETURNING lease_epoch";

/// The sweep still waits for the end of the lease.
pub const YIELD_LEASE: &str = "
UPDATE orders SET lease_yielded = true WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

/// Ends the lease, so that the sweep comes after its grace.
pub const NOTE_PENDING: &str = "
UPDATE orders SET answered_pending = true, lease_until = now() WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

/// State, answer and event, or nothing. $15 is the key; $16 is null when the key is to be removed.
pub const DECIDE: &str = "
WITH decided AS (
    UPDATE orders
    SET state = $4::text, version = $5::bigint, decided_at = now(), decided_by = $6::text, failure_code = $7::text,
        failure_message = $8::text, payment_provider = $9::text, payment_id = $10::text, lease_until = NULL
    WHERE id = $1::uuid AND state = 'PENDING' AND lease_epoch = $2::bigint AND version = $3::bigint
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

/// Whoever owns it.
pub const READ: &str = concat!("SELECT ", order_columns!(), " FROM orders o ", join_lines!(), " WHERE o.id = $1");

/// Another user's order is no order.
pub const GET: &str =
    concat!("SELECT ", order_columns!(), " FROM orders o ", join_lines!(), " WHERE o.id = $1 AND o.user_id = $2");

/// Keyset pages over the index `orders_by_user`.
pub const LIST: &str = concat!(
    "SELECT ",
    order_columns!(),
    " FROM (
    SELECT * FROM orders
    WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::uuid) AND ($4::text IS NULL OR state = $4)
    ORDER BY created_at DESC, id DESC LIMIT $5::bigint) AS o ",
    join_lines!(),
    " ORDER BY o.created_at DESC, o.id DESC"
);

/// One at a time, so that no lease runs out behind a slow PSP; several hosts skip each other's.
pub const CLAIM_DUE: &str = concat!(
    "
WITH due AS (
    SELECT id FROM orders
    WHERE state = 'PENDING' AND lease_until < now() - make_interval(secs => $1::float8)
    ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED
), o AS (
    UPDATE orders
    SET lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $2::float8), lease_yielded = false,
        settle_attempts = settle_attempts + 1
    FROM due WHERE orders.id = due.id
    RETURNING orders.*
)
SELECT o.settle_attempts, ",
    order_columns!(),
    " FROM o ",
    join_lines!()
);

/// The grace of the sweep comes on top.
pub const POSTPONE: &str = "
UPDATE orders SET lease_until = now() + make_interval(secs => $3::float8) WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

/// Bounded: the oldest first.
pub const PURGE_KEYS: &str = "
DELETE FROM idempotency_keys
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1::float8)
    ORDER BY created_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED))";

/// Looks at the oldest rows only, so that it never reads the whole table.
pub const PURGE_OUTBOX: &str = "
DELETE FROM outbox
WHERE id = ANY (ARRAY(
    SELECT id FROM (SELECT id, published_at FROM outbox ORDER BY id LIMIT $2::bigint) AS oldest
    WHERE published_at < now() - make_interval(secs => $1::float8)))";

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

    fn purge(&self, limit: u32) -> Result<u32, StoreError> {
        let keys = self.run(statement(PURGE_KEYS, vec![seconds(KEY_RETENTION_SECONDS), limit.into()]))?;
        let events = self.run(statement(PURGE_OUTBOX, vec![seconds(OUTBOX_RETENTION_SECONDS), limit.into()]))?;
        Ok(u32::try_from(keys.rows_affected + events.rows_affected).unwrap_or(u32::MAX))
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
