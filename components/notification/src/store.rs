//! The port [`Store`] as SQL. Invariant: every method is one statement; no parameter ever holds an address.

use swiftcart_capabilities::kafka::Failure;
use swiftcart_capabilities::postgres::{Database, RowExt as _, Value, statement, uuid};

use crate::ports::{Begun, End, Store, Wanted};

/// The inbox's name of this consumer.
const CONSUMER: &str = "notification";
/// Rows per statement of the retention.
const PRUNE_BATCH: i64 = 1000;

// For any number of mails.
const BEGIN: &str = include_str!("store/begin.sql");

// For any number of mails.
const FINISH: &str = include_str!("store/finish.sql");

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
    fn begin(&self, wanted: &Wanted, message_id: &str) -> Result<Begun, Failure> {
        let mut params = named(wanted);
        params.push(message_id.into());
        let rows = self.0.run_coalesced(statement(BEGIN, params))?;
        let row = rows.only()?;
        Ok(if row.get("send")? { Begun::Send(row.get("message_id")?) } else { Begun::Over })
    }

    fn finish(&self, wanted: &Wanted, end: End) -> Result<(), Failure> {
        let mut params = named(wanted);
        let state = match end {
            End::Sent => "sent",
            End::Refused => "refused",
        };
        params.extend([state.into(), CONSUMER.into()]);
        self.0.run_coalesced(statement(FINISH, params))?;
        Ok(())
    }

    fn unaddressed(&self, wanted: &Wanted, message_id: &str) -> Result<(), Failure> {
        let mut params = named(wanted);
        params.extend([message_id.into(), CONSUMER.into()]);
        self.0.run(statement(UNADDRESSED, params))?;
        Ok(())
    }

    fn prune(&self) -> Result<u64, Failure> {
        Ok(self.0.run(statement(PRUNE, vec![PRUNE_BATCH.into()]))?.only()?.get("pruned")?)
    }
}
