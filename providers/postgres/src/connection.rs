//! A connection out of the pool for the length of one attempt.
//!
//! Invariant: it goes back to where it came from only by [`Leased::give_back`]. In every other case - an error half way, a time-out, or the caller
//! dropping the call - it is closed, and with it any transaction that is open on it.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{Column, Connection, Either, Executor, Row, Statement, ValueRef};

use crate::coalesce::CALL_COLUMN;
use crate::column::{Kind, Scalar};
use crate::decode::decode;
use crate::error::{Error, Failure};
use crate::limits::MAX_RESULT_BYTES;
use crate::sessions::{Session, Sessions};
use crate::statement::Bound;
use crate::value::{RowSet, Value};

/// A connection that is closed unless it is given back.
pub(crate) struct Leased<'a> {
    sessions: &'a Sessions,
    session: Option<Session>,
    /// How long one step may take before the server counts as lost.
    step_limit: Duration,
}

/// What running one statement gave.
pub(crate) struct Ran {
    pub(crate) row_set: RowSet,
    /// The statement took place, but this stands in the way of giving its result.
    pub(crate) undeliverable: Option<String>,
}

/// Why running one statement failed.
pub(crate) struct NotRun {
    pub(crate) failure: Failure,
    /// Whether the statement had been handed to the server for execution.
    pub(crate) sent: bool,
}

impl<'a> Leased<'a> {
    /// Waits for a free connection, as long as the pool allows.
    pub(crate) async fn take(sessions: &'a Sessions, step_limit: Duration) -> Result<Self, Error> {
        let session = sessions.take().await?;
        Ok(Self { sessions, session: Some(session), step_limit })
    }

    /// The session is in order and outside a transaction: others may have it.
    pub(crate) fn give_back(mut self) {
        if let Some(session) = self.session.take() {
            self.sessions.give_back(session);
        }
    }

    /// Runs one of our own commands, such as COMMIT. `last` is the statement to blame if the server finds a fault only now.
    pub(crate) async fn command(&mut self, sql: &'static str, last: u32) -> Result<(), Failure> {
        let limit = self.step_limit;
        let connection = self.connection()?;
        match tokio::time::timeout(limit, connection.execute(sql)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failure::of(&error, last)),
            Err(_) => Err(no_answer(limit)),
        }
    }

    /// Throws the prepared statements away, after the tables under them have changed.
    pub(crate) async fn forget_statements(&mut self) -> Result<(), Failure> {
        let limit = self.step_limit;
        let connection = self.connection()?;
        match tokio::time::timeout(limit, connection.clear_cached_statements()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::of(&error, 0)),
            Err(_) => Err(no_answer(limit)),
        }
    }

    /// Runs one statement to its end.
    pub(crate) async fn run(&mut self, bound: &Bound, index: u32) -> Result<Ran, NotRun> {
        let limit = self.step_limit;
        let connection = self.connection().map_err(|failure| NotRun { failure, sent: false })?;
        let columns = match tokio::time::timeout(limit, prepare(connection, bound, index)).await {
            Ok(columns) => columns.map_err(|failure| NotRun { failure, sent: false })?,
            Err(_) => return Err(NotRun { failure: no_answer(limit), sent: false }),
        };
        match tokio::time::timeout(limit, execute(connection, bound, columns)).await {
            Ok(Ok(ran)) => Ok(ran),
            Ok(Err(error)) => Err(NotRun { failure: Failure::of(&error, index), sent: true }),
            Err(_) => Err(NotRun { failure: no_answer(limit), sent: true }),
        }
    }

    fn connection(&mut self) -> Result<&mut PoolConnection<Postgres>, Failure> {
        let session = self.session.as_mut();
        session
            .map(|session| &mut session.connection)
            .ok_or_else(|| Failure::Lost("the connection was given back".to_owned()))
    }
}

