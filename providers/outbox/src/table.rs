//! The outbox table: all SQL of this crate. Invariant: the only thing put into the text of a statement is a table name
//! that [`crate::Config`] has validated.

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::error::Error;
use crate::row::Row;

/// How long any statement may take here; after that the connection is given up, and the lock with it.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// The backlog is counted up to here: enough to see that something is wrong, cheap when it is.
const MAX_COUNTED: i64 = 10_000;

/// How much waits to be published.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Backlog {
    /// At most [`MAX_COUNTED`].
    pub(crate) rows: i64,
    /// Age of the oldest of them, in seconds; 0 if there is none.
    pub(crate) oldest_seconds: f64,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    name: String,
    select: String,
    mark: String,
    backlog: String,
}

impl Table {
    pub(crate) fn new(name: &str) -> Self {
        // Ids are drawn before commit, so that rows become visible out of order: a smaller id may appear after a larger
        // one was published. For one key that cannot happen, because its writers are serialised by the row of the
        // aggregate that they change in the same transaction.
        let select = format!(
            "SELECT id, event_id, topic, key, payload, headers FROM {name} \
             WHERE published_at IS NULL AND key <> ALL($2) ORDER BY id LIMIT $1"
        );
        let mark = format!("UPDATE {name} SET published_at = now() WHERE id = ANY($1)");
        let backlog = format!(
            "SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)::float8 \
             FROM (SELECT created_at FROM {name} WHERE published_at IS NULL ORDER BY id LIMIT {MAX_COUNTED}) AS waiting"
        );
        Self { name: name.to_owned(), select, mark, backlog }
    }

    /// Takes the lock of the relay of this table, for as long as the connection lives. False: another session has it.
    pub(crate) async fn try_lock(&self, connection: &mut PgConnection) -> Result<bool, Error> {
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(format!("outbox relay of {}", self.name));
        bounded("taking the lock of the relay", lock.fetch_one(connection)).await
    }

    /// The oldest rows that are not published, without those of some keys.
    pub(crate) async fn unpublished(
        &self,
        connection: &mut PgConnection,
        limit: u32,
        without: Vec<String>,
    ) -> Result<Vec<Row>, Error> {
        type Columns = (i64, Uuid, String, String, String, Value);
        let select = sqlx::query_as(AssertSqlSafe(self.select.as_str())).bind(i64::from(limit)).bind(without);
        let rows: Vec<Columns> = bounded("reading the outbox", select.fetch_all(connection)).await?;
        let row = |(id, event_id, topic, key, payload, headers)| Row { id, event_id, topic, key, payload, headers };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Marks rows as published.
    pub(crate) async fn mark(&self, connection: &mut PgConnection, ids: &[i64]) -> Result<(), Error> {
        let mark = sqlx::query(AssertSqlSafe(self.mark.as_str())).bind(ids.to_vec());
        bounded("marking rows as published", mark.execute(connection)).await.map(drop)
    }

    /// How much waits.
    pub(crate) async fn backlog(&self, connection: &mut PgConnection) -> Result<Backlog, Error> {
        let measure = sqlx::query_as(AssertSqlSafe(self.backlog.as_str()));
        let (rows, oldest_seconds) = bounded("measuring the backlog", measure.fetch_one(connection)).await?;
        Ok(Backlog { rows, oldest_seconds })
    }
}

/// The name of the database, for labels; and a session that a dead client loses soon: without that, the lock of a host
/// that vanished would be held until the operating system gives up its connection, hours later.
pub(crate) async fn prepare_session(connection: &mut PgConnection) -> Result<String, Error> {
    let statement = "SELECT current_database()::text FROM (SELECT set_config('tcp_keepalives_idle', '5', false), \
                     set_config('tcp_keepalives_interval', '2', false), \
                     set_config('tcp_keepalives_count', '3', false)) AS settings";
    bounded("preparing the session", sqlx::query_scalar(statement).fetch_one(connection)).await
}

/// Gives a statement its time, and says what was being done if it fails.
async fn bounded<T>(doing: &'static str, statement: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(STATEMENT_TIMEOUT, statement).await {
        Ok(result) => result.map_err(|source| Error::Database { doing, source }),
        Err(_) => Err(Error::Timeout(doing)),
    }
}
