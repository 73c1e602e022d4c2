//! The figures of `bench orders`: what is kept of a run, and how it is shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Mode;
use crate::cpu::Usage;
use crate::document::Document;
use crate::load::{Outcome, Pace};
use crate::page::{Bar, Page, Plot, Table, number};
use crate::statistics::{self, Figure, Spread};
use crate::variant::Variant;

/// One variant under one load in one repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) variant: Variant,
    pub(crate) repeat: u32,
    pub(crate) mode: Mode,
    /// Clients that wait for answers; none in an open loop.
    pub(crate) clients: Option<usize>,
    /// Orders due per second; none in a closed loop.
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) throughput_per_s: f64,
    /// Orders per second until the last of their effects: what was answered and put off counts only when it is done.
    pub(crate) finished_per_s: f64,
    pub(crate) latency_ms: Latency,
    pub(crate) orders: usize,
    pub(crate) errors: u64,
    /// From an event's commit to that of its effect.
    pub(crate) event_to_stock_ms: Lag,
    /// From the last answer to the last effect: what had piled up behind the answers.
    pub(crate) settled_after_s: f64,
    /// By process, until everything had settled; that of the generator until the last answer.
    pub(crate) cpu_us_per_order: BTreeMap<String, f64>,
    /// Whether the auditor read all books and found that they agree.
    pub(crate) audited: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Lag {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

/// What a loop gave, before it is known which.
pub(crate) struct Seen {
    throughput_per_s: f64,
    finished_per_s: f64,
    latency_ms: Latency,
    orders: usize,
    errors: u64,
    event_to_stock_ms: Lag,
    settled_after_s: f64,
    cpu_us_per_order: BTreeMap<String, f64>,
}

impl Seen {
    /// `lags_us` is sorted.
    pub(crate) fn new(outcome: &Outcome<Uuid>, lags_us: &[i64], settled: Duration, used: &Usage) -> Self {
        for words in outcome.words.iter().take(5) {
            eprintln!("  error: {words}");
        }
        let lag = |quantile: f64| {
            let index = (lags_us.len().saturating_sub(1) as f64 * quantile).round() as usize;
            lags_us.get(index).map_or(0.0, |lag| *lag as f64 / 1000.0)
        };
        Self {
            throughput_per_s: outcome.throughput(),
            finished_per_s: outcome.answers.len() as f64 / (outcome.elapsed + settled).as_secs_f64(),
            latency_ms: Latency {
                p50: outcome.latency_ms(0.5),
                p99: outcome.latency_ms(0.99),
                p99_9: outcome.latency_ms(0.999),
            },
            orders: outcome.answers.len(),
            errors: outcome.errors,
            event_to_stock_ms: Lag { p50: lag(0.5), p99: lag(0.99) },
            settled_after_s: settled.as_secs_f64(),
            cpu_us_per_order: used.per(outcome.answers.len()),
        }
    }

    pub(crate) fn of(self, variant: Variant, repeat: u32, pace: Pace) -> Run {
        let (mode, clients, rate_per_s) = match pace {
            Pace::Closed(clients) => (Mode::Closed, Some(clients), None),
            Pace::Open(rate) => (Mode::Open, None, Some(rate)),
        };
        Run {
            variant,
            repeat,
            mode,
            clients,
            rate_per_s,
            throughput_per_s: self.throughput_per_s,
            finished_per_s: self.finished_per_s,
            latency_ms: self.latency_ms,
            orders: self.orders,
            errors: self.errors,
            event_to_stock_ms: self.event_to_stock_ms,
            settled_after_s: self.settled_after_s,
            cpu_us_per_order: self.cpu_us_per_order,
            audited: false,
        }
    }
}

impl Run {
    /// A few lines for people, at once: a long benchmark should show how it goes.
    pub(crate) fn print(&self) {
        let (latency, lag) = (&self.latency_ms, &self.event_to_stock_ms);
        let load = match (self.clients, self.rate_per_s) {
            (Some(clients), _) => format!("closed loop, {clients} clients"),
            (None, rate) => format!("open loop, {:.1}/s due", rate.unwrap_or_default()),
        };
        println!("{}, repeat {}, {load}", self.variant.name(), self.repeat);
        println!("  throughput       {:>9.1} orders/s, {} errors", self.throughput_per_s, self.errors);
        println!(
            "  latency          {:>9.1} ms p50, {:.1} ms p99, {:.1} ms p99.9",
            latency.p50, latency.p99, latency.p99_9
        );
        println!("  event to stock   {:>9.1} ms p50, {:.1} ms p99", lag.p50, lag.p99);
        println!(
            "  settled after    {:>9.1} s, so {:.1} orders/s were finished",
            self.settled_after_s, self.finished_per_s
        );
        let cpu: Vec<String> = self.cpu_us_per_order.iter().map(|(name, us)| format!("{name} {us:.0}")).collect();
        println!("  CPU per order    {:>9.0} us: {}", self.cpu_us_per_order.values().sum::<f64>(), cpu.join(", "));
        println!("  all orders accounted for: confirmed, charged once, published, applied to stock, mailed");
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

/// Throughputs of the closed loop: as answered, and as finished.
pub(crate) fn ratios(runs: &[Run]) -> BTreeMap<String, Spread> {
    let of = |figure: fn(&Run) -> f64| {
        let closed = runs.iter().filter(|run| run.mode == Mode::Closed);
        let figures: Vec<Figure> = closed.map(|run| (run.repeat, run.variant.name(), figure(run))).collect();
        statistics::ratios(&Variant::Shop.name(), &figures)
    };
    let finished = of(|run| run.finished_per_s).into_iter().map(|(name, spread)| (format!("{name} finished"), spread));
    of(|run| run.throughput_per_s).into_iter().chain(finished).collect()
}

/// Tables and a plot.
pub(crate) fn page(document: &Document<Run>) -> Page {
    let groups: BTreeSet<(u8, Variant)> = document.runs.iter().map(|run| (run.mode as u8, run.variant)).collect();
    let mut tables = Vec::new();
    let mut bars = Vec::new();
    for mode in [Mode::Closed, Mode::Open] {
        let mut rows = Vec::new();
        for (_, variant) in groups.iter().filter(|(of, _)| *of == mode as u8) {
            let runs: Vec<&Run> =
                document.runs.iter().filter(|run| run.mode == mode && run.variant == *variant).collect();
            let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(|run| figure(run)));
            let Some(throughput) = of(|run| run.throughput_per_s) else { continue };
            let cell = |figure: fn(&Run) -> f64| of(figure).map_or_else(String::new, |spread| spread.cell());
            rows.push(vec![
                variant.name(),
                throughput.cell(),
                cell(|run| run.finished_per_s),
                [cell(|run| run.latency_ms.p50), cell(|run| run.latency_ms.p99), cell(|run| run.latency_ms.p99_9)]
                    .join(" / "),
                [cell(|run| run.event_to_stock_ms.p50), cell(|run| run.event_to_stock_ms.p99)].join(" / "),
                cpu(&runs),
                number(runs.iter().map(|run| run.errors as f64).sum()),
            ]);
            if mode == Mode::Closed {
                bars.push(Bar { name: variant.name(), spread: throughput });
            }
        }
        let head = match mode {
            Mode::Closed => "closed loop",
            Mode::Open => "open loop",
        };
        tables.extend(Table::new(
            &[
                head,
                "orders/s",
                "finished/s",
                "latency p50 / p99 / p99.9, ms",
                "event to stock p50 / p99, ms",
                "CPU per order, us",
                "errors",
            ],
            rows,
        ));
    }
    tables.extend(Table::of_ratios("throughput, closed loop", &document.ratios));
    let plot = Plot { title: "Orders per second, closed loop: median and range".to_owned(), unit: "orders/s", bars };
    Page { tables, plot: Some(plot) }
}

/// Medians by process.
fn cpu(runs: &[&Run]) -> String {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.cpu_us_per_order.keys()).collect();
    let of = |name: &String| Spread::of(runs.iter().filter_map(|run| run.cpu_us_per_order.get(name).copied()));
    let parts = names.into_iter().filter_map(|name| Some(format!("{name} {}", number(of(name)?.median))));
    parts.collect::<Vec<_>>().join(", ")
}
