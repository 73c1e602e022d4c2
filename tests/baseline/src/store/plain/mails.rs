//! The writes of the notifications database, each one statement. Invariant: no parameter ever holds an address.

use swiftcart_provider_postgres::Postgres;

use super::super::row::column;
use super::super::{StoreError, Wanted};
use super::{run, run_one};

/// The inbox's name of this consumer.
const CONSUMER: &str = "notification";

const BEGIN: &str =
    "INSERT INTO mails AS m (order_id, kind, event_id, state, message_id) VALUES ($1, $2, $3, 'sending', $4)
    ON CONFLICT (order_id, kind) DO UPDATE SET
        state = CASE m.state WHEN 'refused' THEN 'sending' ELSE m.state END,
        attempts = m.attempts + (m.state IN ('sending', 'refused'))::int,
        updated_at = now()
    RETURNING m.state = 'sending' AS send, m.message_id";

const FINISH: &str = "WITH marked AS (
        UPDATE mails SET state = $4::text, updated_at = now() WHERE order_id = $1 AND kind = $2 AND state = 'sending'
    )
    INSERT INTO inbox (consumer, event_id) SELECT $5, $3::uuid WHERE $4::text = 'sent' ON CONFLICT DO NOTHING";

pub(super) async fn begin(
    database: &Postgres,
    wanted: &Wanted,
    message_id: &str,
) -> Result<Option<String>, StoreError> {
    let query = sqlx::query(BEGIN).bind(wanted.order_id).bind(wanted.kind).bind(wanted.event_id).bind(message_id);
    let row = run_one(database, query).await?;
    let send: bool = column(&row, "send")?;
    let message_id: String = column(&row, "message_id")?;
    Ok(send.then_some(message_id))
}

pub(super) async fn finish(database: &Postgres, wanted: &Wanted, sent: bool) -> Result<(), StoreError> {
    let state = if sent { "sent" } else { "refused" };
    let query =
        sqlx::query(FINISH).bind(wanted.order_id).bind(wanted.kind).bind(wanted.event_id).bind(state).bind(CONSUMER);
    run(database, query).await.map(drop)
}
