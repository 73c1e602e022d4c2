//! Configuration of producers and consumers. Invariant: a value of these types has been validated, if it came from
//! [`ConsumerConfig::from_pairs`] or [`ProducerConfig::from_pairs`].

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use serde::Deserialize;
use serde_with::formats::CommaSeparator;
use serde_with::{DisplayFromStr, StringWithSeparator, serde_as};

use crate::connection::{Connection, present, read_pairs, take_keys};
use crate::error::ConfigError;

/// The largest record that is sent, with its headers. Brokers take 1 MiB by default; staying below it means that a
/// record that is too large is refused here, at once and alone, and never by a broker with a whole batch.
pub(crate) const MAX_RECORD_BYTES: usize = 1_000_000;

/// How a producer behaves.
#[serde_as]
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProducerConfig {
    /// The cluster.
    #[serde(skip)]
    pub connection: Connection,
    /// How long one record may take from being queued to being acknowledged, with all retries, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub delivery_timeout_ms: u64,
    /// How long to wait for more records before a request goes out, in milliseconds. 0: at once; under load batches
    /// form by themselves.
    #[serde_as(as = "DisplayFromStr")]
    pub linger_ms: u64,
    /// How many records may be queued or in flight at once; sending waits when there is no room.
    #[serde_as(as = "DisplayFromStr")]
    pub queue_max_messages: u64,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            connection: Connection::default(),
            delivery_timeout_ms: 30_000,
            linger_ms: 0,
            queue_max_messages: 10_000,
        }
    }
}

impl ProducerConfig {
    /// The keys of a producer besides those of the [`Connection`].
    pub const KEYS: [&str; 3] = ["delivery_timeout_ms", "linger_ms", "queue_max_messages"];

    /// Defaults for a cluster.
    pub fn new(connection: Connection) -> Self {
        Self { connection, ..Self::default() }
    }

    /// Reads and checks pairs of strings.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        let connection = Connection::take_from(&mut pairs)?;
        Self { connection, ..read_pairs(pairs)? }.validate()
    }

    /// Takes the keys of a producer and its connection out of `pairs`, for a configuration that has a producer among
    /// other things.
    pub fn take_from(pairs: &mut BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let connection = Connection::take_from(pairs)?;
        Self { connection, ..read_pairs(take_keys(pairs, &Self::KEYS))? }.validate()
    }

    fn validate(self) -> Result<Self, ConfigError> {
        within("delivery_timeout_ms", self.delivery_timeout_ms, 100, 600_000)?;
        within("linger_ms", self.linger_ms, 0, 1_000)?;
        within("queue_max_messages", self.queue_max_messages, 1, 1_000_000)?;
        if self.linger_ms >= self.delivery_timeout_ms {
            return Err(ConfigError::new("linger_ms", "expected less than delivery_timeout_ms"));
        }
        Ok(self)
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = self.connection.client_config();
        config
            // Implies acks=all, retries without end (bounded by the delivery timeout) and at most five requests in
            // flight, kept in order.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", self.linger_ms.to_string())
            .set("delivery.timeout.ms", self.delivery_timeout_ms.to_string())
            .set("queue.buffering.max.messages", self.queue_max_messages.to_string())
            .set("queue.buffering.max.kbytes", "65536")
            .set("message.max.bytes", MAX_RECORD_BYTES.to_string())
            .set("retry.backoff.ms", "50")
            .set("compression.type", "lz4")
            // The partitioner of the Java clients, so that a key has the same partition whoever produces it.
            .set("partitioner", "murmur2_random");
        config
    }
}

