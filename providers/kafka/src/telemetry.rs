//! The names of all metrics of this crate, in one place. Labels are topics, groups and closed words; never keys or ids.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// One call of a handler ended.
pub(crate) fn handled(topic: &str, group: &str, outcome: &'static str, took: Duration) {
    let labels = [("topic", topic.to_owned()), ("group", group.to_owned()), ("outcome", outcome.to_owned())];
    counter!("swiftcart_kafka_handled_total", &labels).increment(1);
    histogram!("swiftcart_kafka_handle_seconds", &labels).record(took.as_secs_f64());
}

/// A message will be tried again.
pub(crate) fn retried(topic: &str, group: &str) {
    counter!("swiftcart_kafka_retried_total", "topic" => topic.to_owned(), "group" => group.to_owned()).increment(1);
}

/// A message is safely among the dead letters.
pub(crate) fn dead_lettered(topic: &str, group: &str, class: &'static str) {
    let labels = [("topic", topic.to_owned()), ("group", group.to_owned()), ("class", class.to_owned())];
    counter!("swiftcart_kafka_dead_lettered_total", &labels).increment(1);
}

/// A result came for a partition that is no longer ours.
pub(crate) fn late(group: &str) {
    counter!("swiftcart_kafka_late_results_total", "group" => group.to_owned()).increment(1);
}

/// Health of the assignment: partitions that are ours, and those of them that stand still because a dependency is down.
pub(crate) fn assignment(group: &str, assigned: usize, held: usize) {
    gauge!("swiftcart_kafka_assigned_partitions", "group" => group.to_owned()).set(count(assigned));
    gauge!("swiftcart_kafka_held_partitions", "group" => group.to_owned()).set(count(held));
}

/// A message was replayed out of the dead letters for another group.
pub(crate) fn skipped(topic: &str, group: &str) {
    counter!("swiftcart_kafka_skipped_replays_total", "topic" => topic.to_owned(), "group" => group.to_owned())
        .increment(1);
}

/// How long the oldest message that is known and not done has waited; 0 if there is none.
pub(crate) fn oldest_message(topic: &str, group: &str, age_ms: i64) {
    gauge!("swiftcart_kafka_oldest_message_seconds", "topic" => topic.to_owned(), "group" => group.to_owned())
        .set(seconds(age_ms));
}

/// Dead letters of a group that nobody has dealt with, by what keeps them, and how long the oldest has waited.
pub(crate) fn dead_letters(topic: &str, group: &str, open: usize, parked: usize, oldest_ms: i64) {
    for (state, letters) in [("open", open), ("parked", parked)] {
        let labels = [("topic", topic.to_owned()), ("group", group.to_owned()), ("state", state.to_owned())];
        gauge!("swiftcart_kafka_dead_letters", &labels).set(count(letters));
    }
    gauge!("swiftcart_kafka_oldest_dead_letter_seconds", "topic" => topic.to_owned(), "group" => group.to_owned())
        .set(seconds(oldest_ms));
}

/// High watermark minus committed offset of one partition.
pub(crate) fn lag(topic: &str, partition: i32, group: &str, messages: i64) {
    let labels = [("topic", topic.to_owned()), ("partition", partition.to_string()), ("group", group.to_owned())];
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float; a lag above 2^52 is not a lag")]
    gauge!("swiftcart_kafka_lag_messages", &labels).set(messages as f64);
}

/// The end of one attempt to publish a record: `acknowledged`, `rejected` or `unacknowledged`.
pub(crate) fn published(topic: &str, outcome: &'static str) {
    counter!("swiftcart_kafka_published_total", "topic" => topic.to_owned(), "outcome" => outcome).increment(1);
}

/// A producer was replaced after a fatal error.
pub(crate) fn producer_recreated() {
    counter!("swiftcart_kafka_producer_recreated_total").increment(1);
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; so many milliseconds are no age")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

fn count(value: usize) -> f64 {
    u32::try_from(value).map_or(f64::MAX, f64::from)
}
