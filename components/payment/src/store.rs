//! The port [`Store`] as SQL. Invariant: whatever a method writes is one statement; a decision and its event are written together, and only on an open row.

mod refunds;

use swiftcart_capabilities::postgres::{self, Database, Row, RowExt as _, Value, statement, uuid};
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, Decision, Record, State, shown_code};
use crate::ports::Store;
use crate::refund::{Refund, RefundEnd, RefundNote};

/// Rows per statement of the retention.
const PRUNE_BATCH: i64 = 1000;

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

// For any number of charges. `xmax = 0` holds for a row that was inserted, not updated, by this statement.
const BEGIN: &str = include_str!("store/begin.sql");

const BEGIN_SETTLE: &str = concat!(
    "INSERT INTO payments AS p (order_id, state, reason) VALUES ($1, 'unavailable', 'no charge was begun')
    ON CONFLICT (order_id) DO UPDATE SET attempts = p.attempts + (p.state IN ('started', 'unknown'))::int, updated_at = now()
    RETURNING ",
    columns!("false")
);

// For any number of decisions. No row means that the payment was decided before. Which states are open is asked with a value, so that a payment is
// reached by its order and never by going through all that are open.
const DECIDE: &str = include_str!("store/decide.sql");

const FIND: &str = concat!("SELECT ", columns!("false"), " FROM payments p WHERE order_id = $1");

const NOTE_UNKNOWN: &str =
    "UPDATE payments SET state = 'unknown', reason = $2, payment_id = COALESCE($3, payment_id), updated_at = now()
    WHERE order_id = $1 AND state IN ('started', 'unknown')";

const FIND_BY_PAYMENT: &str = concat!("SELECT ", columns!("false"), " FROM payments p WHERE payment_id = $1 LIMIT 1");

// Settling touches a row, so one that its order's sweep looks after is never this old.
const TAKE_FORGOTTEN: &str = "UPDATE payments SET updated_at = now() WHERE order_id = (
        SELECT order_id FROM payments WHERE state IN ('started', 'unknown') AND updated_at <= now() - interval '15 minutes'
        ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING order_id";

// The inbox outlives every redelivery (Kafka keeps topics for days, the PSP delivers for three), published events every question about them.
const PRUNE: &str = "WITH sent AS (
        DELETE FROM outbox WHERE ctid IN (SELECT ctid FROM outbox WHERE published_at <= now() - interval '7 days' LIMIT $1) RETURNING 1
    ), events AS (
        DELETE FROM inbox WHERE ctid IN (SELECT ctid FROM inbox WHERE received_at <= now() - interval '30 days' LIMIT $1) RETURNING 1
    ), heard AS (
        DELETE FROM webhook_events WHERE ctid IN (SELECT ctid FROM webhook_events WHERE received_at <= now() - interval '30 days' LIMIT $1)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM sent) + (SELECT count(*) FROM events) + (SELECT count(*) FROM heard) AS pruned";

/// The store over a database.
#[derive(Clone, Copy, Debug)]
pub struct Sql<D>(pub D);

impl<D: Database> Store for Sql<D> {
    fn begin(&self, charge: &Charge) -> Result<Record, Error> {
        let amount = i64::try_from(charge.amount)
            .map_err(|_| Error::Internal(format!("amount {} does not fit a bigint", charge.amount)))?;
        let params =
            vec![uuid(charge.order_id), amount.into(), charge.currency.as_str().into(), charge.method.as_str().into()];
        record(&self.0.run_coalesced(statement(BEGIN, params))?.only()?)
    }

    fn begin_settle(&self, order_id: Uuid) -> Result<Record, Error> {
        record(&self.0.run(statement(BEGIN_SETTLE, vec![uuid(order_id)]))?.only()?)
    }

    fn decide(&self, order_id: Uuid, decision: &Decision, event: &OutboxEvent) -> Result<Record, Error> {
        let (code, psp_code, reason, only_attempt) = match decision {
            Decision::Succeeded { .. } => (None, None, None, None),
            Decision::Declined { psp_code, .. } => (Some(shown_code(psp_code)), Some(psp_code.as_str()), None, None),
            Decision::Unavailable { reason, only_attempt } => (None, None, Some(reason.as_str()), *only_attempt),
        };
        let decide = statement(
            DECIDE,
            vec![
                uuid(order_id),
                decision.state().as_str().into(),
                decision.payment_id().into(),
                code.into(),
                psp_code.into(),
                reason.into(),
                only_attempt.into(),
                uuid(event.event_id),
                event.topic.into(),
                event.key.as_str().into(),
                event.payload.as_str().into(),
                postgres::jsonb(event.headers_json()),
            ],
        );
        match self.0.run_coalesced(decide)?.first() {
            Some(row) => record(&row),
            // Somebody else decided it, and that is what counts. Asked for afterwards, so that a decision made meanwhile is seen.
            None => record(&self.0.run(statement(FIND, vec![uuid(order_id)]))?.only()?),
        }
    }