impl Drop for Leased<'_> {
    fn drop(&mut self) {
        if let Some(mut session) = self.session.take() {
            session.connection.close_on_drop();
        }
    }
}

fn no_answer(limit: Duration) -> Failure {
    Failure::Lost(format!("the server did not answer within {} ms", limit.as_millis()))
}

/// Name and form of a result column.
struct ResultColumn {
    name: String,
    kind: Kind,
}

/// Prepares the statement, without a round trip if this connection knows it already, and checks that components can take its columns:
/// afterwards may be too late.
async fn prepare(
    connection: &mut PoolConnection<Postgres>,
    bound: &Bound,
    index: u32,
) -> Result<Vec<ResultColumn>, Failure> {
    let prepared = (&mut **connection)
        .prepare_with(bound.sql.clone(), &bound.types)
        .await
        .map_err(|error| Failure::of(&error, index))?;
    let invalid = |message: String| Failure::Refused(Error::Invalid(format!("statement {index}: {message}")));
    let expected = match prepared.parameters() {
        Some(Either::Left(parameters)) => parameters.len(),
        Some(Either::Right(count)) => count,
        None => 0,
    };
    if expected != bound.types.len() {
        return Err(invalid(format!("takes {expected} parameters, got {}", bound.types.len())));
    }
    let columns = prepared
        .columns()
        .iter()
        .map(|column| {
            let name = column.name().to_owned();
            match column.type_info().oid().and_then(|oid| Kind::of(oid.0)) {
                Some(kind) => Ok(ResultColumn { name, kind }),
                None => Err(invalid(format!(
                    "column `{name}` has the type {}, which is not supported: cast it, for example to text",
                    column.type_info()
                ))),
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let first = columns.first().map(|column| (column.name.as_str(), column.kind));
    if bound.shared && first != Some((CALL_COLUMN, Kind::Scalar(Scalar::Int8))) {
        return Err(invalid(format!("calls share it, so its first column must be `{CALL_COLUMN}`, a bigint")));
    }
    Ok(columns)
}

/// Executes the prepared statement. The result is read to its end in any case, because only the end tells whether it took place.
async fn execute(
    connection: &mut PoolConnection<Postgres>,
    bound: &Bound,
    columns: Vec<ResultColumn>,
) -> Result<Ran, sqlx::Error> {
    let query = sqlx::query_with(bound.sql.clone(), bound.arguments.clone());
    let mut rows = Vec::new();
    let mut rows_affected = 0;
    let mut undeliverable = None;
    let mut budget = MAX_RESULT_BYTES;
    {
        let mut results = (&mut **connection).fetch_many(query);
        while let Some(result) = results.try_next().await? {
            match result {
                Either::Left(done) => rows_affected += done.rows_affected(),
                Either::Right(_) if undeliverable.is_some() => {}
                Either::Right(row) => match read_row(&row, &columns, &mut budget) {
                    Ok(row) => rows.push(row),
                    Err(message) => {
                        undeliverable = Some(message);
                        rows = Vec::new();
                    }
                },
            }
        }
    }
    let columns = columns.into_iter().map(|column| column.name).collect();
    Ok(Ran { row_set: RowSet { rows_affected, columns, rows }, undeliverable })
}

fn read_row(row: &PgRow, columns: &[ResultColumn], budget: &mut usize) -> Result<Vec<Value>, String> {
    let mut values = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(|error| error.to_string())?;
        if raw.is_null() {
            *budget = budget.saturating_sub(size_of::<Value>());
            values.push(Value::Null);
            continue;
        }
        let bytes = raw.as_bytes().map_err(|error| error.to_string())?;
        let size = size_of::<Value>() + bytes.len();
        *budget = budget
            .checked_sub(size)
            .ok_or_else(|| format!("the result is larger than {MAX_RESULT_BYTES} bytes: read it in parts"))?;
        values.push(decode(column.kind, bytes).map_err(|message| format!("column `{}` {message}", column.name))?);
    }
    Ok(values)
}
