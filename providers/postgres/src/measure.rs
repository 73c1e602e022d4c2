//! What is counted. Labels have few values: the name of the database and the outcome; never a statement or a parameter.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use sqlx::PgPool;

const TRANSACTIONS: &str = "swiftcart_postgres_transactions_total";
const RETRIES: &str = "swiftcart_postgres_retries_total";
const DURATION: &str = "swiftcart_postgres_transaction_duration_seconds";
const FLUSH: &str = "swiftcart_postgres_flush_calls";
const SPLITS: &str = "swiftcart_postgres_flush_splits_total";
const IN_USE: &str = "swiftcart_postgres_connections_in_use";
const OPEN: &str = "swiftcart_postgres_connections_open";

/// The counters of one database.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    database: String,
}

impl Measure {
    pub(crate) fn new(database: &str) -> Self {
        describe_counter!(TRANSACTIONS, "Calls by outcome");
        describe_counter!(RETRIES, "Attempts that the server undid and that were made again, by reason");
        describe_histogram!(
            DURATION,
            Unit::Seconds,
            "Whole calls, including the wait for a connection and further attempts"
        );
        describe_histogram!(FLUSH, "Calls that ran as one statement");
        describe_counter!(SPLITS, "Flushes that the server refused and that were run again in halves");
        describe_gauge!(IN_USE, "Connections that are working");
        describe_gauge!(OPEN, "Connections, working or idle");
        Self { database: database.to_owned() }
    }

    pub(crate) fn finished(&self, outcome: &'static str, elapsed: Duration) {
        counter!(TRANSACTIONS, "database" => self.database.clone(), "outcome" => outcome).increment(1);
        histogram!(DURATION, "database" => self.database.clone()).record(elapsed.as_secs_f64());
    }

    pub(crate) fn retried(&self, reason: &'static str) {
        counter!(RETRIES, "database" => self.database.clone(), "reason" => reason).increment(1);
    }

    pub(crate) fn flushed(&self, calls: usize) {
        histogram!(FLUSH, "database" => self.database.clone()).record(u32::try_from(calls).unwrap_or(u32::MAX));
    }

    pub(crate) fn split(&self) {
        counter!(SPLITS, "database" => self.database.clone()).increment(1);
    }

    pub(crate) fn pool(&self, pool: &PgPool) {
        let open = pool.size();
        let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
        gauge!(OPEN, "database" => self.database.clone()).set(open);
        gauge!(IN_USE, "database" => self.database.clone()).set(open.saturating_sub(idle));
    }
}
