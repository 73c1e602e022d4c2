//! Topics are made explicitly, with their final number of partitions: a producer never creates one by accident, and the
//! partition of a key never moves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::connection::Connection;
use crate::context::Context;
use crate::error::Error;

/// How long one call waits for the brokers, all in all.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one metadata request may take.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// Pause between two looks at the metadata.
const METADATA_PAUSE: Duration = Duration::from_millis(50);

/// How long the records of a topic that has to be created are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Retention {
    /// As the brokers are set.
    Brokers,
    /// For ever: what nobody has looked at must not vanish by itself.
    Forever,
    /// The last record of each key, for ever.
    LastOfKey,
}

/// A topic that has to be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) retention: Retention,
}

/// Creates the topics that are missing and waits until every partition of all of them has a leader. A topic that exists
/// is left as it is: adding partitions would move keys, so another number of partitions is only warned about.
///
/// # Errors
/// [`Error::Unavailable`] after at most ten seconds or so, worth another call; [`Error::Invalid`] if the cluster
/// refuses a topic for good.
pub async fn ensure_topics(
    connection: &Connection,
    topics: &[String],
    partitions: i32,
    replication_factor: i32,
) -> Result<(), Error> {
    let plain = |name: &String| Wanted { name: name.clone(), partitions, retention: Retention::Brokers };
    let wanted: Vec<Wanted> = topics.iter().map(plain).collect();
    ensure(connection, &wanted, replication_factor).await
}

/// As [`ensure_topics`], for topics that differ.
pub(crate) async fn ensure(connection: &Connection, topics: &[Wanted], replication_factor: i32) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let config = connection.client_config();
    let admin = AdminClient::from_config_and_context(&config, Context::new(None)).map_err(invalid)?;
    let admin = Arc::new(admin);
    let result = create_and_wait(&admin, topics, replication_factor, deadline).await;
    // Dropping the client joins its thread, which may take a moment.
    tokio::task::spawn_blocking(move || drop(admin));
    result
}

async fn create_and_wait(
    admin: &Arc<AdminClient<Context>>,
    topics: &[Wanted],
    replication_factor: i32,
    deadline: Instant,
) -> Result<(), Error> {
    create(admin, topics, replication_factor).await?;
    for Wanted { name: topic, partitions, .. } in topics {
        loop {
            let client = Arc::clone(admin);
            let name = topic.clone();
            let look = tokio::task::spawn_blocking(move || ready_partitions(&client, &name));
            let seen = look
                .await
                .map_err(|error| Error::Unavailable(format!("the look at the metadata was cut short: {error}")))?;
            match seen {
                Ok(Some(found)) => {
                    if found != *partitions {
                        tracing::warn!(
                            topic,
                            found,
                            configured = partitions,
                            "a topic has another number of partitions than configured; it is left so"
                        );
                    }
                    break;
                }
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(METADATA_PAUSE).await,
                Ok(None) => return Err(Error::Unavailable(format!("topic {topic} has no leader for every partition"))),
                Err(error) if Instant::now() >= deadline => {
                    return Err(Error::Unavailable(format!("no metadata of topic {topic}: {error}")));
                }
                Err(_) => tokio::time::sleep(METADATA_PAUSE).await,
            }
        }
    }
    Ok(())
}

async fn create(admin: &AdminClient<Context>, topics: &[Wanted], replication_factor: i32) -> Result<(), Error> {
    let wanted: Vec<NewTopic<'_>> = topics.iter().map(|topic| new_topic(topic, replication_factor)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE / 2));
    let results = match admin.create_topics(&wanted, &options).await {
        Ok(results) => results,
        Err(KafkaError::AdminOpCreation(reason)) => {
            return Err(Error::Invalid(format!("topics cannot be asked for: {reason}")));
        }
        Err(error) => return Err(Error::Unavailable(format!("topics could not be created: {error}"))),
    };
    for result in results {
        match result {
            Ok(topic) => tracing::info!(topic, replication_factor, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                topic,
                code @ (RDKafkaErrorCode::InvalidTopic
                | RDKafkaErrorCode::InvalidPartitions
                | RDKafkaErrorCode::TopicAuthorizationFailed),
            )) => {
                return Err(Error::Invalid(format!("topic {topic} is refused: {code}")));
            }
            // Among these: too few brokers for the replication factor, which is normal while a cluster starts.
            Err((topic, code)) => {
                return Err(Error::Unavailable(format!("topic {topic} could not be created: {code}")));
            }
        }
    }
    Ok(())
}

fn new_topic(topic: &Wanted, replication_factor: i32) -> NewTopic<'_> {
    let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(replication_factor));
    match topic.retention {
        Retention::Brokers => new,
        Retention::Forever => {
            new.set("cleanup.policy", "delete").set("retention.ms", "-1").set("retention.bytes", "-1")
        }
        Retention::LastOfKey => new.set("cleanup.policy", "compact"),
    }
}

/// The number of partitions, if every one has a leader.
fn ready_partitions(admin: &AdminClient<Context>, topic: &str) -> Result<Option<i32>, KafkaError> {
    let metadata = admin.inner().fetch_metadata(Some(topic), METADATA_TIMEOUT)?;
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(None) };
    let ready = found.error().is_none()
        && !found.partitions().is_empty()
        && found.partitions().iter().all(|partition| partition.error().is_none() && partition.leader() >= 0);
    Ok(ready.then(|| i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)))
}

/// An error from making a client: names the option, never its value.
pub(crate) fn invalid(error: KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, description, key, _) => Error::Invalid(format!("{key}: {description}")),
        other => Error::Invalid(other.to_string()),
    }
}
