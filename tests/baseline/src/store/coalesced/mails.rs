//! The writes of the notifications database, for any number of calls. Invariant: no parameter ever holds an address.

use swiftcart_provider_postgres::Postgres;

use super::super::{StoreError, Wanted};
use super::{missing, run, text, uuid};

/// The inbox's name of this consumer.
const CONSUMER: &str = "notification";

pub(super) const BEGIN: &str = "WITH calls AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) WITH ORDINALITY AS c (order_id, kind, event_id, message_id, call)
    ), begun AS (
        INSERT INTO mails AS m (order_id, kind, event_id, state, message_id)
        SELECT order_id, kind, event_id, 'sending', message_id FROM calls ORDER BY order_id, kind
        ON CONFLICT (order_id, kind) DO UPDATE SET
            state = CASE m.state WHEN 'refused' THEN 'sending' ELSE m.state END,
            attempts = m.attempts + (m.state IN ('sending', 'refused'))::int,
            updated_at = now()
        RETURNING m.order_id, m.kind, m.state = 'sending' AS send, m.message_id
    )
    SELECT c.call, b.send, b.message_id FROM calls c JOIN begun b ON b.order_id = c.order_id AND b.kind = c.kind";

pub(super) const FINISH: &str = "WITH calls AS (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[])
            WITH ORDINALITY AS c (order_id, kind, event_id, state, consumer, call)
    ), marked AS (
        UPDATE mails m SET state = c.state, updated_at = now() FROM calls c
        WHERE m.order_id = c.order_id AND m.kind = c.kind AND m.state = 'sending'
    ), noted AS (
        INSERT INTO inbox (consumer, event_id)
        SELECT consumer, event_id FROM calls WHERE state = 'sent' ORDER BY event_id ON CONFLICT DO NOTHING
    )
    SELECT call FROM calls";

pub(super) async fn begin(
    database: &Postgres,
    wanted: &Wanted,
    message_id: &str,
) -> Result<Option<String>, StoreError> {
    let params = vec![uuid(wanted.order_id), text(wanted.kind), uuid(wanted.event_id), text(message_id)];
    let row = run(database, BEGIN, params).await?.ok_or_else(missing)?;
    Ok(if row.boolean("send")? { Some(row.text("message_id")?.to_owned()) } else { None })
}

pub(super) async fn finish(database: &Postgres, wanted: &Wanted, sent: bool) -> Result<(), StoreError> {
    let state = if sent { "sent" } else { "refused" };
    let params = vec![uuid(wanted.order_id), text(wanted.kind), uuid(wanted.event_id), text(state), text(CONSUMER)];
    run(database, FINISH, params).await.map(drop)
}
