//! `swiftcart:postgres/client` over `providers/postgres`.

use std::sync::Arc;

use swiftcart_provider_postgres as postgres;

use super::bindings::swiftcart::postgres::client::{Error, Host, RowSet, Statement, Value, Violation};
use crate::runtime::Guest;

impl Host for Guest {
    async fn transact(&mut self, statements: Vec<Statement>) -> wasmtime::Result<Result<Vec<RowSet>, Error>> {
        run(self, statements, |client, statements| async move { client.transact(statements).await }).await
    }

    async fn coalesce(&mut self, statements: Vec<Statement>) -> wasmtime::Result<Result<Vec<RowSet>, Error>> {
        run(self, statements, |client, statements| async move { client.coalesce(statements).await }).await
    }
}

async fn run<F>(
    guest: &mut Guest,
    statements: Vec<Statement>,
    call: impl FnOnce(Arc<postgres::Postgres>, Vec<postgres::Statement>) -> F,
) -> wasmtime::Result<Result<Vec<RowSet>, Error>>
where
    F: Future<Output = Result<Vec<postgres::RowSet>, postgres::Error>>,
{
    let client = guest.grants.postgres.clone().ok_or_else(|| super::not_granted(guest, "swiftcart:postgres/client"))?;
    let statements: Vec<_> = statements.into_iter().map(statement).collect();
    let point = guest.point(|| format!("postgres {}", outline(&statements)));
    let (refused, lost) = (postgres::Error::Unavailable, postgres::Error::Uncertain);
    Ok(match point.around(call(client, statements), refused, lost).await {
        Ok(sets) => Ok(sets.into_iter().map(row_set).collect()),
        Err(failure) => Err(error(failure)),
    })
}

/// How the first statement begins, for whoever looks at a list of effects.
fn outline(statements: &[postgres::Statement]) -> String {
    let words = statements.iter().flat_map(|statement| statement.sql.split_whitespace());
    words.take(6).collect::<Vec<_>>().join(" ")
}

fn statement(statement: Statement) -> postgres::Statement {
    postgres::Statement {
        sql: statement.sql,
        params: statement.params.into_iter().map(value_in).collect(),
        expected_rows: statement.expected_rows,
    }
}

fn row_set(set: postgres::RowSet) -> RowSet {
    RowSet {
        rows_affected: set.rows_affected,
        columns: set.columns,
        rows: set.rows.into_iter().map(|row| row.into_iter().map(value_out).collect()).collect(),
    }
}

fn error(failure: postgres::Error) -> Error {
    match failure {
        postgres::Error::Conflict { constraint, statement } => Error::Conflict(Violation { constraint, statement }),
        postgres::Error::Stale { statement } => Error::Stale(statement),
        postgres::Error::Unavailable(reason) => Error::Unavailable(reason),
        postgres::Error::Uncertain(reason) => Error::Uncertain(reason),
        postgres::Error::Invalid(reason) => Error::Invalid(reason),
    }
}

/// Both sides list the same cases; the two functions below are the only place that knows both.
macro_rules! translate_values {
    ($($case:ident),*) => {
        fn value_in(value: Value) -> postgres::Value {
            match value {
                Value::Null => postgres::Value::Null,
                $(Value::$case(inner) => postgres::Value::$case(inner),)*
            }
        }

        fn value_out(value: postgres::Value) -> Value {
            match value {
                postgres::Value::Null => Value::Null,
                $(postgres::Value::$case(inner) => Value::$case(inner),)*
            }
        }
    };
}

translate_values!(
    Boolean,
    Int32,
    Int64,
    Float64,
    Text,
    Bytes,
    Uuid,
    Timestamptz,
    Numeric,
    Jsonb,
    BooleanArray,
    Int32Array,
    Int64Array,
    Float64Array,
    TextArray,
    BytesArray,
    UuidArray,
    TimestamptzArray
);
