//! One call: begin, run, commit, and say truthfully how it ended.
//!
//! A single statement without an expected number of rows is its own transaction and takes one round trip. Everything else runs
//! between BEGIN and COMMIT. What the server undid because of other transactions is tried again a few times; what may have been
//! committed never is.

use std::time::Duration;

use crate::connection::Leased;
use crate::error::{Error, Failure};
use crate::limits::{FIRST_BACKOFF, MAX_ATTEMPTS};
use crate::measure::Measure;
use crate::sessions::Sessions;
use crate::statement::Bound;
use crate::value::RowSet;

/// How one attempt ended if it did not succeed.
enum Ended {
    /// The session is in order.
    Answered(Error),
    /// The session is in order, and the same again may go well.
    Again { reason: &'static str, forget_statements: bool },
    /// The session is not usable any more.
    Broken(Error),
}

/// Runs the statements as one transaction.
pub(crate) async fn transact(
    sessions: &Sessions,
    step_limit: Duration,
    statements: &[Bound],
    measure: &Measure,
) -> Result<Vec<RowSet>, Error> {
    let mut attempt = 1;
    loop {
        let mut leased = Leased::take(sessions, step_limit).await?;
        let ended = match statements {
            [single] if single.expected_rows.is_none() => run_alone(&mut leased, single).await,
            _ => run_between_begin_and_commit(&mut leased, statements).await,
        };
        match ended {
            Ok(row_sets) => {
                leased.give_back();
                return Ok(row_sets);
            }
            Err(Ended::Answered(error)) => {
                leased.give_back();
                return Err(error);
            }
            Err(Ended::Broken(error)) => return Err(error),
            Err(Ended::Again { reason, forget_statements }) => {
                measure.retried(reason);
                if !forget_statements || leased.forget_statements().await.is_ok() {
                    leased.give_back();
                }
                if attempt == MAX_ATTEMPTS {
                    return Err(Error::Unavailable(format!("gave up after {MAX_ATTEMPTS} attempts: {reason}")));
                }
                tokio::time::sleep(backoff(attempt)).await;
                attempt += 1;
            }
        }
    }
}

/// A random time up to a bound that doubles with each attempt, so that two transactions that met do not meet again.
fn backoff(attempt: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempt.min(16)).mul_f64(rand::random::<f64>())
}

/// The server commits by itself at the end of the statement. If the connection is lost after it was sent, nobody knows.
async fn run_alone(leased: &mut Leased<'_>, statement: &Bound) -> Result<Vec<RowSet>, Ended> {
    match leased.run(statement, 0).await {
        Ok(ran) => match ran.undeliverable {
            None => Ok(vec![ran.row_set]),
            Some(message) if statement.only_reads => {
                Err(Ended::Answered(Error::Invalid(format!("statement 0: {message}"))))
            }
            Some(message) => Err(Ended::Answered(Error::Uncertain(format!(
                "the statement took place, but its result is lost: {message}"
            )))),
        },
        Err(not_run) => Err(match not_run.failure {
            Failure::Refused(error) => Ended::Answered(error),
            Failure::Again { reason, forget_statements } => Ended::Again { reason, forget_statements },
            Failure::Lost(message) if not_run.sent && !statement.only_reads => Ended::Broken(Error::Uncertain(message)),
            Failure::Lost(message) => Ended::Broken(Error::Unavailable(message)),
        }),
    }
}

async fn run_between_begin_and_commit(leased: &mut Leased<'_>, statements: &[Bound]) -> Result<Vec<RowSet>, Ended> {
    if statements.is_empty() {
        return Ok(Vec::new());
    }
    leased.command("BEGIN ISOLATION LEVEL READ COMMITTED", 0).await.map_err(before_commit)?;
    let row_sets = match run_each(leased, statements).await {
        Ok(row_sets) => row_sets,
        Err(broken @ Ended::Broken(_)) => return Err(broken),
        Err(ended) => return Err(roll_back(leased, ended).await),
    };
    let last = u32::try_from(statements.len() - 1).unwrap_or(u32::MAX);
    match leased.command("COMMIT", last).await {
        Ok(()) => Ok(row_sets),
        // A deferred constraint, for example: the server has rolled back instead.
        Err(Failure::Refused(error)) => Err(Ended::Answered(error)),
        Err(Failure::Again { reason, forget_statements }) => Err(Ended::Again { reason, forget_statements }),
        Err(Failure::Lost(message)) if statements.iter().all(|statement| statement.only_reads) => {
            Err(Ended::Broken(Error::Unavailable(message)))
        }
        Err(Failure::Lost(message)) => {
            Err(Ended::Broken(Error::Uncertain(format!("lost while committing: {message}"))))
        }
    }
}

async fn run_each(leased: &mut Leased<'_>, statements: &[Bound]) -> Result<Vec<RowSet>, Ended> {
    let mut row_sets = Vec::with_capacity(statements.len());
    for (statement, index) in statements.iter().zip(0_u32..) {
        let ran = leased.run(statement, index).await.map_err(|not_run| before_commit(not_run.failure))?;
        if let Some(message) = ran.undeliverable {
            return Err(Ended::Answered(Error::Invalid(format!("statement {index}: {message}"))));
        }
        if statement.expected_rows.is_some_and(|expected| expected != ran.row_set.rows_affected) {
            return Err(Ended::Answered(Error::Stale { statement: index }));
        }
        row_sets.push(ran.row_set);
    }
    Ok(row_sets)
}

/// Before COMMIT was sent, a lost connection means a transaction that never took place.
fn before_commit(failure: Failure) -> Ended {
    match failure {
        Failure::Refused(error) => Ended::Answered(error),
        Failure::Again { reason, forget_statements } => Ended::Again { reason, forget_statements },
        Failure::Lost(message) => Ended::Broken(Error::Unavailable(message)),
    }
}

/// Ends the transaction. If that fails the connection is closed instead, which comes to the same.
async fn roll_back(leased: &mut Leased<'_>, ended: Ended) -> Ended {
    match (leased.command("ROLLBACK", 0).await, ended) {
        (Ok(()), ended) => ended,
        (Err(_), Ended::Answered(error) | Ended::Broken(error)) => Ended::Broken(error),
        (Err(_), Ended::Again { reason, .. }) => Ended::Broken(Error::Unavailable(reason.to_owned())),
    }
}
