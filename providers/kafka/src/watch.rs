//! What stands in queues, for the metrics: the lag of a group, and its dead letters that nobody has dealt with.
//! Invariant: it only looks; and it looks at the brokers, so that a partition that is paused, or another member's, is
//! told as truly as one that flows. All members of a group tell the same numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::topic_partition_list::Offset;
use tokio::sync::oneshot;

use crate::config::ConsumerConfig;
use crate::connection::Connection;
use crate::dead_letter::mark::{self, Entry};
use crate::dead_letter::tail::{self, Partition, Tail};
use crate::dead_letter::{self, Depth, Ledger, Letter, MARKS_TOPIC};
use crate::delivery::wall_clock_ms;
use crate::error::Error;
use crate::telemetry;

/// How often it asks for offsets and tells the numbers.
const INTERVAL: Duration = Duration::from_secs(2);

/// Pause after the brokers did not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// A thread that watches for one consumer.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    ended: oneshot::Receiver<()>,
}

impl Watch {
    /// Begins. Unreachable brokers are waited for.
    pub(crate) fn start(config: &ConsumerConfig) -> Result<Self, Error> {
        let (done, ended) = oneshot::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let mut dead: Vec<String> = config.topics.iter().map(|topic| dead_letter::topic_of(topic)).collect();
        dead.sort();
        dead.dedup();
        let watcher = Watcher {
            connection: config.connection.clone(),
            group: config.group_id.clone(),
            topics: config.topics.clone(),
            dead,
        };
        let body = move || {
            watcher.run(&seen);
            let _ = done.send(());
        };
        let thread = std::thread::Builder::new().name("kafka-watch".to_owned());
        thread.spawn(body).map_err(|error| Error::Unavailable(format!("no thread for the metrics: {error}")))?;
        Ok(Self { stop, ended })
    }

    /// Ends the thread; after `patience` it is left to end by itself.
    pub(crate) async fn stop(mut self, patience: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = tokio::time::timeout(patience, &mut self.ended).await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Watcher {
    connection: Connection,
    group: String,
    topics: Vec<String>,
    dead: Vec<String>,
}

impl Watcher {
    fn run(&self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = self.watch(stop) {
                tracing::debug!(group = self.group, %error, "lag and dead letters are not known now");
                std::thread::sleep(PAUSE);
            }
        }
        // Whoever goes on tells the truth; what is left here must not look like it.
        for topic in &self.dead {
            telemetry::dead_letters(topic, &self.group, 0, 0, 0);
        }
    }

    fn watch(&self, stop: &AtomicBool) -> Result<(), Error> {
        let read: Vec<String> = self.dead.iter().cloned().chain([MARKS_TOPIC.to_owned()]).collect();
        let Some(mut tail) = Tail::open(&self.connection, &self.group, &read)? else {
            return Err(Error::Unavailable("a topic of dead letters is not there yet".to_owned()));
        };
        let mut partitions: Vec<Partition> = Vec::new();
        for topic in &self.topics {
            let (count, _) = tail::partitions_of(tail.client(), topic)?.unwrap_or_default();
            partitions.extend((0..count).map(|partition| (topic.clone(), partition)));
        }
        let mut ledger = Ledger::new(&self.group);
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            match tail.poll()? {
                Some(message) if message.topic == MARKS_TOPIC => {
                    if let Some(Entry::Mark(place, mark)) = mark::read(&message)
                        && self.dead.contains(&place.topic)
                    {
                        ledger.mark(place, mark.state);
                    }
                }
                Some(message) => ledger.letter(&Letter::read(message)),
                None => {}
            }
            if Instant::now() >= next {
                self.tell_lag(&tail, &partitions)?;
                self.tell_letters(&ledger);
                next = Instant::now() + INTERVAL;
            }
        }
        Ok(())
    }

    fn tell_lag(&self, tail: &Tail, partitions: &[Partition]) -> Result<(), Error> {
        let ends = tail::offsets(tail.client(), partitions, Offset::End)?;
        let mut done = tail::committed(tail.client(), partitions)?;
        let without: Vec<Partition> = partitions.iter().filter(|at| !done.contains_key(*at)).cloned().collect();
        if !without.is_empty() {
            done.extend(tail::offsets(tail.client(), &without, Offset::Beginning)?);
        }
        for ((topic, partition), messages) in lags(&ends, &done) {
            telemetry::lag(topic, partition, &self.group, messages);
        }
        Ok(())
    }

    fn tell_letters(&self, ledger: &Ledger) {
        let depths = ledger.depths();
        let now = i64::try_from(wall_clock_ms()).unwrap_or(i64::MAX);
        for topic in &self.dead {
            let Depth { open, parked, oldest_ms } = depths.get(topic.as_str()).copied().unwrap_or_default();
            let age = oldest_ms.map_or(0, |at| now.saturating_sub(at).max(0));
            telemetry::dead_letters(topic, &self.group, open, parked, age);
        }
    }
}

/// High watermark minus committed offset; where nothing is committed, everything from the beginning on is to be done.
fn lags<'a>(
    ends: &'a BTreeMap<Partition, i64>,
    done: &'a BTreeMap<Partition, i64>,
) -> impl Iterator<Item = ((&'a str, i32), i64)> {
    ends.iter().map(|(partition, end)| {
        let done = done.get(partition).copied().unwrap_or(0);
        ((partition.0.as_str(), partition.1), end.saturating_sub(done).max(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_never_negative_and_counts_from_the_beginning_without_a_commit() {
        let at = |partition| ("t".to_owned(), partition);
        let ends = BTreeMap::from([(at(0), 340), (at(1), 340), (at(2), 5)]);
        let done = BTreeMap::from([(at(0), 300), (at(1), 341)]);
        let lags: Vec<i64> = lags(&ends, &done).map(|(_, lag)| lag).collect();
        assert_eq!(lags, [40, 0, 5]);
    }
}
