//! The names of all metrics of this crate, in one place.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::table::Backlog;

/// Whether this relay is the one at work.
pub(crate) fn active(database: &str, active: bool) {
    gauge!("swiftcart_outbox_active", "database" => database.to_owned()).set(if active { 1.0 } else { 0.0 });
}

/// Rows that wait (counted up to a bound), and the age of the oldest.
pub(crate) fn backlog(database: &str, backlog: Backlog) {
    #[allow(clippy::cast_precision_loss, reason = "counted up to a small bound")]
    gauge!("swiftcart_outbox_unpublished_rows", "database" => database.to_owned()).set(backlog.rows as f64);
    gauge!("swiftcart_outbox_lag_seconds", "database" => database.to_owned()).set(backlog.oldest_seconds.max(0.0));
}

/// A batch was sent: rows in it, rows acknowledged, time until the last acknowledgement.
pub(crate) fn batch(database: &str, rows: usize, acknowledged: usize, took: Duration) {
    let size = u32::try_from(rows).map_or(f64::MAX, f64::from);
    histogram!("swiftcart_outbox_batch_rows", "database" => database.to_owned()).record(size);
    histogram!("swiftcart_outbox_publish_seconds", "database" => database.to_owned()).record(took.as_secs_f64());
    counter!("swiftcart_outbox_published_total", "database" => database.to_owned()).increment(acknowledged as u64);
}

/// A row cannot be published and blocks its key.
pub(crate) fn poison(database: &str) {
    counter!("swiftcart_outbox_poison_total", "database" => database.to_owned()).increment(1);
}
