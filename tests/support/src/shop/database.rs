//! One database and one role per service. Invariant: a role can connect to its own database and to no other.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::place::Place;

/// The databases, each with a role of the same name.
pub const DATABASES: [&str; 4] = ["orders", "payments", "inventory", "notifications"];

/// Makes what is missing and returns the URL of each database for its own role.
pub(super) async fn provision(
    place: &Place,
    admin_url: &str,
    own_server: bool,
) -> anyhow::Result<BTreeMap<String, String>> {
    let options: PgConnectOptions = admin_url.parse().context("the database URL")?;
    let mut connection = options.connect().await.context("connecting to PostgreSQL")?;
    if own_server {
        run(&mut connection, "REVOKE CONNECT ON DATABASE postgres FROM PUBLIC".to_owned()).await?;
        run(&mut connection, "REVOKE CONNECT ON DATABASE template1 FROM PUBLIC".to_owned()).await?;
    }
    let mut urls = BTreeMap::new();
    for name in DATABASES {
        // Names are constants and passwords hexadecimal digits, so nothing needs quoting.
        let password = place.secret(&format!("database-{name}"))?;
        let verb = if exists(&mut connection, "SELECT 1 FROM pg_roles WHERE rolname = $1", name).await? {
            "ALTER"
        } else {
            "CREATE"
        };
        run(&mut connection, format!("{verb} ROLE {name} LOGIN PASSWORD '{password}'")).await?;
        if !exists(&mut connection, "SELECT 1 FROM pg_database WHERE datname = $1", name).await? {
            // An administrator who is no superuser may give a database only to a role that he is a member of.
            run(&mut connection, format!("GRANT {name} TO CURRENT_USER")).await?;
            run(&mut connection, format!("CREATE DATABASE {name} OWNER {name}")).await?;
        }
        run(&mut connection, format!("REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC")).await?;
        let host = options.get_host();
        let port = options.get_port();
        urls.insert(name.to_owned(), format!("postgres://{name}:{password}@{host}:{port}/{name}"));
    }
    connection.close().await?;
    Ok(urls)
}

async fn exists(connection: &mut PgConnection, query: &'static str, name: &str) -> anyhow::Result<bool> {
    Ok(sqlx::query(query).bind(name).fetch_optional(connection).await?.is_some())
}

async fn run(connection: &mut PgConnection, statement: String) -> anyhow::Result<()> {
    // The statement may hold a password and so is not repeated in the error.
    let verb = statement.split(" PASSWORD").next().unwrap_or_default().to_owned();
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
        .map_err(|error| anyhow!(error).context(verb))
}
