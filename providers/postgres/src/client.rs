//! The client: a pool of connections with the session settings that the rest of this crate relies on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};

use crate::coalesce::Coalescer;
use crate::config::{Config, PlanCacheMode};
use crate::connection::Leased;
use crate::error::{Error, Failure, not_connected};
use crate::limits::{
    FLUSH_SETTINGS, MAX_IDLE, MAX_LIFETIME, NETWORK_GRACE, REPLAN_ONCE_IN, STATEMENT_CACHE, TEST_AFTER_IDLE,
};
use crate::measure::{COMMITTED, Measure};
use crate::sessions::{Sessions, refresh};
use crate::statement::bind;
use crate::transaction;
use crate::value::{RowSet, Statement};

/// One database. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// Of calls that run alone.
    sessions: Arc<Sessions>,
    step_limit: Duration,
    measure: Measure,
    coalescer: Arc<Coalescer>,
    /// For migrations: without the limits that calls have.
    unlimited: PgConnectOptions,
}

/// Why the migrations did not run to their end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// No connection.
    #[error("connecting to migrate")]
    Connect(#[source] sqlx::Error),
    /// The folder cannot be read, a migration that already ran has changed, or one failed.
    #[error("migrating from {}", folder.display())]
    Migrate {
        /// Where the migrations are.
        folder: PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

impl Postgres {
    /// Makes the pool and one connection, so that a wrong address or password is found now. Fails with `Unavailable` or `Invalid`;
    /// the caller decides whether to try again.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let unlimited = config.connect_options().map_err(|error| Error::Invalid(error.to_string()))?;
        let unlimited = unlimited.options([("TimeZone", "UTC"), ("default_transaction_isolation", "read committed")]);
        let step_limit = Duration::from_millis(config.statement_timeout_ms) + NETWORK_GRACE;
        let options = unlimited.clone().statement_cache_capacity(STATEMENT_CACHE).options([
            ("statement_timeout", format!("{}ms", config.statement_timeout_ms)),
            // The last resort if this process stalls within a transaction: its locks must not stop the others.
            ("idle_in_transaction_session_timeout", format!("{}ms", (step_limit + NETWORK_GRACE).as_millis())),
            ("plan_cache_mode", config.plan_cache_mode.as_str().to_owned()),
        ]);
        let measure = Measure::new(options.get_database().unwrap_or("default"));
        let wait_limit = Duration::from_millis(config.acquire_timeout_ms);
        let (own, shared) = divide(config.max_connections);
        let replans = config.plan_cache_mode == PlanCacheMode::Auto;
        let pool = pool(own, wait_limit, replans).connect_with(options.clone()).await;
        let pool = pool.map_err(|error| not_connected(&error))?;
        let flushing = self::pool(shared, wait_limit, true).connect_lazy_with(options.options(FLUSH_SETTINGS));
        let coalescer = Coalescer::new(flushing, step_limit, &config, measure.clone());
        Ok(Self { sessions: Arc::new(Sessions::of(pool)), step_limit, measure, coalescer, unlimited })
    }

    /// Runs the migrations of a folder that have not run yet, in order. Several hosts may call this at the same time: they queue for
    /// a lock in the database. Migrations have no time limit.
    pub async fn migrate(&self, folder: &Path) -> Result<(), MigrateError> {
        let failed = |source| MigrateError::Migrate { folder: folder.to_owned(), source };
        let migrator = Migrator::new(folder).await.map_err(failed)?;
        let mut connection = PgConnection::connect_with(&self.unlimited).await.map_err(MigrateError::Connect)?;
        migrator.run_direct(None, &mut connection, false).await.map_err(failed)?;
        tracing::info!(folder = %folder.display(), "the database is migrated");
        // The work is done and committed; a connection that cannot say goodbye is no failure.
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "closing the connection of the migrations");
        }
        Ok(())
    }

    /// Runs the statements in order as one transaction (READ COMMITTED) and commits it. See [`Error`] for what each failure promises.
    ///
    /// If the returned future is dropped before it is done, a transaction that was not being committed is rolled back; a single
    /// statement may still take place.
    pub async fn transact(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        let started = Instant::now();
        let result = match bind(statements) {
            Ok(statements) if statements.is_empty() => Ok(Vec::new()),
            Ok(statements) => transaction::transact(&self.sessions, self.step_limit, &statements, &self.measure).await,
            Err(error) => Err(error),
        };
        self.measure.finished(result.as_ref().map_or_else(Error::outcome, |_| COMMITTED), started.elapsed());
        self.measure.sessions([&self.sessions, self.coalescer.sessions()]);
        result
    }

    /// As [`Postgres::transact`], but together with the calls of the same text that wait at the same time: as one transaction with one statement
    /// for all of them.
    ///
    /// The text is written for any number of calls. Each parameter of a call is a scalar; the statement sees an array of them, one element per
    /// call, as `unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS c (id, state, call)`. The first column of the result must be that
    /// `call`, a `bigint`; a call is given the rows that name it, without that column, and `rows_affected` is their number. No number of rows can
    /// be expected.
    ///
    /// A call that the server refuses (`Conflict`, `Invalid`) is the only one that is told; the others run without it. `Unavailable` and
    /// `Uncertain` come to all that shared the attempt. If the returned future is dropped, a call that was not begun never is; one that was may
    /// take place.
    pub async fn coalesce(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        if statements.is_empty() {
            return Ok(Vec::new());
        }
        let started = Instant::now();
        let result = self.coalescer.run(&statements).await;
        self.measure.finished(result.as_ref().map_or_else(Error::outcome, |_| COMMITTED), started.elapsed());
        self.measure.sessions([&self.sessions, self.coalescer.sessions()]);
        result
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut leased = Leased::take(&self.sessions, self.step_limit).await?;
        match leased.command("SELECT 1", 0).await {
            Ok(()) => {
                leased.give_back();
                Ok(())
            }
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Again { reason, .. }) => Err(Error::Unavailable(reason.to_owned())),
            Err(Failure::Lost(message)) => Err(Error::Unavailable(message)),
        }
    }

    /// The pool of calls that run alone, for native parts that stream or hold a connection (the outbox relay does).
    pub fn pool(&self) -> &PgPool {
        self.sessions.pool()
    }

    /// Waits for the connections in use to come back and closes all of them. Calls after this fail with `Unavailable`.
    pub async fn close(&self) {
        futures::join!(self.sessions.close(), self.coalescer.close());
    }
}

/// How many of the connections run calls alone, and how many run flushes.
fn divide(max_connections: u32) -> (u32, u32) {
    let shared = max_connections / 2;
    (max_connections - shared, shared.max(1))
}

fn pool(max_connections: u32, acquire_timeout: Duration, replans: bool) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(acquire_timeout)
        .max_lifetime(MAX_LIFETIME)
        .idle_timeout(MAX_IDLE)
        .test_before_acquire(false)
        .before_acquire(move |connection, lease| {
            Box::pin(async move {
                let replan = replans && rand::random_ratio(1, REPLAN_ONCE_IN);
                if lease.idle_for < TEST_AFTER_IDLE && !replan {
                    return Ok(true);
                }
                Ok(matches!(tokio::time::timeout(NETWORK_GRACE, refresh(connection, replan)).await, Ok(Ok(()))))
            })
        })
}
