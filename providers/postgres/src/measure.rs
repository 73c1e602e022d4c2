//! What is counted. Labels have few values: the name of the database and the outcome; never a statement or a parameter.

use std::sync::Arc;
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use crate::sessions::Sessions;

const TRANSACTIONS: &str = "swiftcart_postgres_transactions_total";
const RETRIES: &str = "swiftcart_postgres_retries_total";
const DURATION: &str = "swiftcart_postgres_transaction_duration_seconds";
const FLUSH: &str = "swiftcart_postgres_flush_calls";
const SPLITS: &str = "swiftcart_postgres_flush_splits_total";
const IN_USE: &str = "swiftcart_postgres_connections_in_use";
const OPEN: &str = "swiftcart_postgres_connections_open";

/// How nearly all calls end.
pub(crate) const COMMITTED: &str = "committed";

/// The counters of one database. What each call touches is looked up once.
#[derive(Clone)]
pub(crate) struct Measure(Arc<Counters>);

struct Counters {
    database: String,
    committed: Counter,
    duration: Histogram,
    flush: Histogram,
    open: Gauge,
    in_use: Gauge,
}

impl std::fmt::Debug for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Measure").field(&self.0.database).finish()
    }
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
        let name = || database.to_owned();
        Self(Arc::new(Counters {
            database: name(),
            committed: counter!(TRANSACTIONS, "database" => name(), "outcome" => COMMITTED),
            duration: histogram!(DURATION, "database" => name()),
            flush: histogram!(FLUSH, "database" => name()),
            open: gauge!(OPEN, "database" => name()),
            in_use: gauge!(IN_USE, "database" => name()),
        }))
    }

    pub(crate) fn finished(&self, outcome: &'static str, elapsed: Duration) {
        let counters = &self.0;
        if outcome == COMMITTED {
            counters.committed.increment(1);
        } else {
            counter!(TRANSACTIONS, "database" => counters.database.clone(), "outcome" => outcome).increment(1);
        }
        counters.duration.record(elapsed.as_secs_f64());
    }

    pub(crate) fn retried(&self, reason: &'static str) {
        counter!(RETRIES, "database" => self.0.database.clone(), "reason" => reason).increment(1);
    }

    pub(crate) fn flushed(&self, calls: usize) {
        self.0.flush.record(u32::try_from(calls).unwrap_or(u32::MAX));
    }

    pub(crate) fn split(&self) {
        counter!(SPLITS, "database" => self.0.database.clone()).increment(1);
    }

    pub(crate) fn sessions(&self, all: [&Sessions; 2]) {
        let (mut open, mut idle) = (0, 0);
        for sessions in all {
            open += sessions.pool().size();
            let resting = sessions.pool().num_idle() + sessions.idle();
            idle += u32::try_from(resting).unwrap_or(u32::MAX);
        }
        self.0.open.set(open);
        self.0.in_use.set(open.saturating_sub(idle));
    }
}
