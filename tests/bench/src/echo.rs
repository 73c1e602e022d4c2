//! `bench echo`: what an HTTP request through a component costs beside the same in native code. The component `mirror` through our edge, with warm and
//! with fresh instances, and an axum server; interleaved, the generator in a process of its own.

pub(crate) mod native;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use clap::ValueEnum;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};

use crate::alone::Alone;
use crate::built::Built;
use crate::cpu::{Extent, Part, Usage};
use crate::document::{Document, Made};
use crate::load::{self, Pace, Plan, Traffic};
use crate::manifest::{Manifest, Reuse};
use crate::page::{Bar, Page, Plot, Table, number};
use crate::statistics::{self, Figure, Spread};
use native::Native;

/// 200 bytes, as an order has.
const DOCUMENT: &str = r#"{"id":"0197a7f0-3c1e-7d2a-9a57-1f0c6a5d2b11","currency":"USD","items":[{"sku":"SKU-123","qty":2,"price":1299},{"sku":"SKU-456","qty":1,"price":450},{"sku":"SKU-789","qty":4,"price":99900}]}"#;

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often.
    #[arg(long, default_value_t = 5)]
    repeats: u32,
    /// Clients that wait for answers.
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Seconds that count.
    #[arg(long, default_value_t = 5)]
    duration: u64,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One second, once: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    quick: bool,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Variant {
    /// `mirror` with instances that serve one request after another.
    Warm,
    /// `mirror` with an instance for each request.
    Fresh,
    /// Native code: axum.
    Axum,
}

impl Variant {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// One variant in one repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    variant: Variant,
    repeat: u32,
    clients: usize,
    throughput_per_s: f64,
    latency_ms: Latency,
    errors: u64,
    /// `server` and `generator`.
    cpu_us_per_request: BTreeMap<String, f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
}

/// Runs the benchmark and prints what it saw.
pub(crate) async fn run(mut options: Options) -> anyhow::Result<()> {
    if options.quick {
        (options.repeats, options.clients, options.duration) = (1, 4, 1);
    }
    ensure!(
        options.repeats > 0 && options.clients > 0 && options.duration > 0,
        "repeats, clients and duration must be above zero"
    );
    let built = Built::find()?;
    let mut manifest = Manifest::new("echo");
    for (name, reuse) in [("warm", Reuse::Warm), ("fresh", Reuse::Fresh)] {
        manifest.component(name, &built.guests.join("mirror.wasm"), reuse, 64);
        manifest.edge(&format!("edge-{name}"), name);
    }
    let alone = Alone::start(&built, &manifest).await?;
    let native = Native::start().await?;
    let measured = measure(&options, &alone, &native).await;
    native.stop().await?;
    alone.stop().await?;
    let runs = measured?;
    let document = Document {
        benchmark: "echo".to_owned(),
        made: Made::now(&built.root, options.quick)?,
        ratios: ratios(&runs),
        runs,
    };
    page(&document).print();
    if let Some(file) = &options.json {
        document.write(file)?;
        println!("written to {}", file.display());
    }
    Ok(())
}

async fn measure(options: &Options, alone: &Alone, native: &Native) -> anyhow::Result<Vec<Run>> {
    let servers = [
        (Variant::Warm, alone.edge("edge-warm").await?, alone.pid()?),
        (Variant::Fresh, alone.edge("edge-fresh").await?, alone.pid()?),
        (Variant::Axum, native.address(), native.pid()?),
    ];
    let mut runs = Vec::new();
    for repeat in 1..=options.repeats {
        for (variant, address, pid) in servers {
            eprintln!("{}, {repeat} of {}", variant.name(), options.repeats);
            let traffic = Arc::new(Echo::new(address)?);
            let pace = Pace::Closed(options.clients);
            // Connections, instances and the pages of their memory.
            load::run(traffic.clone(), address, &Plan::new(pace, Duration::from_millis(500))).await?;
            let parts = [Part::new("server", pid, Extent::Own), Part::generator()];
            let before = Usage::read(&parts)?;
            let plan = Plan::new(pace, Duration::from_secs(options.duration));
            let outcome = load::run(traffic, address, &plan).await?;
            let used = Usage::read(&parts)?.since(&before);
            ensure!(outcome.errors == 0, "{}: {} errors, {:?}", variant.name(), outcome.errors, outcome.words.first());
            runs.push(Run {
                variant,
                repeat,
                clients: options.clients,
                throughput_per_s: outcome.throughput(),
                latency_ms: Latency { p50: outcome.latency_ms(0.5), p99: outcome.latency_ms(0.99) },
                errors: outcome.errors,
                cpu_us_per_request: used.per(outcome.answers.len()),
            });
        }
    }
    Ok(runs)
}