/// How a consumer behaves.
#[serde_as]
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumerConfig {
    /// The cluster.
    #[serde(skip)]
    pub connection: Connection,
    /// The consumer group. Required.
    pub group_id: String,
    /// The topics to consume, separated by commas. Required. They and their dead letter topics are created if they are
    /// missing.
    #[serde_as(as = "StringWithSeparator::<CommaSeparator, String>")]
    pub topics: Vec<String>,
    /// A fixed name of this member in its group, so that a restart within the session time-out moves no partition. Must
    /// be unique in the group.
    #[serde(deserialize_with = "present")]
    pub group_instance_id: Option<String>,
    /// How many messages may be handled at once, over all partitions. The more, the more of them share a statement where the handler's database
    /// coalesces: 32 keep up with as many orders as one host places, 16 fall behind by seconds (docs/performance.md).
    #[serde_as(as = "DisplayFromStr")]
    pub concurrency: usize,
    /// How often a message may fail with [`Failure::Retry`](crate::Failure::Retry) before it goes to the dead letters.
    #[serde_as(as = "DisplayFromStr")]
    pub max_attempts: u32,
    /// Upper bound of the first wait before another try, in milliseconds; it doubles from try to try.
    #[serde_as(as = "DisplayFromStr")]
    pub retry_initial_ms: u64,
    /// Upper bound of every wait before another try, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub retry_max_ms: u64,
    /// How long one call of the handler may take, in milliseconds; after that it counts as failed and is tried again.
    #[serde_as(as = "DisplayFromStr")]
    pub handle_timeout_ms: u64,
    /// How many messages of one partition may be received and not yet committable; fetching pauses above it and resumes
    /// at half of it.
    #[serde_as(as = "DisplayFromStr")]
    pub max_in_flight_per_partition: usize,
    /// How often offsets are committed, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub commit_interval_ms: u64,
    /// After how much silence the group gives this member's partitions to others, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub session_timeout_ms: u64,
    /// How long a broker may hold a fetch that has nothing to return, in milliseconds. It answers at once when a
    /// message arrives.
    #[serde_as(as = "DisplayFromStr")]
    pub fetch_wait_max_ms: u64,
    /// How long a revocation of partitions waits for handlers that run, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub revoke_timeout_ms: u64,
    /// How long a shutdown waits for handlers that run, in milliseconds.
    #[serde_as(as = "DisplayFromStr")]
    pub drain_timeout_ms: u64,
    /// Partitions of a topic that has to be created.
    #[serde_as(as = "DisplayFromStr")]
    pub partitions: i32,
    /// Replicas of a topic that has to be created.
    #[serde_as(as = "DisplayFromStr")]
    pub replication_factor: i32,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            connection: Connection::default(),
            group_id: String::new(),
            topics: Vec::new(),
            group_instance_id: None,
            concurrency: 32,
            max_attempts: 8,
            retry_initial_ms: 100,
            retry_max_ms: 10_000,
            handle_timeout_ms: 60_000,
            max_in_flight_per_partition: 512,
            commit_interval_ms: 200,
            session_timeout_ms: 10_000,
            fetch_wait_max_ms: 500,
            revoke_timeout_ms: 3_000,
            drain_timeout_ms: 10_000,
            partitions: 6,
            replication_factor: 1,
        }
    }
}

