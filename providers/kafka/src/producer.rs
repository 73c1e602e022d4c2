//! Publishing. Invariant: a record is reported as published only when the broker has acknowledged it from all in-sync
//! replicas; after a fatal error of the idempotent producer (its sequence can no longer be trusted) a new one takes
//! over, and what was not acknowledged is reported as such.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header as WireHeader, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _};
use rdkafka::util::Timeout;
use tokio::sync::oneshot;

use crate::config::{MAX_RECORD_BYTES, ProducerConfig};
use crate::error::{Error, ProduceError};
use crate::message::Record;
use crate::served::{Acknowledgement, Served};
use crate::telemetry;

/// Pause before another try when librdkafka's queue is full; it empties at the pace of acknowledgements.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// An idempotent producer. Cheap to share behind an `Arc`; safe for any number of callers.
pub struct Producer {
    config: ProducerConfig,
    /// Replaced after a fatal error, never emptied.
    client: Mutex<Arc<Served>>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Producer {
    /// Makes a producer. It connects in the background: an unreachable broker is no error here, but makes
    /// [`Self::send_all`] wait.
    ///
    /// # Errors
    /// [`Error::Invalid`] if librdkafka refuses the configuration.
    pub fn new(config: ProducerConfig) -> Result<Self, Error> {
        let client = Mutex::new(Served::start(&config)?);
        Ok(Self { config, client })
    }

    /// Publishes records and waits for every acknowledgement; the answers are in the order of the records. Records are
    /// queued in order, so that of one partition they are in the log in order, as far as they are acknowledged. If one
    /// fails, a later one may still have been accepted: a caller that must not publish a record before an earlier one
    /// passes them in separate calls.
    ///
    /// Waits at most about twice the delivery time-out: once for room in the queue, once for the acknowledgements.
    pub async fn send_all(&self, records: Vec<Record>) -> Vec<Result<(), ProduceError>> {
        let client = self.current();
        let deadline = Instant::now() + Duration::from_millis(self.config.delivery_timeout_ms);
        let mut queued = Vec::with_capacity(records.len());
        for record in &records {
            queued.push(enqueue(&client, record, deadline).await);
        }
        let mut results = Vec::with_capacity(queued.len());
        // Backwards: the last is acknowledged last, so most of the others need not be waited for one by one.
        for (queued, record) in queued.into_iter().zip(&records).rev() {
            let result = match queued {
                Ok(acknowledgement) => acknowledged(acknowledgement).await,
                Err(error) => Err(error),
            };
            telemetry::published(&record.topic, outcome(&result));
            results.push(result);
        }
        results.reverse();
        self.replace_if_fatal(&client);
        results
    }

    /// Publishes one record and waits for its acknowledgement.
    pub async fn send(&self, record: Record) -> Result<(), ProduceError> {
        let nothing = || Err(ProduceError::Unacknowledged("the producer gave no answer".to_owned()));
        self.send_all(vec![record]).await.pop().unwrap_or_else(nothing)
    }

    /// Waits until queued records of others are acknowledged, for at most `timeout`. Callers of [`Self::send_all`] need
    /// no flush.
    pub async fn flush(&self, timeout: Duration) -> Result<(), Error> {
        let client = self.current();
        let flushed = tokio::task::spawn_blocking(move || client.flush(Timeout::After(timeout))).await;
        match flushed {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Error::Unavailable(format!("not everything was acknowledged: {error}"))),
            Err(error) => Err(Error::Unavailable(format!("the flush was cut short: {error}"))),
        }
    }

    fn current(&self) -> Arc<Served> {
        Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace_if_fatal(&self, used: &Arc<Served>) {
        let Some((code, reason)) = used.client().fatal_error() else { return };
        let fresh = match Served::start(&self.config) {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, "a failed producer could not be replaced; the next call tries again");
                return;
            }
        };
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&current, used) {
            tracing::error!(%code, reason, "the producer had a fatal error and was replaced");
            telemetry::producer_recreated();
            *current = fresh;
        }
    }
}

async fn enqueue(
    client: &Served,
    record: &Record,
    deadline: Instant,
) -> Result<oneshot::Receiver<Acknowledgement>, ProduceError> {
    if size(record) > MAX_RECORD_BYTES {
        return Err(ProduceError::Rejected(format!(
            "{} bytes with headers, more than {MAX_RECORD_BYTES}",
            size(record)
        )));
    }
    let (told, acknowledgement) = oneshot::channel();
    let mut wire: BaseRecord<'_, [u8], [u8], _> = BaseRecord::with_opaque_to(&record.topic, Box::new(told))
        .payload(record.payload.as_slice())
        .headers(wire_headers(record));
    if let Some(key) = &record.key {
        wire = wire.key(key);
    }
    if let Some(partition) = record.partition {
        wire = wire.partition(partition);
    }
    loop {
        match client.send(wire) {
            Ok(()) => return Ok(acknowledgement),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if Instant::now() < deadline => {
                wire = back;
                tokio::time::sleep(QUEUE_FULL_PAUSE).await;
            }
            Err((error, _)) => return Err(classify(&error)),
        }
    }
}

