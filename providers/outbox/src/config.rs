//! Configuration of a relay. Invariant: a value from [`Config::from_pairs`] has been validated; in particular the table
//! is a plain identifier, the only thing that is ever put into the text of a statement.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_with::formats::CommaSeparator;
use serde_with::{DisplayFromStr, StringWithSeparator, serde_as};
use swiftcart_provider_kafka::{ConfigError, ProducerConfig, read_pairs};

/// How a relay behaves.
#[serde_as]
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The producer and its cluster.
    #[serde(skip)]
    pub producer: ProducerConfig,
    /// The database, `postgres://...`; comes from a secret of the link. It must be a direct connection or one in
    /// session mode, because of the lock.
    pub url: SecretString,
    /// The outbox table: lower case letters, digits and `_`.
    pub table: String,
    /// How many rows are published together.
    #[serde_as(as = "DisplayFromStr")]
    pub batch_size: u32,
    /// Pause between two looks at the table while there is something to publish, in milliseconds; none after a full
    /// batch.
    #[serde_as(as = "DisplayFromStr")]
    pub poll_interval_ms: u64,
    /// The pause grows to this while there is nothing to publish, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub idle_interval_ms: u64,
    /// Topics that are published to, separated by commas; they are created if they are missing.
    #[serde_as(as = "StringWithSeparator::<CommaSeparator, String>")]
    pub topics: Vec<String>,
    /// Partitions of a topic that has to be created.
    #[serde_as(as = "DisplayFromStr")]
    pub partitions: i32,
    /// Replicas of a topic that has to be created.
    #[serde_as(as = "DisplayFromStr")]
    pub replication_factor: i32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            producer: ProducerConfig::default(),
            url: SecretString::default(),
            table: "outbox".to_owned(),
            batch_size: 500,
            poll_interval_ms: 20,
            idle_interval_ms: 100,
            topics: Vec::new(),
            partitions: 6,
            replication_factor: 1,
        }
    }
}

impl Config {
    /// Reads and checks pairs of strings.
    ///
    /// # Errors
    /// Names the key and what is expected.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        if !pairs.contains_key("url") {
            return Err(ConfigError::new("url", "expected the address of a database, as a secret"));
        }
        let producer = ProducerConfig::take_from(&mut pairs)?;
        let mut config = Self { producer, ..read_pairs(pairs)? };
        config.topics =
            config.topics.iter().map(|topic| topic.trim().to_owned()).filter(|topic| !topic.is_empty()).collect();
        config.validate()?;
        Ok(config)
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let letters =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if self.table.is_empty()
            || self.table.len() > 63
            || !letters(&self.table)
            || self.table.starts_with(|first: char| first.is_ascii_digit())
        {
            return Err(ConfigError::new("table", "expected a table name of lower case letters, digits and _"));
        }
        within("batch_size", u64::from(self.batch_size), 1, 10_000)?;
        within("poll_interval_ms", self.poll_interval_ms, 1, 60_000)?;
        within("idle_interval_ms", self.idle_interval_ms, self.poll_interval_ms, 60_000)?;
        within("partitions", u64::try_from(self.partitions).unwrap_or(0), 1, 10_000)?;
        within("replication_factor", u64::try_from(self.replication_factor).unwrap_or(0), 1, 100)
    }

    pub(crate) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll_interval_ms)
    }

    pub(crate) fn idle_interval(&self) -> Duration {
        Duration::from_millis(self.idle_interval_ms)
    }
}

fn within(key: &str, value: u64, least: u64, most: u64) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(key, format!("expected a number from {least} to {most}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(extra: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let needed = [("bootstrap_servers", "127.0.0.1:9092"), ("url", "postgres://u:hunter2@h/d")];
        Config::from_pairs(needed.iter().chain(extra).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn pairs_are_read_with_defaults() {
        let config = read(&[("topics", "a.v1, b.v1"), ("batch_size", "9"), ("linger_ms", "1")]).unwrap();
        assert_eq!((config.batch_size, config.poll_interval_ms, config.idle_interval_ms), (9, 20, 100));
        assert_eq!(
            (config.topics, config.table.as_str(), config.producer.linger_ms),
            (vec!["a.v1".to_owned(), "b.v1".to_owned()], "outbox", 1)
        );
        assert!(!format!("{:?}", read(&[]).unwrap()).contains("hunter2"));
    }

    #[test]
    fn errors_name_the_key() {
        for (key, value) in [
            ("table", "a; drop"),
            ("table", ""),
            ("table", "1a"),
            ("batch_size", "0"),
            ("batch_size", "x"),
            ("idle_interval_ms", "1"),
        ] {
            assert_eq!(read(&[(key, value)]).unwrap_err().key, key);
        }
        assert!(read(&[("tables", "x")]).unwrap_err().to_string().contains("tables"));
        assert_eq!(Config::from_pairs([]).unwrap_err().key, "url");
    }
}
