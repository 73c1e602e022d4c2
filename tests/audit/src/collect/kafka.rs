//! Kafka: what the topics hold, and what consumer groups have still to do. Invariant: no group is joined and nothing is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::facts::{Event, Lag};

/// The topics of the shop's events.
const TOPICS: [&str; 8] = [
    "orders.confirmed.v1",
    "orders.failed.v1",
    "orders.cancelled.v1",
    "payments.succeeded.v1",
    "payments.failed.v1",
    "payments.refunded.v1",
    "payments.refund-failed.v1",
    "inventory.rejected.v1",
];
/// Who reads what. Without this a group that has not joined yet, and has never committed, would count as done.
const CONSUMERS: [(&str, &[&str]); 4] = [
    ("inventory", &["orders.confirmed.v1", "orders.failed.v1", "orders.cancelled.v1"]),
    ("notification", &["orders.confirmed.v1", "orders.failed.v1", "orders.cancelled.v1"]),
    ("order", &["inventory.rejected.v1", "payments.refunded.v1", "payments.refund-failed.v1"]),
    ("payment", &["orders.failed.v1", "orders.cancelled.v1"]),
];
/// How dead letter topics end.
const DEAD_LETTERS: &str = ".dlq";
/// For one question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Without a message for so long, reading has failed: each partition says when it has ended.
const SILENCE: Duration = Duration::from_secs(60);

/// What was read.
#[derive(Default)]
pub(crate) struct Topics {
    pub(crate) events: Vec<Event>,
    pub(crate) forgotten_before: BTreeMap<String, i64>,
    pub(crate) dead_letters: BTreeMap<String, usize>,
}

/// Where consumer groups are.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) lags: Vec<Lag>,
    /// How many messages all topics have ever had: grows whenever anything is published.
    pub(crate) published: i64,
}

/// Every message of every topic.
pub(crate) async fn read(servers: &str) -> anyhow::Result<Topics> {
    let servers = servers.to_owned();
    tokio::task::spawn_blocking(move || read_all(&servers)).await?
}

/// How far each group is behind in each topic that it consumes.
pub(crate) async fn lags(servers: &str) -> anyhow::Result<Progress> {
    let servers = servers.to_owned();
    tokio::task::spawn_blocking(move || progress(&servers)).await?
}

fn consumer(servers: &str, group: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false");
    config.create().context("making a Kafka client")
}

/// The partitions of our topics and of dead letter topics, by topic.
fn partitions(consumer: &BaseConsumer) -> anyhow::Result<BTreeMap<String, Vec<i32>>> {
    let metadata = consumer.fetch_metadata(None, TIMEOUT).context("asking Kafka for its topics")?;
    let ours =
        metadata.topics().iter().filter(|topic| TOPICS.contains(&topic.name()) || topic.name().ends_with(DEAD_LETTERS));
    let of = |topic: &rdkafka::metadata::MetadataTopic| {
        (topic.name().to_owned(), topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect())
    };
    Ok(ours.map(of).collect())
}

fn read_all(servers: &str) -> anyhow::Result<Topics> {
    let consumer = consumer(servers, "swiftcart-audit")?;
    let mut list = TopicPartitionList::new();
    let mut forgotten = BTreeSet::new();
    for (topic, partitions) in partitions(&consumer)? {
        for partition in partitions {
            list.add_partition_offset(&topic, partition, Offset::Beginning)?;
            let (low, _) = consumer.fetch_watermarks(&topic, partition, TIMEOUT)?;
            if low > 0 {
                forgotten.insert(topic.clone());
            }
        }
    }
    let mut open = list.count();
    consumer.assign(&list)?;
    let mut topics = Topics::default();
    let mut heard = Instant::now();
    while open > 0 {
        match consumer.poll(Duration::from_secs(1)) {
            Some(Ok(message)) => {
                heard = Instant::now();
                topics.add(&message, &forgotten);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                heard = Instant::now();
                open -= 1;
            }
            // The client tries again by itself, for example while a partition gets another leader.
            Some(Err(error)) if heard.elapsed() > SILENCE => return Err(error).context("reading topics"),
            None if heard.elapsed() > SILENCE => bail!("Kafka stopped answering with {open} partitions unread"),
            Some(Err(_)) | None => {}
        }
    }
    Ok(topics)
}

