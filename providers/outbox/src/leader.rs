//! One relay per table at a time. Invariant: whoever holds a [`Leader`] holds the advisory lock, because the lock
//! belongs to the session of the connection inside: when the connection is lost, so is the lock, and nothing can be
//! read or marked through it any more.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::table::{Table, prepare_session};

/// How often a relay that stands by tries to take over.
const STANDBY_INTERVAL: Duration = Duration::from_millis(500);

/// How long saying goodbye to the database may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection with the lock.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) connection: PgConnection,
    /// Name of the database, for labels.
    pub(crate) database: String,
}

impl Leader {
    /// Waits for the lock. `None`: shutdown came first.
    pub(crate) async fn acquire(
        pool: &PgPool,
        table: &Table,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, Error> {
        let acquired = pool.acquire().await.map_err(|source| Error::Database { doing: "connecting", source })?;
        // Taken out of the pool: a session with a lock must never be given to anybody else.
        let mut connection = acquired.detach();
        let database = prepare_session(&mut connection).await?;
        let mut told = false;
        loop {
            if table.try_lock(&mut connection).await? {
                return Ok(Some(Self { connection, database }));
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(database, "another outbox relay is at work; standing by");
            }
            tokio::select! {
                () = tokio::time::sleep(STANDBY_INTERVAL) => {}
                () = shutdown.cancelled() => return Ok(None),
            }
        }
    }

    /// Gives the lock back.
    pub(crate) async fn resign(self) {
        // If it fails, the connection is closed anyway.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.connection.close()).await;
    }
}
