//! Logs and metrics of the host. Logs go to standard error, one record a line; metrics are kept in memory until they are scraped.
//! Neither ever holds a secret or personal data: what is logged is named fields, never a whole request or config.
//!
//! Invariant: whoever logs does not wait for whoever reads the log. A thread writes the records, as many at once as are there; what a stalled reader leaves
//! no room for is dropped and counted.

use std::io::{BufWriter, IsTerminal, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::limits;

/// Upper bounds for durations: finer from 0.1 ms to 50 ms, where calls are, up to the longest time-out of a call.
const SECONDS_BUCKETS: [f64; 17] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds for sizes of bodies and messages.
const BYTES_BUCKETS: [f64; 8] = [64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0];
/// Upper bounds for counts: batches, attempts, uses.
const COUNT_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Histograms keep raw samples until then; a scrape does the same work.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Log records that found no room.
static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// How log records look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line, fields at the top level.
    Json,
    /// For people.
    Text,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// How records look.
    pub format: LogFormat,
    /// Directives of [`EnvFilter`].
    pub filter: String,
}

/// Why logs or metrics cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not understood.
    #[error("--log-filter `{filter}` is not understood: {source}")]
    Filter {
        /// What was given.
        filter: String,
        /// What the parser says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// This process logs already.
    #[error("logging is set up already: {0}")]
    Logs(#[from] TryInitError),
    /// This process has a metrics recorder already.
    #[error("metrics are set up already: {0}")]
    Metrics(#[from] BuildError),
}

/// Sends the records of this process to standard error, for as long as what it returns is held; then what still waits is written. Call it once, first.
///
/// # Errors
/// When the filter is not understood, or when it was called before.
pub fn init_logs(config: &LogConfig) -> Result<WorkerGuard, TelemetryError> {
    let filter = EnvFilter::builder().parse(&config.filter);
    let filter = filter.map_err(|source| TelemetryError::Filter { filter: config.filter.clone(), source })?;
    let registry = tracing_subscriber::registry().with(filter);
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(limits::LOG_QUEUE).thread_name("log");
    let (writer, guard) = builder.finish(BufWriter::with_capacity(limits::LOG_WRITE_BYTES, stderr()));
    let dropped = writer.error_counter();
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match config.format {
        LogFormat::Json => {
            registry.with(layer.json().flatten_event(true).with_current_span(true).with_span_list(false)).try_init()?
        }
        LogFormat::Text => registry.with(layer.with_ansi(stderr().is_terminal())).try_init()?,
    }
    let _ = DROPPED.set(dropped);
    Ok(guard)
}

/// Names of the host's own metrics, so that they are written once. Labels are in brackets.
pub mod names {
    /// Always 1. `[version]`
    pub const INFO: &str = "swiftcart_host_info";
    /// 1 while `/readyz` says yes.
    pub const READY: &str = "swiftcart_host_ready";
    /// Log records that were dropped because nobody reads the log.
    pub const LOG_DROPPED: &str = "swiftcart_log_dropped_total";
    /// Requests to the admin port. `[path, status]`
    pub const ADMIN_REQUESTS: &str = "swiftcart_admin_requests_total";
    /// Calls of components that did not end with an answer. `[component, class]`
    pub const COMPONENT_FAILURES: &str = "swiftcart_component_failures_total";
    /// What ticks said that they did. `[timer]`
    pub const TIMER_WORK: &str = "swiftcart_timer_work_total";
    /// Ticks that failed. `[timer]`
    pub const TIMER_FAILURES: &str = "swiftcart_timer_failures_total";
}

/// Makes the recorder of this process and describes the host's metrics. The histograms of the whole process, the providers' too, get
/// their buckets by the end of their names: `_seconds`, `_bytes`, `_count`.
///
/// # Errors
/// When the process has a recorder already.
pub fn init_metrics() -> Result<PrometheusHandle, TelemetryError> {
    let handle = builder()?.install_recorder()?;
    describe();
    gauge!(names::INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), &BYTES_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_count".into()), &COUNT_BUCKETS)
}

fn describe() {
    describe_gauge!(names::INFO, "Version of this host.");
    describe_gauge!(names::READY, "1 while this host is ready to serve.");
    describe_counter!(names::LOG_DROPPED, Unit::Count, "Log records that were dropped because nobody reads the log.");
    describe_counter!(names::ADMIN_REQUESTS, Unit::Count, "Requests to the admin port.");
    describe_counter!(names::COMPONENT_FAILURES, Unit::Count, "Calls of components that did not end with an answer.");
    describe_counter!(names::TIMER_WORK, Unit::Count, "What ticks of timers said that they did.");
    describe_counter!(names::TIMER_FAILURES, Unit::Count, "Ticks of timers that failed.");
}

/// Keeps the memory of histograms bounded when nobody scrapes, and counts log records that were dropped. Runs until `stop`.
pub async fn keep_up(handle: PrometheusHandle, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        handle.run_upkeep();
        if let Some(dropped) = DROPPED.get() {
            counter!(names::LOG_DROPPED).absolute(u64::try_from(dropped.dropped_lines()).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn histograms_get_buckets_by_their_unit() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            describe();
            metrics::histogram!("swiftcart_edge_request_seconds", "route" => "a").record(0.003);
            metrics::histogram!("swiftcart_edge_body_bytes").record(100.0);
            metrics::counter!(names::TIMER_WORK, "timer" => "a").increment(2);
        });
        let text = handle.render();
        for line in [
            "# TYPE swiftcart_edge_request_seconds histogram",
            r#"swiftcart_edge_request_seconds_bucket{route="a",le="0.0025"} 0"#,
            r#"swiftcart_edge_request_seconds_bucket{route="a",le="0.005"} 1"#,
            r#"swiftcart_edge_body_bytes_bucket{le="256"} 1"#,
            "# HELP swiftcart_timer_work_total What ticks of timers said that they did.",
            r#"swiftcart_timer_work_total{timer="a"} 2"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn a_filter_that_is_not_understood_is_named() {
        let error = init_logs(&LogConfig { format: LogFormat::Json, filter: "swiftcart=loud".into() }).unwrap_err();
        assert!(error.to_string().starts_with("--log-filter `swiftcart=loud` is not understood:"), "{error}");
    }

    #[tokio::test]
    async fn upkeep_ends_when_told() {
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep_up(builder().unwrap().build_recorder().handle(), stop.clone()));
        tokio::task::yield_now().await;
        stop.cancel();
        task.await.unwrap();
    }
}
