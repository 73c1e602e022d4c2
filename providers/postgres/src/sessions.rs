//! Connections between two calls. The pool tests a connection with a round trip each time it comes back, which at thousands of short transactions a
//! second is as many messages again as the work itself; so what is needed again within the moment is kept out of it.
//!
//! Invariants: a connection is kept only while nobody waits for one, never idle for longer than a pool would trust it untested, and never for long
//! enough to outlive what the pool allows by much. What is dropped goes back into the pool, which tests it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::postgres::Postgres;
use sqlx::{Connection, Executor, PgConnection, PgPool};

use crate::error::{Error, not_connected};
use crate::limits::{KEEP_LIMIT, NETWORK_GRACE, REPLAN_ONCE_IN, TEST_AFTER_IDLE};

/// Where calls get their connections.
#[derive(Debug)]
pub(crate) struct Sessions {
    pool: PgPool,
    keeps: bool,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The one that came back last is last.
    idle: Vec<Session>,
    /// Calls that ask the pool.
    waiting: usize,
}

/// A connection out of the pool.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: PoolConnection<Postgres>,
    /// When it left the pool.
    left: Instant,
    /// When it was used last.
    used: Instant,
}

impl Session {
    /// Whether only the pool can tell if it is any good.
    fn is_stale(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= TEST_AFTER_IDLE || now.duration_since(self.left) >= KEEP_LIMIT
    }
}

impl Sessions {
    /// Every connection goes back into the pool at once: others use it too.
    pub(crate) fn of(pool: PgPool) -> Self {
        Self { pool, keeps: false, kept: Mutex::default() }
    }

    /// Nobody else uses the pool, so connections may be kept out of it. Their plans are thrown away now and then, as those of the pool are.
    pub(crate) fn kept_from(pool: PgPool) -> Self {
        Self { pool, keeps: true, kept: Mutex::default() }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Connections that are kept and idle.
    pub(crate) fn idle(&self) -> usize {
        self.kept().idle.len()
    }

    /// Waits for a connection, as long as the pool allows.
    pub(crate) async fn take(&self) -> Result<Session, Error> {
        if let Some(session) = self.take_kept().await {
            return Ok(session);
        }
        let _waiting = Waiting::begin(self);
        let connection = self.pool.acquire().await.map_err(|error| not_connected(&error))?;
        let now = Instant::now();
        Ok(Session { connection, left: now, used: now })
    }

    async fn take_kept(&self) -> Option<Session> {
        loop {
            let mut session = self.kept().idle.pop()?;
            if session.is_stale(Instant::now()) {
                continue;
            }
            if !rand::random_ratio(1, REPLAN_ONCE_IN) {
                return Some(session);
            }
            match tokio::time::timeout(NETWORK_GRACE, refresh(&mut session.connection, true)).await {
                Ok(Ok(())) => return Some(session),
                Ok(Err(_)) | Err(_) => session.connection.close_on_drop(),
            }
        }
    }

    /// Others may have it.
    pub(crate) fn give_back(&self, session: Session) {
        let now = Instant::now();
        let session = Session { used: now, ..session };
        let mut kept = self.kept();
        let stale = kept.idle.first().is_some_and(|oldest| oldest.is_stale(now)).then(|| kept.idle.remove(0));
        let back = if self.keeps && kept.waiting == 0 && !session.is_stale(now) && !self.pool.is_closed() {
            kept.idle.push(session);
            None
        } else {
            Some(session)
        };
        // Dropping them makes tasks: not under the lock.
        drop(kept);
        drop((stale, back));
    }

    /// Closes them once those in use have come back.
    pub(crate) async fn close(&self) {
        // Marks the pool as closed at once; what comes back from then on is not kept.
        let closing = self.pool.close();
        let idle = std::mem::take(&mut self.kept().idle);
        drop(idle);
        closing.await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits in the pool: what comes back meanwhile goes there.
struct Waiting<'a>(&'a Sessions);

impl<'a> Waiting<'a> {
    fn begin(sessions: &'a Sessions) -> Self {
        sessions.kept().waiting += 1;
        Self(sessions)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.kept().waiting -= 1;
    }
}

/// Finds out whether a connection is alive, and throws its plans away if asked to: see [`crate::PlanCacheMode`].
pub(crate) async fn refresh(connection: &mut PgConnection, replan: bool) -> Result<(), sqlx::Error> {
    if replan {
        return connection.execute("DISCARD PLANS").await.map(drop);
    }
    connection.ping().await
}
