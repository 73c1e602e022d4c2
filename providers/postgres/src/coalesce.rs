//! Calls of the same text that wait at the same time run as one statement over arrays (group commit).
//!
//! There is no timer: a call that finds no flush of its text under way starts one at once, together with what is ready to join it; those that come
//! meanwhile wait for it to end and then go together. So without load nothing waits, and the more there is to do, the less each of it costs.
//!
//! Invariants:
//! * Calls that share a statement share its transaction, but not its errors: when the server refuses it, it is run again in halves, down to the
//!   call at fault, and only that one is told. What is not known to have taken place is uncertain for all of them.
//! * A call whose owner has gone before its flush never runs.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr, SqlStr};
use tokio::sync::oneshot;

use crate::config::Config;
use crate::error::Error;
use crate::limits::{FLUSH_BYTES, FLUSH_CALLS, GATHER_ROUNDS, LANES};
use crate::measure::Measure;
use crate::sessions::Sessions;
use crate::statement::check;
use crate::value::{RowSet, Statement};
use crate::{sql, transaction};

mod call;

pub(crate) use call::CALL_COLUMN;
use call::{Answer, Call, Parameters, Types};

/// All lanes of one database.
#[derive(Debug)]
pub(crate) struct Coalescer {
    sessions: Sessions,
    step_limit: Duration,
    /// How long a call waits for its flush to begin.
    wait_limit: Duration,
    /// Of one text at the same time.
    flushes: usize,
    measure: Measure,
    lanes: Mutex<HashMap<Box<str>, Arc<Lane>>>,
    next: AtomicU64,
}

/// The calls of one text, or of several that are one transaction.
#[derive(Debug)]
struct Lane {
    texts: Vec<SqlStr>,
    only_reads: Vec<bool>,
    /// Flushes that may run at the same time.
    flushes: usize,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Call>,
    flushes: usize,
}

/// Recovers the guard after a panic: every change under these locks is complete in itself.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Coalescer {
    pub(crate) fn new(pool: PgPool, step_limit: Duration, config: &Config, measure: Measure) -> Arc<Self> {
        let wait_limit = Duration::from_millis(config.acquire_timeout_ms);
        let (lanes, next, sessions) = (Mutex::default(), AtomicU64::new(0), Sessions::kept_from(pool));
        Arc::new(Self { sessions, step_limit, wait_limit, flushes: config.flushes, measure, lanes, next })
    }

    /// Runs the call together with those that wait beside it. See [`crate::Postgres::coalesce`].
    pub(crate) async fn run(self: &Arc<Self>, statements: &[Statement]) -> Answer {
        check(statements)?;
        let parameters = Parameters::encode(statements)?;
        let lane = self.lane(statements);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, mut told) = oneshot::channel();
        if lane.join(Call { number, parameters, answer }) {
            tokio::spawn(Arc::clone(self).flush(Turn { lane: Arc::clone(&lane), over: false }));
        }
        let answer = match tokio::time::timeout(self.wait_limit, &mut told).await {
            Ok(answer) => answer,
            // Nobody has begun it, and now nobody will.
            Err(_) if lane.leave(number) => {
                return Err(Error::Unavailable(format!(
                    "not begun within {} ms: earlier calls of the same text take too long",
                    self.wait_limit.as_millis()
                )));
            }
            Err(_) => told.await,
        };
        answer.unwrap_or_else(|_| Err(Error::Uncertain("the task that ran it has ended without an answer".to_owned())))
    }

    /// The sessions that run flushes.
    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Closes them, once those in use have come back.
    pub(crate) async fn close(&self) {
        self.sessions.close().await;
    }

    /// Of statements that were checked.
    fn lane(&self, statements: &[Statement]) -> Arc<Lane> {
        let key = match statements {
            [single] => Cow::Borrowed(single.sql.as_str()),
            // No text contains the separator: the check refuses it.
            several => several.iter().map(|statement| statement.sql.as_str()).collect::<Vec<_>>().join("\0").into(),
        };
        let mut lanes = lock(&self.lanes);
        if let Some(lane) = lanes.get(key.as_ref()) {
            return Arc::clone(lane);
        }
        let lane = Arc::new(Lane::new(statements, self.flushes));
        if lanes.len() >= LANES {
            // Texts of versions that were swapped out, mostly. What somebody still uses comes back with its next call.
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        lanes.insert(key.into(), Arc::clone(&lane));
        lane
    }

    /// Runs what waits in the lane until nothing does.
    async fn flush(self: Arc<Self>, mut turn: Turn) {
        loop {
            turn.lane.gather().await;
            let Some(calls) = turn.take() else { return };
            self.settle(&turn.lane, calls).await;
        }
    }

    /// Runs the calls as one transaction, or in smaller ones if the server refuses that.
    async fn settle(&self, lane: &Lane, calls: Vec<Call>) {
        let mut todo = vec![calls];
        while let Some(mut calls) = todo.pop() {
            self.measure.flushed(calls.len());
            match self.attempt(lane, &calls).await {
                Ok(answers) => {
                    for (call, answer) in calls.into_iter().zip(answers) {
                        // Whoever does not listen any more has been told by the drop of its future.
                        let _ = call.answer.send(Ok(answer));
                    }
                }
                Err(Error::Conflict { .. } | Error::Stale { .. } | Error::Invalid(_)) if calls.len() > 1 => {
                    self.measure.split();
                    let rest = calls.split_off(calls.len() / 2);
                    todo.extend([rest, calls]);
                }
                Err(error) => {
                    for call in calls {
                        let _ = call.answer.send(Err(error.clone()));
                    }
                }
            }
        }
    }

    async fn attempt(&self, lane: &Lane, calls: &[Call]) -> Result<Vec<Vec<RowSet>>, Error> {
        let bound = call::bind(&lane.texts, &lane.only_reads, calls)?;
        let sets = transaction::transact(&self.sessions, self.step_limit, &bound, &self.measure).await?;
        call::divide(sets, calls.len()).map_err(|problem| {
            if lane.only_reads.iter().all(|reads| *reads) {
                Error::Invalid(problem)
            } else {
                Error::Uncertain(format!("the statement took place, but its result is lost: {problem}"))
            }
        })
    }
}