impl Topics {
    fn add(&mut self, message: &BorrowedMessage<'_>, forgotten: &BTreeSet<String>) {
        let topic = message.topic();
        if topic.ends_with(DEAD_LETTERS) {
            *self.dead_letters.entry(topic.to_owned()).or_default() += 1;
            return;
        }
        if let (true, Some(millis)) = (forgotten.contains(topic), message.timestamp().to_millis()) {
            let oldest = self.forgotten_before.entry(topic.to_owned()).or_insert(i64::MAX);
            *oldest = (*oldest).min(millis * 1000);
        }
        let payload: serde_json::Value =
            serde_json::from_slice(message.payload().unwrap_or_default()).unwrap_or_default();
        let event_id = payload.get("eventId").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        let order_id = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        self.events.push(Event { topic: topic.to_owned(), order_id, event_id });
    }
}

fn progress(servers: &str) -> anyhow::Result<Progress> {
    let asking = consumer(servers, "swiftcart-audit")?;
    let mut ends = BTreeMap::new();
    let mut progress = Progress::default();
    for (topic, partitions) in partitions(&asking)? {
        for partition in partitions {
            let (low, high) = asking.fetch_watermarks(&topic, partition, TIMEOUT)?;
            progress.published += high;
            if !topic.ends_with(DEAD_LETTERS) {
                ends.insert((topic.clone(), partition), (low, high));
            }
        }
    }
    let groups = asking.fetch_group_list(None, TIMEOUT).context("asking Kafka for consumer groups")?;
    let mut readers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (group, topics) in CONSUMERS {
        readers.insert(group.to_owned(), topics.iter().map(|topic| (*topic).to_owned()).collect());
    }
    for group in groups.groups() {
        let assigned = group.members().iter().flat_map(|member| topics_of(member.assignment().unwrap_or_default()));
        readers.entry(group.name().to_owned()).or_default().extend(assigned);
    }
    for (group, topics) in &readers {
        progress.lags.extend(behind(servers, group, topics, &ends)?);
    }
    Ok(progress)
}

/// A group consumes a topic if it is known to, if a member of it has partitions of it, or if it has ever committed in it.
fn behind(
    servers: &str,
    group: &str,
    known: &BTreeSet<String>,
    ends: &BTreeMap<(String, i32), (i64, i64)>,
) -> anyhow::Result<Vec<Lag>> {
    let mut wanted = TopicPartitionList::new();
    for (topic, partition) in ends.keys() {
        wanted.add_partition(topic, *partition);
    }
    let committed = consumer(servers, group)?.committed_offsets(wanted, TIMEOUT)?;
    let mut consumed = known.clone();
    let mut lags: BTreeMap<String, i64> = BTreeMap::new();
    for partition in committed.elements() {
        let key = (partition.topic().to_owned(), partition.partition());
        let (low, high) = ends.get(&key).copied().unwrap_or_default();
        let done = match partition.offset() {
            Offset::Offset(offset) => {
                consumed.insert(key.0.clone());
                offset
            }
            _ => low,
        };
        *lags.entry(key.0).or_default() += high - done;
    }
    let lag = |(topic, messages)| Lag { group: group.to_owned(), topic, messages };
    Ok(lags.into_iter().filter(|(topic, _)| consumed.contains(topic)).map(lag).collect())
}

/// The topics in a member's assignment: a version, then an array of a name and an array of partitions, all lengths before their content.
/// <https://kafka.apache.org/protocol#protocol_type_consumer>
fn topics_of(assignment: &[u8]) -> Vec<String> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (head, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(head)
    }
    fn number(bytes: &mut &[u8], width: usize) -> Option<usize> {
        let big_endian = take(bytes, width)?.iter().fold(0_u32, |all, byte| (all << 8) | u32::from(*byte));
        usize::try_from(big_endian).ok()
    }
    let mut bytes = assignment;
    let mut read = || {
        let mut topics = Vec::new();
        number(&mut bytes, 2)?;
        for _ in 0..number(&mut bytes, 4)? {
            let length = number(&mut bytes, 2)?;
            topics.push(String::from_utf8(take(&mut bytes, length)?.to_vec()).ok()?);
            let partitions = number(&mut bytes, 4)?;
            take(&mut bytes, partitions.checked_mul(4)?)?;
        }
        Some(topics)
    };
    read().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_from_an_assignment() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        for topic in ["a.v1", "b.v1"] {
            bytes.extend([0, 4]);
            bytes.extend(topic.as_bytes());
            bytes.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5]);
        }
        bytes.extend([0xff; 4]);
        assert_eq!(topics_of(&bytes), ["a.v1", "b.v1"]);
        assert!(topics_of(&[]).is_empty());
    }
}
