//! The port [`Store`] as SQL. Invariant: every method is one statement; no parameter ever holds an address.

use swiftcart_capabilities::postgres::{Database, RowExt as _, Value, statement, uuid};

use crate::error::Error;
use crate::ports::{Begun, End, Store, Wanted};

/// The inbox's name of this consumer.
const CONSUMER: &str = "notification";
/// Rows per statement of the retention.
const PRUNE_BATCH: i64 = 1000;

// For any number of mails.
const BEGIN: &str = "WITH calls AS (
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

// For any number of mails.
const FINISH: &str = "WITH calls AS (
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

const UNADDRESSED: &str = "WITH noted AS (
        INSERT INTO mails (order_id, kind, event_id, state, message_id) VALUES ($1, $2, $3, 'unaddressed', $4) ON CONFLICT DO NOTHING
    )
    INSERT INTO inbox (consumer, event_id) VALUES ($5, $3) ON CONFLICT DO NOTHING";

// Longer than Kafka keeps a topic. The rows of mails stay: they are what bars a second mail.
const PRUNE: &str = "WITH events AS (
        DELETE FROM inbox WHERE ctid IN (SELECT ctid FROM inbox WHERE received_at <= now() - interval '30 days' LIMIT $1) RETURNING 1
    )
    SELECT count(*) AS pruned FROM events";

/// The store over a database.
#[derive(Clone, Copy, Debug)]
pub struct Sql<D>(pub D);

fn named(wanted: &Wanted) -> Vec<Value> {
    vec![uuid(wanted.order_id), wanted.kind.as_str().into(), uuid(wanted.event_id)]
}

impl<D: Database> Store for Sql<D> {
    fn begin(&self, wanted: &Wanted, message_id: &str) -> Result<Begun, Error> {
        let mut params = named(wanted);
        params.push(message_id.into());
        let rows = self.0.run_coalesced(statement(BEGIN, params))?;
        let row = rows.only()?;
        Ok(if row.get("send")? { Begun::Send(row.get("message_id")?) } else { Begun::Over })
    }

    fn finish(&self, wanted: &Wanted, end: End) -> Result<(), Error> {
        let mut params = named(wanted);
        let state = match end {
            End::Sent => "sent",
            End::Refused => "refused",
        };
        params.extend([state.into(), CONSUMER.into()]);
        self.0.run_coalesced(statement(FINISH, params))?;
        Ok(())
    }

    fn unaddressed(&self, wanted: &Wanted, message_id: &str) -> Result<(), Error> {
        let mut params = named(wanted);
        params.extend([message_id.into(), CONSUMER.into()]);
        self.0.run(statement(UNADDRESSED, params))?;
        Ok(())
    }

    fn prune(&self) -> Result<u64, Error> {
        Ok(self.0.run(statement(PRUNE, vec![PRUNE_BATCH.into()]))?.only()?.get("pruned")?)
    }
}