impl Lane {
    fn new(statements: &[Statement], flushes: usize) -> Self {
        let text = |statement: &Statement| AssertSqlSafe(Arc::<str>::from(statement.sql.as_str())).into_sql_str();
        Self {
            texts: statements.iter().map(text).collect(),
            only_reads: statements.iter().map(|statement| sql::only_reads(&statement.sql)).collect(),
            flushes,
            queue: Mutex::default(),
        }
    }

    /// Lets whoever is ready to run go first, for as long as calls come of it: with many calls under way most are ready and only wait for their turn on
    /// a thread. Where nobody else is ready this costs one look at the sockets.
    async fn gather(&self) {
        let mut before = lock(&self.queue).waiting.len();
        for _ in 0..GATHER_ROUNDS {
            tokio::task::yield_now().await;
            let now = lock(&self.queue).waiting.len();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// Whether the caller has to start a flush.
    fn join(&self, call: Call) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(call);
        let starts = queue.flushes < self.flushes;
        queue.flushes += usize::from(starts);
        starts
    }

    /// Takes a call back that no flush has taken yet; false if one has.
    fn leave(&self, number: u64) -> bool {
        let mut queue = lock(&self.queue);
        let before = queue.waiting.len();
        queue.waiting.retain(|call| call.number != number);
        queue.waiting.len() < before
    }
}

/// The right to flush a lane. It is given back when nobody waits, in the same moment in which that is seen, or when the task ends otherwise.
struct Turn {
    lane: Arc<Lane>,
    over: bool,
}

impl Turn {
    /// The calls that go next, in the order in which they came; none, and the end of the turn, if nobody waits.
    fn take(&mut self) -> Option<Vec<Call>> {
        let mut queue = lock(&self.lane.queue);
        let (mut calls, mut bytes, mut types) = (Vec::new(), 0, Types::default());
        while let Some(call) = queue.waiting.pop_front() {
            if call.answer.is_closed() {
                continue;
            }
            bytes += call.parameters.size();
            let full = calls.len() == FLUSH_CALLS || (bytes > FLUSH_BYTES && !calls.is_empty());
            if full || !types.admit(&call.parameters) {
                queue.waiting.push_front(call);
                break;
            }
            calls.push(call);
        }
        if calls.is_empty() {
            queue.flushes -= 1;
            self.over = true;
            return None;
        }
        Some(calls)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.over {
            lock(&self.lane.queue).flushes -= 1;
        }
    }
}
