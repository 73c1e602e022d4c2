//! The relay from start to end: topics, lock, work, resign. Invariant: an unreachable database or cluster never ends
//! it; only a shutdown or a refused configuration does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use swiftcart_provider_kafka::step::Steps;
use swiftcart_provider_kafka::{Producer, ensure_topics};
use swiftcart_provider_postgres::Postgres;
use tokio_util::sync::CancellationToken;

use crate::blocked::Blocked;
use crate::config::Config;
use crate::error::Error;
use crate::leader::Leader;
use crate::pace::Pace;
use crate::publish::{self, Poison, Publisher};
use crate::row::Row;
use crate::table::Table;
use crate::telemetry;

/// How often the backlog is measured.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(5);

/// The pause after a failure doubles from the first of these to the second.
const FAILURE_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A relay that worked for so long before an error starts its pauses from the beginning.
const GOOD_TIME: Duration = Duration::from_secs(10);

/// An outage is logged at its first failure, and then every so many.
const LOG_EVERY: u32 = 5;

/// Publishes the rows of one outbox table.
pub struct Relay {
    config: Config,
    table: Table,
    postgres: Arc<Postgres>,
    publisher: Arc<dyn Publisher>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay for one table of a database. Nothing happens before [`Self::run`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if the configuration is.
    pub fn new(config: Config, postgres: Arc<Postgres>, producer: Arc<Producer>) -> Result<Self, Error> {
        config.validate()?;
        let table = Table::new(&config.table);
        Ok(Self { config, table, postgres, publisher: producer })
    }

    /// Publishes until `shutdown`. A batch that is being sent is finished and marked first, which takes at most about
    /// the producer's delivery time-out.
    ///
    /// # Errors
    /// [`Error::Invalid`], or [`Error::Kafka`] if the cluster refuses a topic for good. Everything else is waited out.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut failures = 0;
        let mut topics_ready = false;
        while !shutdown.is_cancelled() {
            let begun = Instant::now();
            let result = if topics_ready {
                // Heeds the shutdown by itself, so that a batch is never cut off between its acknowledgements and their
                // marks.
                self.lead(&shutdown).await
            } else {
                tokio::select! {
                    result = self.prepare_topics() => result.map(|()| topics_ready = true),
                    () = shutdown.cancelled() => break,
                }
            };
            match result {
                Ok(()) => failures = 0,
                Err(error @ (Error::Invalid(_) | Error::Kafka(swiftcart_provider_kafka::Error::Invalid(_)))) => {
                    return Err(error);
                }
                Err(error) => {
                    // After some good time an error is a new one, and not the next of a row.
                    failures = if begun.elapsed() > GOOD_TIME { 1 } else { failures + 1 };
                    complain(failures, &error.to_string());
                    pause(pause_after(failures), &shutdown).await;
                }
            }
        }
        Ok(())
    }

    async fn prepare_topics(&self) -> Result<(), Error> {
        let Config { producer, topics, partitions, replication_factor, .. } = &self.config;
        Ok(ensure_topics(&producer.connection, topics, *partitions, *replication_factor).await?)
    }

    /// Waits for the lock, works, and gives the lock back.
    async fn lead(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let Some(mut leader) = Leader::acquire(self.postgres.pool(), &self.table, shutdown).await? else {
            return Ok(());
        };
        tracing::info!(database = leader.database, table = self.config.table, "the outbox relay is at work");
        telemetry::active(&leader.database, true);
        let result = self.work(&mut leader, shutdown).await;
        telemetry::active(&leader.database, false);
        leader.resign().await;
        result
    }

    async fn work(&self, leader: &mut Leader, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut failures = 0;
        let mut pace = Pace::new(self.config.poll_interval(), self.config.idle_interval());
        let mut blocked = Blocked::default();
        let mut measured: Option<Instant> = None;
        while !shutdown.is_cancelled() {
            if measured.is_none_or(|at| at.elapsed() >= BACKLOG_INTERVAL) {
                measured = Some(Instant::now());
                telemetry::backlog(&leader.database, self.table.backlog(&mut leader.connection).await?);
            }
            let without = blocked.keys(Instant::now());
            let rows = self.table.unpublished(&mut leader.connection, self.config.batch_size, without).await?;
            let found = rows.len();
            let unavailable = if rows.is_empty() { None } else { self.publish(leader, rows, &mut blocked).await? };
            let wait = match unavailable {
                None => {
                    failures = 0;
                    pace.after(found, self.config.batch_size as usize)
                }
                Some(reason) => {
                    failures += 1;
                    complain(failures, &reason);
                    pause_after(failures)
                }
            };
            pause(wait, shutdown).await;
        }
        Ok(())
    }

    /// Sends a batch and marks what was acknowledged. Returns why, if Kafka did not take everything that it could take.
    async fn publish(
        &self,
        leader: &mut Leader,
        rows: Vec<Row>,
        blocked: &mut Blocked,
    ) -> Result<Option<String>, Error> {
        let begun = Instant::now();
        let count = rows.len();
        let row = Steps::begin("relay", || topics_of(&rows));
        let publishing = row.next(|| format!("publish {count} rows"));
        if let Err(reason) = publishing.before() {
            return Ok(Some(reason));
        }
        let published = publish::in_order(self.publisher.as_ref(), rows).await;
        if let Err(reason) = publishing.after() {
            return Ok(Some(reason));
        }
        telemetry::batch(&leader.database, count, published.acknowledged.len(), begun.elapsed());
        for poison in published.poison {
            let Poison { row, reason } = poison;
            let (database, event_id, id, topic) = (&leader.database, row.event_id, row.id, &row.topic);
            telemetry::poison(database);
            tracing::error!(database, %event_id, id, topic, reason, "an outbox row cannot be published; its key waits");
            blocked.block(row.key, Instant::now());
        }
        if !published.acknowledged.is_empty() {
            // If this fails, or we die before it, the rows are published again: at least once.
            let marking = row.next(|| format!("mark {} rows", published.acknowledged.len()));
            let lost = |_| Error::Timeout("marking rows as published");
            marking.before().map_err(lost)?;
            self.table.mark(&mut leader.connection, &published.acknowledged).await?;
            marking.after().map_err(lost)?;
        }
        Ok(published.unavailable)
    }
}

/// Where a batch goes, each topic once.
fn topics_of(rows: &[Row]) -> String {
    let topics: BTreeSet<&str> = rows.iter().map(|row| row.topic.as_str()).collect();
    topics.into_iter().collect::<Vec<_>>().join(" ")
}

async fn pause(pause: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = shutdown.cancelled() => {}
    }
}

fn pause_after(failures: u32) -> Duration {
    let doubled = FAILURE_PAUSE.0.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let jitter: f64 = rand::random();
    doubled.min(FAILURE_PAUSE.1).mul_f64(0.5 + jitter / 2.0)
}

fn complain(failures: u32, reason: &str) {
    if failures % LOG_EVERY == 1 {
        tracing::warn!(failures, reason, "the outbox relay cannot publish; it goes on trying");
    } else {
        tracing::debug!(failures, reason, "the outbox relay cannot publish");
    }
}
