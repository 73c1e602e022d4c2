//! The thread that polls librdkafka: the only place where a consumer of librdkafka is touched, but for pausing,
//! resuming and committing. Invariants: it polls at all times (so the group never believes us dead), and everything
//! that it learns reaches the dispatcher in the order in which it happened.
//!
//! A thread of its own, because a revocation has to wait for handlers inside of librdkafka's callback, which must not
//! block a task of the runtime.

use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use crate::assignment::{Offsets, TopicPartition};
use crate::config::ConsumerConfig;
use crate::context::Context;
use crate::dispatcher::{Control, Event};
use crate::error::Error;
use crate::message::Message;
use crate::topics::invalid;

/// Events on their way to the dispatcher. It takes them quickly; fetching is bounded by pausing partitions, not by
/// this.
const EVENT_QUEUE: usize = 1_024;

/// How long one poll may wait, and so how soon a stop is noticed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// How much longer than the dispatcher's own limit a revocation waits for the dispatcher.
const REPLY_GRACE: Duration = Duration::from_secs(2);

type Client = BaseConsumer<Rebalances>;

/// The callbacks of one consumer. They run inside of `poll`, on the poll thread.
pub(crate) struct Rebalances {
    side: Context,
    events: mpsc::Sender<Event>,
    revoke_timeout: Duration,
}

impl ClientContext for Rebalances {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.side.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.side.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => {
                tracing::info!(partitions = %names(list), "partitions assigned");
                // Before librdkafka knows of them, so before their first message.
                let _ = self.events.blocking_send(Event::Assigned(partitions(list)));
            }
            Rebalance::Revoke(list) => self.revoke(consumer, list),
            Rebalance::Error(error) => self.side.complain(&format!("rebalance: {error}")),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // librdkafka keeps a pause across assignments: a partition that was paused when it was taken from us would come
        // back paused, and stand still for ever. Nothing of it has been polled yet, so nobody wants it paused now.
        if let Rebalance::Assign(list) = rebalance
            && let Err(error) = consumer.resume(list)
        {
            self.side.complain(&format!("resume after an assignment: {error}"));
        }
    }
}

impl Rebalances {
    /// Waits until running handlers are done or out of time, and commits what is done, while the partitions are still
    /// ours.
    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let lost = consumer.assignment_lost();
        let (reply, answer) = sync_channel(1);
        if self.events.blocking_send(Event::Revoked { partitions: partitions(list), lost, reply }).is_err() {
            return;
        }
        let offsets = answer.recv_timeout(self.revoke_timeout + REPLY_GRACE).unwrap_or_default();
        tracing::info!(partitions = %names(list), lost, "partitions revoked");
        if !lost {
            commit_now(consumer, &offsets);
        }
    }
}

/// A consumer that is being polled.
pub(crate) struct Poller {
    /// To stop it: with the offsets to commit before it leaves its group.
    stop: std::sync::mpsc::Sender<Offsets>,
    ended: oneshot::Receiver<()>,
}

impl Poller {
    /// Joins the group and starts to poll.
    pub(crate) fn start(config: &ConsumerConfig) -> Result<(Self, Handle, mpsc::Receiver<Event>), Error> {
        let (events, inbox) = mpsc::channel(EVENT_QUEUE);
        let side = Context::new(Some(config.group_id.as_str().into()));
        let context = Rebalances { side, events: events.clone(), revoke_timeout: config.revoke_timeout() };
        let client: Client = config.client_config().create_with_context(context).map_err(invalid)?;
        let topics: Vec<&str> = config.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(invalid)?;
        let client = Arc::new(client);
        let handle = Handle { client: Arc::downgrade(&client) };
        let (stop, stopped) = std::sync::mpsc::channel();
        let (done, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("kafka-poll".to_owned());
        let body = move || {
            poll_until_stopped(&client, &events, &stopped);
            // No callback may wait for the dispatcher any more; leaving the group happens here, on this thread.
            drop(events);
            drop(client);
            let _ = done.send(());
        };
        thread.spawn(body).map_err(|error| Error::Unavailable(format!("no thread for the consumer: {error}")))?;
        Ok((Self { stop, ended }, handle, inbox))
    }

    /// Commits, leaves the group and ends the thread. False if that took longer than `patience`: the thread then goes
    /// on ending by itself.
    pub(crate) async fn stop(self, offsets: Offsets, patience: Duration) -> bool {
        let _ = self.stop.send(offsets);
        tokio::time::timeout(patience, self.ended).await.is_ok()
    }
}

fn poll_until_stopped(client: &Client, events: &mpsc::Sender<Event>, stopped: &Receiver<Offsets>) {
    let mut fatal = false;
    loop {
        match stopped.try_recv() {
            Ok(offsets) => return commit_now(client, &offsets),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {}
        }
        let event = match client.poll(POLL_TIMEOUT) {
            None => continue,
            Some(Ok(message)) => Event::Message(Box::new(Message::copied_from(&message))),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                if std::mem::replace(&mut fatal, true) {
                    continue;
                }
                let reason = client
                    .client()
                    .fatal_error()
                    .map_or_else(|| code.to_string(), |(code, reason)| format!("{code}: {reason}"));
                Event::Fatal(reason)
            }
            Some(Err(error)) => {
                client.context().side.complain(&error.to_string());
                continue;
            }
        };
        if events.blocking_send(event).is_err() {
            // The dispatcher is gone; it sends the stop right after.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The dispatcher's hold on the consumer. Weak, so that the consumer always ends on the poll thread.
pub(crate) struct Handle {
    client: Weak<Client>,
}

impl Control for Handle {
    fn pause(&self, partition: &TopicPartition) {
        self.with("pause", |client| client.pause(&list_of([partition])));
    }

    fn resume(&self, partition: &TopicPartition) {
        self.with("resume", |client| client.resume(&list_of([partition])));
    }

    fn commit(&self, offsets: &Offsets) {
        self.with("commit", |client| client.commit(&offset_list(offsets)?, CommitMode::Async));
    }
}

impl Handle {
    fn with(&self, what: &str, call: impl FnOnce(&Client) -> KafkaResult<()>) {
        let Some(client) = self.client.upgrade() else { return };
        if let Err(error) = call(&client) {
            client.context().side.complain(&format!("{what}: {error}"));
        }
    }
}

fn commit_now(client: &BaseConsumer<Rebalances>, offsets: &Offsets) {
    if offsets.is_empty() {
        return;
    }
    let begun = Instant::now();
    let result = offset_list(offsets).and_then(|list| client.commit(&list, CommitMode::Sync));
    match result {
        Ok(()) => tracing::debug!(partitions = offsets.len(), took = ?begun.elapsed(), "offsets committed"),
        // The messages since the last commit will be delivered again.
        Err(error) => tracing::warn!(%error, "the last offsets could not be committed"),
    }
}

fn list_of<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(&partition.topic, partition.partition);
    }
    list
}

fn offset_list(offsets: &Offsets) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(&partition.topic, partition.partition, Offset::Offset(*offset))?;
    }
    Ok(list)
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = list.elements();
    elements
        .iter()
        .map(|element| TopicPartition { topic: element.topic().into(), partition: element.partition() })
        .collect()
}

fn names(list: &TopicPartitionList) -> String {
    let names: Vec<String> =
        list.elements().iter().map(|element| format!("{}[{}]", element.topic(), element.partition())).collect();
    names.join(" ")
}
