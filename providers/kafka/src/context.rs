//! What librdkafka tells us on the side: log lines and errors. Invariant: an outage makes one line per few
//! seconds, not thousands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::throttle::Throttle;

/// The side channel of one client.
pub(crate) struct Context {
    /// The consumer group, if the client is a consumer.
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
        // Told here too, besides to whoever asked to be told of the end.
        if matches!(error, KafkaError::Global(RDKafkaErrorCode::PartitionEOF)) {
            return;
        }
        self.complain(&format!("{error}: {reason}"));
    }
}

/// For consumers that only look: they are in no group, so nothing is to be done when one changes.
impl ConsumerContext for Context {}
