//! Refunds, the inbox and the PSP's events as SQL. Invariant: every statement is a transaction of its own; only a pending refund is taken up, by one
//! caller at a time, and only an undecided one ends.

use swiftcart_capabilities::postgres::{self, Row, Statement, Value, statement, uuid};
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::refund::{Refund, RefundEnd, RefundNote, RefundState};

/// The inbox's name of this consumer.
const CONSUMER: &str = "payment";

const WANT: &str = "WITH handled AS (
        INSERT INTO inbox (consumer, event_id) VALUES ($2, $3) ON CONFLICT DO NOTHING
    )
    INSERT INTO refunds (order_id, payment_id)
    SELECT order_id, CASE state WHEN 'succeeded' THEN payment_id END FROM payments
    WHERE order_id = $1 AND state IN ('started', 'unknown', 'succeeded')
    ON CONFLICT (order_id) DO NOTHING";

// Of a charge that our books hold for none. A void one was given up for want of this very charge.
const WANT_OF: &str = "INSERT INTO refunds AS r (order_id, payment_id) VALUES ($1, $2)
    ON CONFLICT (order_id) DO UPDATE SET state = 'pending', payment_id = $2, next_try_at = now(), updated_at = now()
    WHERE r.state = 'void'";

macro_rules! columns {
    () => {
        "r.order_id, r.state, r.payment_id, r.refund_id, r.key_number, r.attempts"
    };
}

// The lease is longer than one try can take; what dies with it is taken up again afterwards.
const TAKE: &str = concat!(
    "UPDATE refunds AS r SET attempts = r.attempts + 1, next_try_at = now() + interval '20 seconds', updated_at = now()
    WHERE r.order_id = $1 AND r.state = 'pending' AND r.next_try_at <= now()
    RETURNING ",
    columns!()
);

const TAKE_DUE: &str = concat!(
    "UPDATE refunds AS r SET attempts = r.attempts + 1, next_try_at = now() + interval '20 seconds', updated_at = now()
    WHERE r.order_id = (
        SELECT order_id FROM refunds WHERE state = 'pending' AND next_try_at <= now() ORDER BY next_try_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING ",
    columns!()
);

const FIND: &str = concat!("SELECT ", columns!(), " FROM refunds r WHERE r.order_id = $1");

// Waits 2, 4, 8, ... seconds, at most five minutes.
const NOTE: &str =
    "UPDATE refunds SET reason = $2, refund_id = COALESCE($3, refund_id), key_number = $4, updated_at = now(),
        next_try_at = now() + interval '1 second' * least(300, power(2, least(attempts, 9)))
    WHERE order_id = $1 AND state = 'pending'";

const SUCCEED: &str = "WITH done AS (
        UPDATE refunds SET state = 'succeeded', refund_id = $2, amount = $3, reason = NULL, updated_at = now()
        WHERE order_id = $1 AND state IN ('pending', 'failed') RETURNING order_id
    ), told AS (
        INSERT INTO outbox (event_id, topic, key, payload, headers)
        SELECT $4, $5, $6, $7, $8 FROM done WHERE $4::uuid IS NOT NULL ON CONFLICT (event_id) DO NOTHING
    )
    SELECT order_id FROM done";

const FAIL: &str = "WITH done AS (
        UPDATE refunds SET state = 'failed', refund_id = COALESCE($2, refund_id), reason = $3, updated_at = now()
        WHERE order_id = $1 AND state IN ('pending', 'succeeded') RETURNING order_id
    ), told AS (
        INSERT INTO outbox (event_id, topic, key, payload, headers)
        SELECT $4, $5, $6, $7, $8 FROM done WHERE $4::uuid IS NOT NULL ON CONFLICT (event_id) DO NOTHING
    )
    SELECT order_id FROM done";

const VOID: &str = "UPDATE refunds SET state = 'void', reason = $2, updated_at = now()
    WHERE order_id = $1 AND state = 'pending' AND payment_id IS NULL RETURNING order_id";

pub(super) const WEBHOOK_SEEN: &str = "SELECT EXISTS (SELECT 1 FROM webhook_events WHERE event_id = $1) AS seen";

pub(super) const NOTE_WEBHOOK: &str =
    "INSERT INTO webhook_events (event_id, event_type) VALUES ($1, $2) ON CONFLICT (event_id) DO NOTHING";

pub(super) fn want(order_id: Uuid, event_id: Uuid) -> Statement {
    statement(WANT, vec![uuid(order_id), CONSUMER.into(), uuid(event_id)])
}

pub(super) fn want_of(order_id: Uuid, payment_id: &str) -> Statement {
    statement(WANT_OF, vec![uuid(order_id), payment_id.into()])
}

pub(super) fn take(order_id: Uuid) -> Statement {
    statement(TAKE, vec![uuid(order_id)])
}

pub(super) fn take_due() -> Statement {
    statement(TAKE_DUE, Vec::new())
}

pub(super) fn find(order_id: Uuid) -> Statement {
    statement(FIND, vec![uuid(order_id)])
}

pub(super) fn note(order_id: Uuid, note: &RefundNote) -> Statement {
    let refund_id = note.refund_id.as_deref();
    statement(NOTE, vec![uuid(order_id), note.reason.as_str().into(), refund_id.into(), note.key_number.into()])
}

pub(super) fn end(order_id: Uuid, end: &RefundEnd, event: Option<&OutboxEvent>) -> Result<Statement, Error> {
    Ok(match end {
        RefundEnd::Succeeded { refund_id, amount } => {
            let amount = i64::try_from(*amount)
                .map_err(|_| Error::Internal(format!("amount {amount} does not fit a bigint")))?;
            told(SUCCEED, vec![uuid(order_id), refund_id.as_str().into(), amount.into()], event)
        }
        RefundEnd::Failed { refund_id, reason } => {
            told(FAIL, vec![uuid(order_id), refund_id.as_deref().into(), reason.as_str().into()], event)
        }
        RefundEnd::Void { reason } => statement(VOID, vec![uuid(order_id), reason.as_str().into()]),
    })
}

/// A statement whose parameters end with an event, or with nulls for none.
fn told(sql: &str, mut params: Vec<Value>, event: Option<&OutboxEvent>) -> Statement {
    params.extend([
        event.map_or(Value::Null, |event| uuid(event.event_id)),
        event.map(|event| event.topic).into(),
        event.map(|event| event.key.as_str()).into(),
        event.map(|event| event.payload.as_str()).into(),
        event.map_or(Value::Null, |event| postgres::jsonb(event.headers_json())),
    ]);
    statement(sql, params)
}

pub(super) fn refund(row: &Row<'_>) -> Result<Refund, Error> {
    let order_id: String = row.get("order_id")?;
    let order_id =
        Uuid::try_parse(&order_id).map_err(|_| Error::Internal("column `order_id` is no UUID".to_owned()))?;
    let state: String = row.get("state")?;
    let state = RefundState::parse(&state).ok_or_else(|| Error::Internal(format!("column `state` is {state}")))?;
    Ok(Refund {
        order_id,
        state,
        payment_id: row.get("payment_id")?,
        refund_id: row.get("refund_id")?,
        key_number: row.get("key_number")?,
        attempts: row.get("attempts")?,
    })
}
