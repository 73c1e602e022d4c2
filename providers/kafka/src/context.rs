//! What librdkafka tells us on the side: log lines, errors and statistics. Invariant: an outage makes one line per few seconds, not thousands.

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
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::error!(facility, "librdkafka: {line}"),
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
                // A partition of another member counts 0 here, so that the sum over all members is the lag of the group; -1 is "not known yet".
                match if ours { partition.consumer_lag } else { 0 } {
                    lag @ 0.. => telemetry::lag(&topic.topic, partition.partition, group, lag),
                    _ => {}
                }
            }
        }
    }
}
