//! A consumer from start to end: topics, group, work, leave. Invariant: an unreachable cluster or a broken client never
//! ends it; only a shutdown or a configuration that is refused does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::config::{ConsumerConfig, ProducerConfig};
use crate::dead_letter::{self, mark};
use crate::delivery::{Graveyard, Workshop};
use crate::dispatcher::{Dispatcher, Ended, Rules};
use crate::error::Error;
use crate::message::Handler;
use crate::poller::Poller;
use crate::producer::Producer;
use crate::status::Status;
use crate::topics::{self, Retention, Wanted};
use crate::watch::Watch;

/// How long the last commit and leaving the group may take.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the thread that looks for the metrics may take to end; it has nothing to lose.
const WATCH_TIMEOUT: Duration = Duration::from_secs(1);

/// Waits between attempts to reach the cluster, or to start again after a fatal error.
const START_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// A consumer that worked for so long before an error starts its waits from the beginning. Shorter ones may be two
/// members with one instance id that throw each other out.
const GOOD_TIME: Duration = Duration::from_secs(60);

/// Consumes topics as a member of a group.
#[derive(Debug)]
pub struct Consumer;

impl Consumer {
    /// Consumes until `shutdown`, then lets running handlers finish (bounded), commits and leaves the group.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the configuration or a topic is refused for good. Everything else is waited out.
    pub async fn run(
        config: ConsumerConfig,
        handler: Arc<dyn Handler>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let (status, _) = watch::channel(Status::default());
        Self::run_observed(config, handler, shutdown, status).await
    }

    /// As [`Self::run`], and tells how it is.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_observed(
        config: ConsumerConfig,
        handler: Arc<dyn Handler>,
        shutdown: CancellationToken,
        status: watch::Sender<Status>,
    ) -> Result<(), Error> {
        let producer: Arc<dyn Graveyard> = Arc::new(Producer::new(ProducerConfig::new(config.connection.clone()))?);
        let backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
        let mut failures = 0;
        while !shutdown.is_cancelled() {
            let begun = Instant::now();
            let workshop = Workshop {
                group: config.group_id.as_str().into(),
                handler: Arc::clone(&handler),
                graveyard: Arc::clone(&producer),
                handle_timeout: Duration::from_millis(config.handle_timeout_ms),
            };
            let ended = tokio::select! {
                ready = prepare_topics(&config) => match ready {
                    Ok(()) => session(&config, workshop, &shutdown, &status).await,
                    Err(error) => Err(error),
                },
                () = shutdown.cancelled() => return Ok(()),
            };
            match ended {
                Ok(()) => return Ok(()),
                Err(error @ Error::Invalid(_)) => return Err(error),
                Err(error) => {
                    failures = if begun.elapsed() > GOOD_TIME { 1 } else { failures + 1 };
                    let wait = backoff.probe(failures, rand::random());
                    tracing::warn!(group = config.group_id, failures, ?wait, %error, "the consumer starts again");
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
        }
        Ok(())
    }
}

/// The topics, their dead letter topics, so that a dead letter never waits for a topic, and the topic of what became of
/// dead letters.
async fn prepare_topics(config: &ConsumerConfig) -> Result<(), Error> {
    let topic = |name: String, retention| Wanted { name, partitions: config.partitions, retention };
    let consumed = config.topics.iter().map(|name| topic(name.clone(), Retention::Brokers));
    let dead = config.topics.iter().map(|name| topic(dead_letter::topic_of(name), Retention::Forever));
    let mut topics: Vec<Wanted> = consumed.chain(dead).chain([mark::topic()]).collect();
    topics.sort();
    topics.dedup();
    topics::ensure(&config.connection, &topics, config.replication_factor).await
}

/// One membership of the group.
async fn session(
    config: &ConsumerConfig,
    workshop: Workshop,
    shutdown: &CancellationToken,
    status: &watch::Sender<Status>,
) -> Result<(), Error> {
    let watch = Watch::start(config)?;
    let (poller, handle, mut events) = Poller::start(config)?;
    status.send_modify(|status| status.started = true);
    let dispatcher = Dispatcher::new(Rules::from(config), workshop, handle, status.clone());
    let (ended, offsets) = dispatcher.run(&mut events, shutdown).await;
    // Closed before the stop: callbacks while leaving find nobody to wait for, and go on at once.
    drop(events);
    if !poller.stop(offsets, LEAVE_TIMEOUT).await {
        tracing::warn!(group = config.group_id, "leaving the group takes long; it is left to time out");
    }
    watch.stop(WATCH_TIMEOUT).await;
    match ended {
        Ended::Shutdown => Ok(()),
        Ended::Fatal(reason) => Err(Error::Fatal(reason)),
    }
}
