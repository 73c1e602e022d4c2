//! A test's own eyes and hands in Kafka: reads everything that a topic holds, publishes what no component would.

use std::time::Duration;

use anyhow::Context as _;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, Message as _, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// How long the broker may take for one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A cluster.
pub struct Broker {
    servers: String,
}

impl Broker {
    /// `servers` as `host:port` separated by commas.
    #[must_use]
    pub fn new(servers: &str) -> Self {
        Self { servers: servers.to_owned() }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.servers).set("allow.auto.create.topics", "false");
        config
    }

    /// Every message that a topic holds now, without joining any group.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn read_all(&self, topic: &str) -> anyhow::Result<Vec<OwnedMessage>> {
        let (config, topic) = (self.config(), topic.to_owned());
        tokio::task::spawn_blocking(move || read_all(config, &topic)).await?
    }

    /// The messages of a topic with this key.
    ///
    /// # Errors
    /// As [`Self::read_all`].
    pub async fn with_key(&self, topic: &str, key: &str) -> anyhow::Result<Vec<OwnedMessage>> {
        let all = self.read_all(topic).await?;
        Ok(all.into_iter().filter(|message| message.key() == Some(key.as_bytes())).collect())
    }

    /// Publishes one message and waits until the broker has it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn publish(
        &self,
        topic: &str,
        key: &str,
        payload: &[u8],
        headers: &[(String, Vec<u8>)],
    ) -> anyhow::Result<()> {
        let producer: FutureProducer = self.config().set("acks", "all").create()?;
        let headers = headers
            .iter()
            .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(value) }));
        let record = FutureRecord::to(topic).key(key).payload(payload).headers(headers);
        producer.send(record, TIMEOUT).await.map_err(|(error, _)| error)?;
        Ok(())
    }

    /// How many copies of it every partition of a topic has at least; `None` for a topic without partitions.
    ///
    /// # Errors
    /// When the broker does not answer or does not know the topic.
    pub async fn copies(&self, topic: &str) -> anyhow::Result<Option<usize>> {
        let (config, topic) = (self.config(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.create()?;
            let metadata = consumer.fetch_metadata(Some(&topic), TIMEOUT)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let partitions = found.context("the broker does not know the topic")?.partitions();
            anyhow::Ok(partitions.iter().map(|partition| partition.replicas().len()).min())
        })
        .await?
    }

    /// What a group has committed in a topic, and what the topic holds: `(committed, end)` summed over partitions that hold anything.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn progress(&self, group: &str, topic: &str) -> anyhow::Result<(i64, i64)> {
        let (mut config, group, topic) = (self.config(), group.to_owned(), topic.to_owned());
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config.set("group.id", &group).create()?;
            let wanted = all_partitions(&consumer, &topic)?;
            let committed = consumer.committed_offsets(wanted, TIMEOUT)?;
            let mut sums = (0, 0);
            for partition in committed.elements() {
                let (low, high) = consumer.fetch_watermarks(&topic, partition.partition(), TIMEOUT)?;
                let done = if let Offset::Offset(offset) = partition.offset() { offset } else { low };
                sums = (sums.0 + done, sums.1 + high);
            }
            anyhow::Ok(sums)
        })
        .await?
    }
}

/// A header as text.
#[must_use]
pub fn header(message: &OwnedMessage, name: &str) -> Option<String> {
    let found = message.headers()?.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value?).into_owned())
}

/// All headers, to publish a message again.
#[must_use]
pub fn headers(message: &OwnedMessage) -> Vec<(String, Vec<u8>)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    headers.iter().map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect()
}

fn all_partitions(consumer: &BaseConsumer, topic: &str) -> anyhow::Result<TopicPartitionList> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found =
        metadata.topics().iter().find(|found| found.name() == topic).context("the broker does not know the topic")?;
    let mut list = TopicPartitionList::new();
    for partition in found.partitions() {
        list.add_partition(topic, partition.id());
    }
    Ok(list)
}

fn read_all(mut config: ClientConfig, topic: &str) -> anyhow::Result<Vec<OwnedMessage>> {
    let consumer: BaseConsumer = config
        .set("group.id", "swiftcart-tests-read-only")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create()?;
    let mut list = all_partitions(&consumer, topic)?;
    list.set_all_offsets(Offset::Beginning)?;
    let mut open = list.count();
    consumer.assign(&list)?;
    let mut messages = Vec::new();
    while open > 0 {
        match consumer.poll(TIMEOUT).context("the broker stopped answering")? {
            Ok(message) => messages.push(message.detach()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => open -= 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(messages)
}
