//! What librdkafka tells us on the side: log lines, errors and statistics. Invariant: an outage makes one line per few
//! seconds, not thousands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;

use crate::telemetry;
use crate::throttle::Throttle;

/// The side channel of one client.
pub(crate) struct Context {
    /// The consumer group, if the client is a consumer: then statistics become lag metrics.
    group: Option<Arc<str>>,
    complaints: Throttle,
}

impl Context {
    pub(crate) fn new(group: Option<Arc<str>>) -> Self {
        Self { group, complaints: Throttle::new(Duration::from_secs(5)) }
    }

    /// Says an error of the client, at most once per few seconds.
    pub(crate) fn complain(&self, what: &str) {
        match self.complaints.pass(Instant::now()) {
            Some(swallowed) => tracing::warn!(group = self.group.as_deref(), swallowed, "kafka client: {what}"),
            None => tracing::debug!(group = self.group.as_deref(), "kafka client: {what}"),
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "librdkafka: {line}")
            }
            // The same things arrive as errors, where they are counted and thinned out.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::debug!(facility, "librdkafka: {line}"),
            _ => tracing::trace!(facility, "librdkafka: {line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complain(&format!("{error}: {reason}"));
    }

    fn stats(&self, statistics: Statistics) {
        let Some(group) = &self.group else { return };
        for topic in statistics.topics.values() {
            // Partition -1 is librdkafka's own "unassigned".
            for partition in topic.partitions.values().filter(|partition| partition.partition >= 0) {
                let ours = !matches!(partition.fetch_state.as_str(), "none" | "stopping" | "stopped");
                // A partition of another member counts 0 here, so that the sum over all members is the lag of the
                // group.
                let lag = if ours {
                    lag(partition.lo_offset, partition.hi_offset, partition.committed_offset)
                } else {
                    Some(0)
                };
                if let Some(lag) = lag {
                    telemetry::lag(&topic.topic, partition.partition, group, lag);
                }
            }
        }
    }
}

/// High watermark minus committed offset. Negative offsets mean "not known": without a commit everything from the low
/// watermark on is still to be done. The high watermark is that of the last fetch, so it stands still while a partition
/// is paused; a held partition is told by its own gauge.
fn lag(low: i64, high: i64, committed: i64) -> Option<i64> {
    let begin = if committed >= 0 { committed } else { low.max(0) };
    (high >= 0).then(|| (high - begin).max(0))
}

#[cfg(test)]
mod tests {
    use super::lag;

    #[test]
    fn lag_counts_from_the_commit_or_else_from_the_beginning() {
        assert_eq!(lag(0, 340, 300), Some(40));
        assert_eq!(lag(100, 340, -1001), Some(240));
        assert_eq!(lag(-1, 340, -1001), Some(340));
        assert_eq!(lag(-1001, -1001, -1001), None);
        assert_eq!(lag(0, 340, 341), Some(0));
    }
}
