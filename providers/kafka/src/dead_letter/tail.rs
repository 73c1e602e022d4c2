//! Reads topics from their beginning, without a place in any group. Blocking: for threads that may wait. Invariant:
//! nothing is committed, so that looking changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::connection::Connection;
use crate::context::Context;
use crate::error::Error;
use crate::message::Message;
use crate::topics::invalid;

/// How long the brokers may take for one question, and how long a topic may give nothing before its end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one poll may wait.
const POLL: Duration = Duration::from_millis(200);

/// A topic and a partition of it.
pub(crate) type Partition = (String, i32);

/// A reader of topics.
pub(crate) struct Tail {
    client: BaseConsumer<Context>,
    /// The next offset to read of each partition.
    next: BTreeMap<Partition, i64>,
}

impl Tail {
    /// Opens topics at their beginning. `None` if one of them does not exist. `group` is for questions about its
    /// offsets only.
    pub(crate) fn open(connection: &Connection, group: &str, topics: &[String]) -> Result<Option<Self>, Error> {
        let mut config = connection.client_config();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", "16384");
        let client: BaseConsumer<Context> = config.create_with_context(Context::new(None)).map_err(invalid)?;
        let mut partitions = Vec::new();
        for topic in topics {
            match partitions_of(&client, topic)? {
                Some((found, _)) => partitions.extend((0..found).map(|partition| (topic.clone(), partition))),
                None => return Ok(None),
            }
        }
        let next = offsets(&client, &partitions, Offset::Beginning)?;
        let mut list = TopicPartitionList::new();
        for (topic, partition) in &partitions {
            list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(unavailable)?;
        }
        client.assign(&list).map_err(unavailable)?;
        Ok(Some(Self { client, next }))
    }

    /// The next message, if there is one soon.
    pub(crate) fn poll(&mut self) -> Result<Option<Message>, Error> {
        match self.client.poll(POLL) {
            Some(Ok(message)) => {
                let message = Message::copied_from(&message);
                self.next.insert((message.topic.clone(), message.partition), message.offset + 1);
                Ok(Some(message))
            }
            None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(None),
            Some(Err(error)) => Err(unavailable(error)),
        }
    }

    /// Reads on to where a single topic ends now.
    pub(crate) fn read_to_end(&mut self, mut each: impl FnMut(Message)) -> Result<(), Error> {
        let partitions: Vec<Partition> = self.next.keys().cloned().collect();
        let ends = offsets(&self.client, &partitions, Offset::End)?;
        let mut open: BTreeSet<i32> = BTreeSet::new();
        for (partition, end) in &ends {
            if self.next.get(partition).is_none_or(|next| next < end) {
                open.insert(partition.1);
            }
        }
        let mut heard = Instant::now();
        while !open.is_empty() {
            match self.client.poll(POLL) {
                Some(Ok(message)) => {
                    let message = Message::copied_from(&message);
                    let partition = (message.topic.clone(), message.partition);
                    if ends.get(&partition).is_some_and(|end| message.offset + 1 >= *end) {
                        open.remove(&message.partition);
                    }
                    self.next.insert(partition, message.offset + 1);
                    each(message);
                    heard = Instant::now();
                }
                // Offsets may have gaps, also before the end: this tells of it when no message does.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                Some(Err(error)) => return Err(unavailable(error)),
                None if heard.elapsed() > PATIENCE => {
                    return Err(Error::Unavailable(
                        "the brokers stopped answering in the middle of a topic".to_owned(),
                    ));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// The client, for other questions.
    pub(crate) fn client(&self) -> &BaseConsumer<Context> {
        &self.client
    }
}

/// How many partitions a topic has, and replicas of them; `None` if it does not exist.
pub(crate) fn partitions_of(client: &BaseConsumer<Context>, topic: &str) -> Result<Option<(i32, i32)>, Error> {
    let metadata = client.fetch_metadata(Some(topic), PATIENCE).map_err(unavailable)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    match found.error().map(RDKafkaErrorCode::from) {
        None if found.partitions().is_empty() => Ok(None),
        None => {
            let replicas = found.partitions().iter().map(|partition| partition.replicas().len()).max().unwrap_or(1);
            let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
            Ok(Some((number(found.partitions().len()), number(replicas))))
        }
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
        Some(error) => Err(Error::Unavailable(format!("topic {topic}: {error}"))),
    }
}

/// The names of all topics.
pub(crate) fn topics(client: &BaseConsumer<Context>) -> Result<Vec<String>, Error> {
    let metadata = client.fetch_metadata(None, PATIENCE).map_err(unavailable)?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

/// Where partitions begin or end, with one question to each broker.
pub(crate) fn offsets(
    client: &BaseConsumer<Context>,
    partitions: &[Partition],
    at: Offset,
) -> Result<BTreeMap<Partition, i64>, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition_offset(topic, *partition, at).map_err(unavailable)?;
    }
    let found = client.offsets_for_times(list, PATIENCE).map_err(unavailable)?;
    let mut offsets = BTreeMap::new();
    for element in found.elements() {
        element.error().map_err(unavailable)?;
        let Offset::Offset(offset) = element.offset() else {
            let (topic, partition) = (element.topic(), element.partition());
            return Err(Error::Unavailable(format!("no offset of {topic}[{partition}] was told")));
        };
        offsets.insert((element.topic().to_owned(), element.partition()), offset);
    }
    Ok(offsets)
}

/// What a group has committed; partitions without a commit are left out.
pub(crate) fn committed(
    client: &BaseConsumer<Context>,
    partitions: &[Partition],
) -> Result<BTreeMap<Partition, i64>, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    let found = client.committed_offsets(list, PATIENCE).map_err(unavailable)?;
    let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
        Offset::Offset(offset) => Some(((element.topic().to_owned(), element.partition()), offset)),
        _ => None,
    };
    Ok(found.elements().iter().filter_map(offset).collect())
}

fn unavailable(error: KafkaError) -> Error {
    Error::Unavailable(error.to_string())
}