    fn note_unknown(&self, order_id: Uuid, reason: &str, payment_id: Option<&str>) -> Result<(), Error> {
        self.0.run(statement(NOTE_UNKNOWN, vec![uuid(order_id), reason.into(), payment_id.into()]))?;
        Ok(())
    }

    fn find(&self, order_id: Uuid) -> Result<Option<Record>, Error> {
        self.0.run(statement(FIND, vec![uuid(order_id)]))?.first().map(|row| record(&row)).transpose()
    }

    fn find_by_payment(&self, payment_id: &str) -> Result<Option<Record>, Error> {
        self.0.run(statement(FIND_BY_PAYMENT, vec![payment_id.into()]))?.first().map(|row| record(&row)).transpose()
    }

    fn take_forgotten(&self) -> Result<Option<Uuid>, Error> {
        let rows = self.0.run(statement(TAKE_FORGOTTEN, Vec::new()))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let order_id: String = row.get("order_id")?;
        Uuid::try_parse(&order_id).map(Some).map_err(|_| Error::Internal("column `order_id` is no UUID".to_owned()))
    }

    fn want_refund(&self, order_id: Uuid, event_id: Uuid) -> Result<(), Error> {
        self.0.run(refunds::want(order_id, event_id))?;
        Ok(())
    }

    fn want_refund_of(&self, order_id: Uuid, payment_id: &str) -> Result<(), Error> {
        self.0.run(refunds::want_of(order_id, payment_id))?;
        Ok(())
    }

    fn take_refund(&self, order_id: Uuid) -> Result<Option<Refund>, Error> {
        self.0.run(refunds::take(order_id))?.first().map(|row| refunds::refund(&row)).transpose()
    }

    fn take_due_refund(&self) -> Result<Option<Refund>, Error> {
        self.0.run(refunds::take_due())?.first().map(|row| refunds::refund(&row)).transpose()
    }

    fn find_refund(&self, order_id: Uuid) -> Result<Option<Refund>, Error> {
        self.0.run(refunds::find(order_id))?.first().map(|row| refunds::refund(&row)).transpose()
    }

    fn note_refund(&self, order_id: Uuid, note: &RefundNote) -> Result<(), Error> {
        self.0.run(refunds::note(order_id, note))?;
        Ok(())
    }

    fn end_refund(&self, order_id: Uuid, end: &RefundEnd, event: Option<&OutboxEvent>) -> Result<bool, Error> {
        Ok(self.0.run(refunds::end(order_id, end, event)?)?.first().is_some())
    }

    fn webhook_seen(&self, event_id: &str) -> Result<bool, Error> {
        Ok(self.0.run(statement(refunds::WEBHOOK_SEEN, vec![event_id.into()]))?.only()?.get("seen")?)
    }

    fn note_webhook(&self, event_id: &str, event_type: &str) -> Result<(), Error> {
        self.0.run(statement(refunds::NOTE_WEBHOOK, vec![event_id.into(), event_type.into()]))?;
        Ok(())
    }

    fn prune(&self) -> Result<u64, Error> {
        Ok(self.0.run(statement(PRUNE, vec![Value::Int64(PRUNE_BATCH)]))?.only()?.get("pruned")?)
    }
}

fn record(row: &Row<'_>) -> Result<Record, Error> {
    let order_id: String = row.get("order_id")?;
    let order_id =
        Uuid::try_parse(&order_id).map_err(|_| Error::Internal("column `order_id` is no UUID".to_owned()))?;
    let state: String = row.get("state")?;
    let state = State::parse(&state).ok_or_else(|| Error::Internal(format!("column `state` is {state}")))?;
    let charge = match (
        row.get::<Option<u64>>("amount")?,
        row.get::<Option<String>>("currency")?,
        row.get::<Option<String>>("method")?,
    ) {
        (Some(amount), Some(currency), Some(method)) => {
            let currency = currency.parse().map_err(|_| Error::Internal("column `currency` is none".to_owned()))?;
            Some(Charge { order_id, amount, currency, method })
        }
        _ => None,
    };
    Ok(Record {
        order_id,
        state,
        charge,
        payment_id: row.get("payment_id")?,
        decline_code: row.get("decline_code")?,
        reason: row.get("reason")?,
        attempts: row.get("attempts")?,
        age_ms: u64::try_from(row.get::<i64>("age_ms")?).unwrap_or(0),
        created: row.get("created")?,
    })
}
