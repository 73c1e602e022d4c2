//! PostgreSQL for components: one call is one transaction, and its outcome is exactly one of the five of `wit/postgres`.
//!
//! Invariants:
//! * `Conflict`, `Stale`, `Unavailable` and `Invalid` mean that nothing was written. Whenever that is not certain the answer is `Uncertain`.
//! * A connection goes back to the pool only outside a transaction; a call that is dropped half way closes its connection.
//! * Calls that share a statement ([`Postgres::coalesce`]) share no error: only the one at fault is told.
//! * Parameters and results are typed: nothing is ever put into the text of a statement.
//!
//! This crate knows neither WIT nor WebAssembly. Its types mirror `wit/postgres/postgres.wit` one to one.

mod client;
mod coalesce;
mod column;
mod config;
mod connection;
mod decode;
mod encode;
mod error;
mod limits;
mod measure;
mod numeric;
mod sessions;
mod sql;
mod statement;
mod transaction;
mod value;

pub use client::{MigrateError, Postgres};
pub use config::{Config, ConfigError, PlanCacheMode};
pub use error::Error;
pub use value::{RowSet, Statement, Value};