/// The document, sent and expected back.
struct Echo {
    host: HeaderValue,
}

impl Echo {
    fn new(address: SocketAddr) -> anyhow::Result<Self> {
        Ok(Self { host: HeaderValue::from_str(&address.to_string()).context("an address as a header")? })
    }
}

impl Traffic for Echo {
    type Answer = ();

    fn request(&self, _number: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        Ok(Request::post("/echo")
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(Full::new(Bytes::from_static(DOCUMENT.as_bytes())))?)
    }

    fn judge(&self, status: StatusCode, body: &Bytes) -> Result<(), String> {
        if status == StatusCode::OK && body.as_ref() == DOCUMENT.as_bytes() {
            Ok(())
        } else {
            Err(format!("{status}: {}", String::from_utf8_lossy(body)))
        }
    }
}

/// Throughput, and the other way round the server's own time (`warm/axum CPU`): the generator shares the machine, which makes throughputs more alike than the
/// servers are.
fn ratios(runs: &[Run]) -> BTreeMap<String, Spread> {
    let throughput: Vec<Figure> =
        runs.iter().map(|run| (run.repeat, run.variant.name(), run.throughput_per_s)).collect();
    let per_cpu: Vec<Figure> = runs
        .iter()
        .filter_map(|run| Some((run.repeat, run.variant.name(), 1.0 / run.cpu_us_per_request.get("server")?)))
        .collect();
    let mut ratios = BTreeMap::new();
    for variant in [Variant::Warm, Variant::Fresh] {
        let name = format!("{}/{}", variant.name(), Variant::Axum.name());
        for (figures, what) in [(&throughput, ""), (&per_cpu, " per server CPU")] {
            if let Some(spread) = statistics::ratios(&variant.name(), figures).get(&name) {
                ratios.insert(format!("{name}{what}"), *spread);
            }
        }
    }
    ratios
}

/// Tables and a plot.
pub(crate) fn page(document: &Document<Run>) -> Page {
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for variant in [Variant::Axum, Variant::Warm, Variant::Fresh] {
        let runs: Vec<&Run> = document.runs.iter().filter(|run| run.variant == variant).collect();
        let of = |figure: fn(&Run) -> f64| Spread::of(runs.iter().map(|run| figure(run)));
        let cell = |figure: fn(&Run) -> f64| of(figure).map_or_else(String::new, |spread| spread.cell());
        let Some(throughput) = of(|run| run.throughput_per_s) else { continue };
        let cpu = |name: &str| {
            Spread::of(runs.iter().filter_map(|run| run.cpu_us_per_request.get(name).copied()))
                .map_or_else(String::new, |spread| number(spread.median))
        };
        rows.push(vec![
            variant.name(),
            throughput.cell(),
            [cell(|run| run.latency_ms.p50), cell(|run| run.latency_ms.p99)].join(" / "),
            [cpu("server"), cpu("generator")].join(" / "),
        ]);
        bars.push(Bar { name: variant.name(), spread: throughput });
    }
    let head =
        ["JSON echo over HTTP", "requests/s", "latency p50 / p99, ms", "CPU per request, server / generator, us"];
    let mut tables: Vec<Table> = Table::new(&head, rows).into_iter().collect();
    tables.extend(Table::of_ratios("throughput", &document.ratios));
    let plot = Plot { title: "JSON echo over HTTP: median and range".to_owned(), unit: "/s", bars };
    Page { tables, plot: Some(plot) }
}