fn wire_headers(record: &Record) -> OwnedHeaders {
    let headers = OwnedHeaders::new_with_capacity(record.headers.len());
    record
        .headers
        .iter()
        .fold(headers, |headers, header| headers.insert(WireHeader { key: &header.name, value: Some(&header.value) }))
}

/// Payload, key and headers, with the overhead of the record format rounded up.
fn size(record: &Record) -> usize {
    const OVERHEAD_BYTES: usize = 128;
    let headers: usize = record.headers.iter().map(|header| header.name.len() + header.value.len() + 10).sum();
    record.payload.len() + record.key.as_ref().map_or(0, Vec::len) + headers + OVERHEAD_BYTES
}

async fn acknowledged(acknowledgement: oneshot::Receiver<Acknowledgement>) -> Result<(), ProduceError> {
    match acknowledgement.await {
        Ok(acknowledgement) => acknowledgement.map_err(|error| classify(&error)),
        Err(_) => Err(ProduceError::Unacknowledged("the producer was replaced".to_owned())),
    }
}

/// Only errors that are about this record, and certain to come again, count as permanent.
fn classify(error: &KafkaError) -> ProduceError {
    let permanent = [
        RDKafkaErrorCode::MessageSizeTooLarge,
        RDKafkaErrorCode::InvalidMessageSize,
        RDKafkaErrorCode::InvalidRecord,
        RDKafkaErrorCode::InvalidTopic,
        RDKafkaErrorCode::InvalidTimestamp,
        RDKafkaErrorCode::InvalidArgument,
    ];
    match error {
        KafkaError::MessageProduction(code) if permanent.contains(code) => ProduceError::Rejected(code.to_string()),
        KafkaError::Nul(_) => ProduceError::Rejected("the topic name has a zero byte".to_owned()),
        other => ProduceError::Unacknowledged(other.to_string()),
    }
}

fn outcome(result: &Result<(), ProduceError>) -> &'static str {
    match result {
        Ok(()) => "acknowledged",
        Err(ProduceError::Rejected(_)) => "rejected",
        Err(ProduceError::Unacknowledged(_)) => "unacknowledged",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rdkafka::mocking::MockCluster;
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::connection::Connection;
    use crate::message::Header;

    #[test]
    fn only_errors_of_the_record_itself_are_permanent() {
        let of = |code| classify(&KafkaError::MessageProduction(code)).is_permanent();
        assert!(of(RDKafkaErrorCode::MessageSizeTooLarge) && of(RDKafkaErrorCode::InvalidTopic));
        assert!(
            !of(RDKafkaErrorCode::MessageTimedOut)
                && !of(RDKafkaErrorCode::UnknownTopic)
                && !of(RDKafkaErrorCode::Fatal)
        );
        assert!(!of(RDKafkaErrorCode::QueueFull) && !classify(&KafkaError::Canceled).is_permanent());
    }

    /// Goal: after a fatal error nothing counts as published, and the next call works. Method: librdkafka's mock
    /// cluster answers the first produce request with a sequence error, which means that producer and broker disagree
    /// for good.
    #[tokio::test]
    async fn a_fatal_error_replaces_the_producer() {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("t", 1, 1).unwrap();
        cluster
            .request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
        let config = ProducerConfig {
            delivery_timeout_ms: 5_000,
            ..ProducerConfig::new(Connection::plain(cluster.bootstrap_servers()))
        };
        let producer = Producer::new(config).unwrap();
        let before = producer.current();
        let record = || Record {
            topic: "t".to_owned(),
            key: None,
            partition: None,
            payload: b"x".to_vec(),
            headers: Vec::new(),
        };
        let first = producer.send_all(vec![record(), record()]).await;
        assert!(first.iter().all(|result| matches!(result, Err(ProduceError::Unacknowledged(_)))), "{first:?}");
        assert!(!Arc::ptr_eq(&before, &producer.current()), "a new producer");
        assert_eq!(producer.send_all(vec![record(), record()]).await, [Ok(()), Ok(())]);
    }

    /// Goal: a record that is too large is refused alone, without a broker; one that fits is not acknowledged in time.
    /// Method: an address where nobody listens.
    #[tokio::test]
    async fn without_a_broker_nothing_counts_as_published() {
        let config =
            ProducerConfig { delivery_timeout_ms: 300, ..ProducerConfig::new(Connection::plain("127.0.0.1:1")) };
        let producer = Producer::new(config).unwrap();
        let record = |bytes| Record {
            topic: "t".to_owned(),
            key: None,
            partition: None,
            payload: vec![0; bytes],
            headers: vec![Header::new("a", "b")],
        };
        let results = producer.send_all(vec![record(10), record(MAX_RECORD_BYTES), record(10), record(10)]).await;
        let permanent: Vec<_> = results.into_iter().map(|result| result.unwrap_err().is_permanent()).collect();
        assert_eq!(permanent, [false, true, false, false], "in the order of the records");
    }
}
