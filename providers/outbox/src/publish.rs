//! Publishes one batch so that order per key survives any partial failure. Invariant: a row is sent only when every
//! earlier row of its key, in this batch, was acknowledged.
//!
//! The idempotent producer alone does not give that: when a record times out, one that was queued behind it may still
//! be accepted, and the retry of the first would come after it. So a batch goes out in waves: the first row of every
//! key together, then the second rows, and so on. Rows of one key in one batch are rare (a key is one aggregate), so that
//! there is nearly always one wave, and never more than the longest run of one key.

use std::collections::{HashMap, HashSet, VecDeque};

use async_trait::async_trait;
use swiftcart_provider_kafka::{ProduceError, Producer, Record};

use crate::row::Row;

/// What publishes.
#[async_trait]
pub(crate) trait Publisher: Send + Sync {
    async fn publish(&self, records: Vec<Record>) -> Vec<Result<(), ProduceError>>;
}

#[async_trait]
impl Publisher for Producer {
    async fn publish(&self, records: Vec<Record>) -> Vec<Result<(), ProduceError>> {
        self.send_all(records).await
    }
}

/// A row that can never be published as it is.
#[derive(Debug)]
pub(crate) struct Poison {
    pub(crate) row: Row,
    pub(crate) reason: String,
}

/// What became of a batch. Rows that are in none of the lists were not sent, or not acknowledged: they stay as they
/// are.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Ids of the rows that were acknowledged.
    pub(crate) acknowledged: Vec<i64>,
    /// Rows that block their key.
    pub(crate) poison: Vec<Poison>,
    /// Set if the broker did not acknowledge something: what it said first.
    pub(crate) unavailable: Option<String>,
}

/// Publishes rows, which are in order of id.
pub(crate) async fn in_order(publisher: &dyn Publisher, rows: Vec<Row>) -> Published {
    let mut published = Published::default();
    let mut stopped: HashSet<String> = HashSet::new();
    for wave in waves(rows) {
        let mut sent = Vec::with_capacity(wave.len());
        let mut records = Vec::with_capacity(wave.len());
        for row in wave {
            if stopped.contains(&row.key) {
                continue;
            }
            match row.record() {
                Ok(record) => {
                    records.push(record);
                    sent.push(row);
                }
                Err(reason) => {
                    stopped.insert(row.key.clone());
                    published.poison.push(Poison { row, reason });
                }
            }
        }
        if records.is_empty() {
            continue;
        }
        for (row, result) in sent.into_iter().zip(publisher.publish(records).await) {
            match result {
                Ok(()) => published.acknowledged.push(row.id),
                Err(error) => {
                    stopped.insert(row.key.clone());
                    if error.is_permanent() {
                        published.poison.push(Poison { row, reason: error.to_string() });
                    } else {
                        published.unavailable.get_or_insert(error.to_string());
                    }
                }
            }
        }
        // With the broker away, what was acknowledged is marked first; the rest comes with the next batch.
        if published.unavailable.is_some() {
            break;
        }
    }
    published
}

/// The first rows of all keys, then the second rows, and so on; each wave in the order given.
fn waves(rows: Vec<Row>) -> VecDeque<Vec<Row>> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut waves: VecDeque<Vec<Row>> = VecDeque::new();
    for row in rows {
        let number = seen.entry(row.key.clone()).or_default();
        match waves.get_mut(*number) {
            Some(wave) => wave.push(row),
            None => waves.push_back(vec![row]),
        }
        *number += 1;
    }
    waves
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::Mutex;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    /// Answers by the payload: `ok`, `poison` or `away`; keeps what was sent, wave by wave.
    #[derive(Default)]
    struct Broker(Mutex<Vec<Vec<String>>>);

    #[async_trait]
    impl Publisher for Broker {
        async fn publish(&self, records: Vec<Record>) -> Vec<Result<(), ProduceError>> {
            let name =
                |record: &Record| format!("{}{}", String::from_utf8_lossy(record.key.as_ref().unwrap()), record.topic);
            self.0.lock().unwrap().push(records.iter().map(name).collect());
            let answer = |record: &Record| match record.payload.as_slice() {
                b"poison" => Err(ProduceError::Rejected("too large".to_owned())),
                b"away" => Err(ProduceError::Unacknowledged("timed out".to_owned())),
                _ => Ok(()),
            };
            records.iter().map(answer).collect()
        }
    }

    fn rows(specification: &[(&str, &str)]) -> Vec<Row> {
        let row = |(id, (key, payload)): (usize, &(&str, &str))| Row {
            id: i64::try_from(id).unwrap(),
            event_id: Uuid::nil(),
            topic: id.to_string(),
            key: (*key).to_owned(),
            payload: (*payload).to_owned(),
            headers: if *payload == "malformed" { json!(1) } else { json!({}) },
        };
        specification.iter().enumerate().map(row).collect()
    }

    #[tokio::test]
    async fn rows_of_one_key_go_one_after_the_other() {
        let broker = Broker::default();
        let published =
            in_order(&broker, rows(&[("a", "ok"), ("b", "ok"), ("a", "ok"), ("a", "ok"), ("c", "ok"), ("b", "ok")]))
                .await;
        assert_eq!(*broker.0.lock().unwrap(), [vec!["a0", "b1", "c4"], vec!["a2", "b5"], vec!["a3"]]);
        assert_eq!(published.acknowledged, [0, 1, 4, 2, 5, 3]);
    }

    #[tokio::test]
    async fn poison_stops_its_key_only() {
        let broker = Broker::default();
        let published = in_order(
            &broker,
            rows(&[("a", "poison"), ("b", "ok"), ("a", "ok"), ("b", "ok"), ("c", "malformed"), ("c", "ok")]),
        )
        .await;
        assert_eq!(*broker.0.lock().unwrap(), [vec!["a0", "b1"], vec!["b3"]]);
        assert_eq!(published.acknowledged, [1, 3]);
        assert_eq!(published.poison.iter().map(|poison| poison.row.id).collect::<Vec<_>>(), [4, 0]);
        assert!(published.unavailable.is_none());
    }

    #[tokio::test]
    async fn what_is_not_acknowledged_is_not_overtaken() {
        let broker = Broker::default();
        let published = in_order(&broker, rows(&[("a", "ok"), ("b", "away"), ("b", "ok"), ("a", "ok")])).await;
        assert_eq!(*broker.0.lock().unwrap(), [vec!["a0", "b1"]]);
        assert_eq!(published.acknowledged, [0]);
        assert!(published.unavailable.unwrap().contains("timed out"));
    }
}
