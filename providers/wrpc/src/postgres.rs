//! `swiftcart:postgres/client` over `providers/postgres`. Settings of a link are those of the library; the provider's own setting `migrations_root` is the
//! folder in which a link's `migrations` is looked for.

use async_trait::async_trait;
use std::path::{Path, PathBuf};
use swiftcart_provider_postgres as library;

use crate::bindings::swiftcart::postgres::client::{Error, RowSet, Statement, Value, Violation};
use crate::runtime::{Caller, Clients, ConnectError, Library, NoClient, Pairs, Program, Start, Started};

const INTERFACE: &str = "swiftcart:postgres/client";

/// The program.
pub struct Postgres;

struct Database;

#[async_trait]
impl Program for Postgres {
    const NAME: &'static str = "postgres";

    async fn start(start: &Start) -> anyhow::Result<Started> {
        let clients = Clients::new(Database, start.own.clone());
        for (function, together) in [("transact", false), ("coalesce", true)] {
            let serving = clients.clone();
            let run = move |caller, (statements,)| {
                let clients = serving.clone();
                async move { (run(&clients, caller, statements, together).await,) }
            };
            start
                .server
                .serve::<(Vec<Statement>,), (Result<Vec<RowSet>, Error>,), _, _>(
                    "swiftcart:postgres/client@0.1.0",
                    function,
                    run,
                )
                .await?;
        }
        Ok(Started::new(clients))
    }
}

#[async_trait]
impl Library for Database {
    type Client = library::Postgres;

    async fn connect(&self, mut pairs: Pairs) -> Result<library::Postgres, ConnectError> {
        let refused = |reason: String| ConnectError::Refused(reason);
        let root = pairs.remove("migrations_root").map(PathBuf::from);
        let config = library::Config::from_pairs(pairs).map_err(|error| refused(error.to_string()))?;
        let folder = config.migrations.as_deref().map(|name| folder(root.as_deref(), name)).transpose();
        let folder = folder.map_err(refused)?;
        let client = library::Postgres::connect(config).await.map_err(|error| match error {
            library::Error::Unavailable(_) => ConnectError::Away(error.to_string()),
            _ => refused(error.to_string()),
        })?;
        if let Some(folder) = folder {
            client.migrate(&folder).await.map_err(|error| match error {
                library::MigrateError::Connect(_) => ConnectError::Away(error.to_string()),
                library::MigrateError::Migrate { source, .. } => refused(format!("its migrations: {source}")),
            })?;
        }
        Ok(client)
    }

    async fn ping(&self, client: &library::Postgres) -> Result<(), String> {
        client.ping().await.map_err(|error| error.to_string())
    }

    async fn close(&self, client: library::Postgres) {
        client.close().await;
    }
}

fn folder(root: Option<&Path>, name: &str) -> Result<PathBuf, String> {
    let root =
        root.ok_or_else(|| format!("it names migrations ({name}), and the provider has no `migrations_root`"))?;
    if name.is_empty() || name.contains(['/', '\\', '.']) {
        return Err(format!("migrations: {name:?} is not the name of a folder"));
    }
    Ok(root.join(name))
}

/// `together` with other calls of the same text, or alone.
async fn run(
    clients: &Clients<Database>,
    caller: Caller,
    statements: Vec<Statement>,
    together: bool,
) -> Result<Vec<RowSet>, Error> {
    let client =
        clients.client(&caller, INTERFACE).await.map_err(|none: NoClient| Error::Unavailable(none.to_string()))?;
    let statements = statements.into_iter().map(statement).collect();
    let ran = if together { client.coalesce(statements).await } else { client.transact(statements).await };
    match ran {
        Ok(sets) => Ok(sets.into_iter().map(row_set).collect()),
        Err(failure) => Err(error(failure)),
    }
}

fn statement(statement: Statement) -> library::Statement {
    library::Statement {
        sql: statement.sql,
        params: statement.params.into_iter().map(value_in).collect(),
        expected_rows: statement.expected_rows,
    }
}

fn row_set(set: library::RowSet) -> RowSet {
    RowSet {
        rows_affected: set.rows_affected,
        columns: set.columns,
        rows: set.rows.into_iter().map(|row| row.into_iter().map(value_out).collect()).collect(),
    }
}

fn error(failure: library::Error) -> Error {
    match failure {
        library::Error::Conflict { constraint, statement } => Error::Conflict(Violation { constraint, statement }),
        library::Error::Stale { statement } => Error::Stale(statement),
        library::Error::Unavailable(reason) => Error::Unavailable(reason),
        library::Error::Uncertain(reason) => Error::Uncertain(reason),
        library::Error::Invalid(reason) => Error::Invalid(reason),
    }
}

/// Both sides list the same cases; the two functions below are the only place that knows both. The wire has its own type for bytes.
macro_rules! translate_values {
    ($($case:ident),*) => {
        fn value_in(value: Value) -> library::Value {
            match value {
                Value::Null => library::Value::Null,
                Value::Bytes(bytes) => library::Value::Bytes(bytes.into()),
                Value::BytesArray(items) => library::Value::BytesArray(items.into_iter().map(Into::into).collect()),
                $(Value::$case(inner) => library::Value::$case(inner),)*
            }
        }

        fn value_out(value: library::Value) -> Value {
            match value {
                library::Value::Null => Value::Null,
                library::Value::Bytes(bytes) => Value::Bytes(bytes.into()),
                library::Value::BytesArray(items) => Value::BytesArray(items.into_iter().map(Into::into).collect()),
                $(library::Value::$case(inner) => Value::$case(inner),)*
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
    Uuid,
    Timestamptz,
    Numeric,
    Jsonb,
    BooleanArray,
    Int32Array,
    Int64Array,
    Float64Array,
    TextArray,
    UuidArray,
    TimestamptzArray
);
