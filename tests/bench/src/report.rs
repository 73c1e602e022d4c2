//! The figures of a run, for people and as the JSON file whose shape is kept from release to release.

use std::fs;
use std::path::Path;

use anyhow::ensure;
use serde::Serialize;
use serde_json::json;

use crate::Mode;
use crate::cpu::Usage;
use crate::load::Outcome;

/// One variant under one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    variant: &'static str,
    mode: Mode,
    /// Orders due per second; none in a closed loop.
    rate_per_s: Option<f64>,
    throughput_per_s: f64,
    latency_ms: Latency,
    errors: usize,
    event_to_stock_ms: Lag,
    cpu_us_per_order: Cpu,
}

#[derive(Clone, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p99_9: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Lag {
    p50: f64,
    p99: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Cpu {
    host: f64,
    postgres: Option<f64>,
}

impl Run {
    /// `lags_us` is sorted.
    pub(crate) fn new(mode: Mode, rate: f64, outcome: &Outcome, lags_us: &[i64], used: Usage) -> Self {
        for error in outcome.errors.iter().take(5) {
            eprintln!("error: {error}");
        }
        let orders = outcome.confirmed.len().max(1) as f64;
        let latency = |quantile| outcome.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        let lag = |quantile: f64| {
            let index = (lags_us.len().saturating_sub(1) as f64 * quantile).round() as usize;
            lags_us.get(index).map_or(0.0, |lag| *lag as f64 / 1000.0)
        };
        Self {
            variant: "shop",
            mode,
            rate_per_s: (mode == Mode::Open).then_some(rate),
            throughput_per_s: outcome.confirmed.len() as f64 / outcome.elapsed.as_secs_f64(),
            latency_ms: Latency { p50: latency(0.5), p99: latency(0.99), p99_9: latency(0.999) },
            errors: outcome.errors.len(),
            event_to_stock_ms: Lag { p50: lag(0.5), p99: lag(0.99) },
            cpu_us_per_order: Cpu {
                host: used.host_us as f64 / orders,
                postgres: used.postgres_us.map(|us| us as f64 / orders),
            },
        }
    }

    /// A few lines for people.
    pub(crate) fn print(&self) {
        let (latency, lag) = (&self.latency_ms, &self.event_to_stock_ms);
        println!("throughput       {:>9.1} orders/s, {} errors", self.throughput_per_s, self.errors);
        println!(
            "latency          {:>9.1} ms p50, {:.1} ms p99, {:.1} ms p99.9",
            latency.p50, latency.p99, latency.p99_9
        );
        println!("event to stock   {:>9.1} ms p50, {:.1} ms p99", lag.p50, lag.p99);
        let postgres = self.cpu_us_per_order.postgres.map_or("not ours".to_owned(), |us| format!("{us:.0} us"));
        println!("CPU per order    {:>9.0} us host, {postgres} PostgreSQL", self.cpu_us_per_order.host);
        println!("all orders accounted for: confirmed, charged once, published, applied to stock");
    }

    /// The floor of the system's design (`docs/performance.md`).
    pub(crate) fn check_floor(&self) -> anyhow::Result<()> {
        ensure!(self.errors == 0, "{} errors", self.errors);
        ensure!(self.latency_ms.p99 < 200.0, "p99 is {:.1} ms, the floor is 200 ms", self.latency_ms.p99);
        ensure!(
            self.event_to_stock_ms.p50 < 1000.0,
            "median event to stock is {:.1} ms, the floor is 1 s",
            self.event_to_stock_ms.p50
        );
        Ok(())
    }
}

/// Writes the file.
pub(crate) fn write(file: &Path, runs: &[Run]) -> anyhow::Result<()> {
    let document = json!({"runs": runs, "ratios": {}});
    Ok(fs::write(file, serde_json::to_string_pretty(&document)? + "\n")?)
}
