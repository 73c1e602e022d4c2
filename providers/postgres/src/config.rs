//! Configuration of one database. It is complete and checked before anything connects, and never shows the password.

use std::str::FromStr;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde_with::{DisplayFromStr, serde_as};
use sqlx::postgres::PgConnectOptions;

/// What a link says about its database.
#[serde_as]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `postgres://user:password@host:port/database`, with `?sslmode=verify-full` and so on. A secret.
    pub url: SecretString,
    /// Connections at most (1 to 1000). Half of them run only calls that share a statement; 1 means one for each.
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// Flushes of one text that run at the same time (1 to 64). With one, a row that somebody else has locked stops all calls of the text that share
    /// it; with many, each carries little.
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_flushes")]
    pub flushes: usize,
    /// How long a call waits for a free connection or for its flush to begin, in milliseconds (1 to 600000).
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_acquire_timeout_ms")]
    pub acquire_timeout_ms: u64,
    /// How long one statement may run on the server, in milliseconds (1 to 600000). Locks that it waits for count.
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_statement_timeout_ms")]
    pub statement_timeout_ms: u64,
    /// Shown in `pg_stat_activity`.
    #[serde(default = "default_application_name")]
    pub application_name: String,
    /// `auto`, `force_custom_plan` or `force_generic_plan`: see [`PlanCacheMode`].
    #[serde(default)]
    pub plan_cache_mode: PlanCacheMode,
    /// Name of the folder with this database's migrations. Opaque here: the host resolves it and calls [`crate::Postgres::migrate`].
    #[serde(default, deserialize_with = "present")]
    pub migrations: Option<String>,
}

/// How PostgreSQL plans a prepared statement.
///
/// With `auto` the server switches to a plan that ignores the parameters after five executions. If the tables were empty or small at
/// that moment, that plan may read them whole, and stays until autovacuum has analysed them, a minute or more later: long enough to
/// bring down a service that was just deployed. So with `auto` this crate throws the plans of a connection away about once in a thousand uses
/// (see `limits.rs`); they are then made for the tables as they are.
///
/// `force_custom_plan` plans each time. Measured with pgbench on PostgreSQL 15, one connection: 0.21-0.25 ms instead of 0.09-0.12 ms for an order with
/// three lines and an outbox row in one statement, 0.04 ms instead of 0.02 ms for a read by key.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum PlanCacheMode {
    /// The server decides, and old plans are thrown away. The default.
    #[default]
    Auto,
    /// Plan for the values at hand, each time.
    ForceCustomPlan,
    /// Plan once.
    ForceGenericPlan,
}

impl PlanCacheMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::ForceCustomPlan => "force_custom_plan",
            Self::ForceGenericPlan => "force_generic_plan",
        }
    }
}

/// A configuration that is not acceptable. Names the key; never quotes a secret.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("configuration of postgres, `{key}`: {message}")]
pub struct ConfigError {
    /// The key at fault.
    pub key: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Config {
    /// Reads and checks the configuration. Keys that are not known are errors.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let pairs = MapDeserializer::<_, serde::de::value::Error>::new(pairs.into_iter());
        let config: Self = serde_path_to_error::deserialize(pairs)
            .map_err(|error| ConfigError { key: error.path().to_string(), message: error.into_inner().to_string() })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let in_range = |key: &str, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError { key: key.to_owned(), message: format!("is {value}, expected 1 to {max}") })
            }
        };
        in_range("max_connections", u64::from(self.max_connections), 1_000)?;
        in_range("flushes", u64::try_from(self.flushes).unwrap_or(u64::MAX), 64)?;
        in_range("acquire_timeout_ms", self.acquire_timeout_ms, 600_000)?;
        in_range("statement_timeout_ms", self.statement_timeout_ms, 600_000)?;
        self.connect_options().map(drop)
    }

    /// How to reach the server, before any session settings.
    pub(crate) fn connect_options(&self) -> Result<PgConnectOptions, ConfigError> {
        // sqlx's own message may quote a part of the address, so it is not passed on.
        let malformed = || ConfigError {
            key: "url".to_owned(),
            message: "expected postgres://user:password@host:port/database".to_owned(),
        };
        let url = self.url.expose_secret();
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(malformed());
        }
        PgConnectOptions::from_str(url)
            .map(|options| options.application_name(&self.application_name))
            .map_err(|_| malformed())
    }
}

/// A key that is there has a value; serde's own `Option` does not read from plain strings.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

fn default_flushes() -> usize {
    2
}

fn default_max_connections() -> u32 {
    16
}

fn default_acquire_timeout_ms() -> u64 {
    3_000
}

fn default_statement_timeout_ms() -> u64 {
    5_000
}

fn default_application_name() -> String {
    "swiftcart".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_pairs(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_and_values() {
        let config =
            read(&[("url", "postgres://u:secret@h/d"), ("max_connections", "4"), ("migrations", "shelves")]).unwrap();
        assert_eq!((config.max_connections, config.acquire_timeout_ms, config.statement_timeout_ms), (4, 3_000, 5_000));
        assert_eq!(config.migrations.as_deref(), Some("shelves"));
        assert_eq!(config.plan_cache_mode, PlanCacheMode::Auto);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn errors_name_the_key_and_keep_the_secret() {
        let key = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().key;
        assert_eq!(key(&[("url", "postgres://h/d"), ("max_connections", "many")]), "max_connections");
        assert_eq!(key(&[("url", "postgres://h/d"), ("max_connections", "0")]), "max_connections");
        assert_eq!(key(&[("url", "postgres://h/d"), ("statement_timeout_ms", "-1")]), "statement_timeout_ms");
        assert!(read(&[("url", "postgres://h/d"), ("colour", "red")]).unwrap_err().to_string().contains("colour"));
        assert!(read(&[]).unwrap_err().to_string().contains("url"));
        let error = read(&[("url", "mysql://u:hunter2@h/d")]).unwrap_err();
        assert_eq!(error.key, "url");
        assert!(!error.to_string().contains("hunter2"));
        let error = read(&[("url", "postgres://u:hunter2@h:port/d")]).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