impl ConsumerConfig {
    /// Reads and checks pairs of strings.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        let connection = Connection::take_from(&mut pairs)?;
        let mut config = Self { connection, ..read_pairs(pairs)? };
        config.topics = config.topics.iter().map(|topic| topic.trim().to_owned()).collect();
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.group_id.trim().is_empty() {
            return Err(ConfigError::new("group_id", "expected the name of a consumer group"));
        }
        if self.topics.is_empty() || self.topics.iter().any(String::is_empty) {
            return Err(ConfigError::new("topics", "expected topic names separated by commas"));
        }
        within("concurrency", self.concurrency as u64, 1, 1_024)?;
        within("max_attempts", u64::from(self.max_attempts), 1, 1_000)?;
        within("retry_initial_ms", self.retry_initial_ms, 1, 60_000)?;
        within("retry_max_ms", self.retry_max_ms, self.retry_initial_ms, 600_000)?;
        within("handle_timeout_ms", self.handle_timeout_ms, 1, 600_000)?;
        within("max_in_flight_per_partition", self.max_in_flight_per_partition as u64, 2, 100_000)?;
        within("commit_interval_ms", self.commit_interval_ms, 10, 60_000)?;
        within("session_timeout_ms", self.session_timeout_ms, 1_000, 1_800_000)?;
        within("fetch_wait_max_ms", self.fetch_wait_max_ms, 1, 30_000)?;
        within("revoke_timeout_ms", self.revoke_timeout_ms, 0, 60_000)?;
        within("drain_timeout_ms", self.drain_timeout_ms, 0, 600_000)?;
        partitions_and_replicas(self.partitions, self.replication_factor)
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = self.connection.client_config();
        config
            .set("client.id", &self.group_id)
            .set("group.id", &self.group_id)
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", self.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", (self.session_timeout_ms / 4).clamp(100, 3_000).to_string())
            .set("fetch.wait.max.ms", self.fetch_wait_max_ms.to_string())
            // What librdkafka may hold before our own window: bounded, and looked at again soon after it was full.
            .set("queued.max.messages.kbytes", "16384")
            .set("fetch.queue.backoff.ms", "20");
        if let Some(instance) = &self.group_instance_id {
            config.set("group.instance.id", instance);
        }
        config
    }

    pub(crate) fn revoke_timeout(&self) -> Duration {
        Duration::from_millis(self.revoke_timeout_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

fn partitions_and_replicas(partitions: i32, replication_factor: i32) -> Result<(), ConfigError> {
    within("partitions", u64::try_from(partitions).unwrap_or(0), 1, 10_000)?;
    within("replication_factor", u64::try_from(replication_factor).unwrap_or(0), 1, 100)
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

    fn pairs(extra: &[(&str, &str)]) -> Vec<(String, String)> {
        let needed = [("bootstrap_servers", "127.0.0.1:9092"), ("group_id", "stock"), ("topics", "a.v1, b.v1")];
        needed.iter().chain(extra).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn refused(extra: &[(&str, &str)]) -> ConfigError {
        ConsumerConfig::from_pairs(pairs(extra)).unwrap_err()
    }

    #[test]
    fn pairs_are_read_with_defaults() {
        let config = ConsumerConfig::from_pairs(pairs(&[
            ("concurrency", "3"),
            ("group_instance_id", "one"),
            ("sasl_password", "hidden"),
        ]))
        .unwrap();
        assert_eq!(config.topics, ["a.v1", "b.v1"]);
        assert_eq!((config.concurrency, config.max_attempts, config.partitions), (3, 8, 6));
        assert_eq!(config.group_instance_id.as_deref(), Some("one"));
        assert!(!format!("{config:?}").contains("hidden"));
    }

    #[test]
    fn errors_name_the_key() {
        assert_eq!(refused(&[("concurrency", "many")]).key, "concurrency");
        assert_eq!(refused(&[("concurrency", "0")]).expected, "expected a number from 1 to 1024");
        assert_eq!(refused(&[("topics", "")]).key, "topics");
        assert_eq!(refused(&[("retry_max_ms", "5")]).key, "retry_max_ms");
        assert_eq!(refused(&[("security_protocol", "tls")]).key, "security_protocol");
        assert!(refused(&[("concurency", "1")]).to_string().contains("concurency"));
        assert_eq!(ConsumerConfig::from_pairs([]).unwrap_err().key, "bootstrap_servers");
    }

    #[test]
    fn a_producer_takes_only_its_own_keys() {
        let mut all: BTreeMap<_, _> = pairs(&[("linger_ms", "2"), ("batch_size", "7")]).into_iter().collect();
        let config = ProducerConfig::take_from(&mut all).unwrap();
        assert_eq!(config.linger_ms, 2);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["batch_size", "group_id", "topics"]);
        assert_eq!(ProducerConfig::from_pairs(pairs(&[])).unwrap_err().key, "group_id");
    }

    /// librdkafka checks names and ranges when a client is made; this needs no broker.
    #[test]
    fn librdkafka_accepts_the_configurations() {
        let consumer = ConsumerConfig::from_pairs(pairs(&[("group_instance_id", "one")])).unwrap();
        consumer.client_config().create_native_config().unwrap();
        ProducerConfig::new(Connection::plain("127.0.0.1:1")).client_config().create_native_config().unwrap();
    }
}
