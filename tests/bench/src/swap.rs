//! `bench swap`: how long a host takes from the command to run another version of a component until that version serves, when its compiled code is on disk.
//! Requests flow at a fixed rate meanwhile, and none may fail. Two builds of `greeter` take turns; each answer says which build gave it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use swiftcart_support::client::{http_client, send};
use swiftcart_support::shop;

use crate::built::Built;
use crate::document::{Document, Made};
use crate::load::{self, Pace, Plan, Traffic};
use crate::manifest::Reuse;
use crate::page::{Page, Table, number};
use crate::stage::Stage;
use crate::statistics::Spread;

/// As it stands in the file of the guest `greeter`.
const MARK: &str = "greeter/build=0001/";
/// The component.
const GREETER: &str = "greeter";
/// How long one swap may take, compilation included.
const SWAPPED: Duration = Duration::from_secs(60);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Swaps that count, in each repeat.
    #[arg(long, default_value_t = 50)]
    swaps: u32,
    /// Requests per second meanwhile.
    #[arg(long, default_value_t = 500.0)]
    rate: f64,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Four swaps, once: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    quick: bool,
}

/// One repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    repeat: u32,
    swaps: u32,
    /// Of each swap, from the command to the word of the host that the new version serves.
    ready_ms: Vec<f64>,
    requests: usize,
    errors: u64,
    /// Of the requests: middle, nearly all, the slowest.
    latency_ms: Latency,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Runs the benchmark and prints what it saw.
pub(crate) async fn run(mut options: Options) -> anyhow::Result<()> {
    if options.quick {
        (options.repeats, options.swaps, options.rate) = (1, 4, options.rate.min(50.0));
    }
    ensure!(
        options.repeats > 0 && options.swaps > 0 && options.rate > 0.0,
        "repeats, swaps and rate must be above zero"
    );
    let built = Built::find()?;
    let stage = Stage::start(&built, 1).await?;
    let measured = measure(&options, &built, &stage).await;
    stage.stop().await?;
    let made = Made::now(&built.root, options.quick)?;
    let document = Document { benchmark: "swap".to_owned(), made, runs: measured?, ratios: [].into() };
    page(&document).print();
    if let Some(file) = &options.json {
        document.write(file)?;
        println!("written to {}", file.display());
    }
    Ok(())
}

async fn measure(options: &Options, built: &Built, stage: &Stage) -> anyhow::Result<Vec<Run>> {
    let builds = [build(&built.guests, stage.folder(), 1)?, build(&built.guests, stage.folder(), 2)?];
    let [first, second] = &builds;
    stage.component(0, GREETER, first, Reuse::Warm).await?;
    let address = stage.edge(0, "edge", GREETER).await?;
    let http = http_client().build()?;
    let host = stage.host(0)?;
    let swap = async |to: &Path, number: u32| {
        let reference = format!("file://{}", to.display());
        let took = shop::swap(stage.lattice(), host, GREETER, &reference, SWAPPED).await?;
        let answer = send(http.get(format!("http://{address}/"))).await?.expect_status(200)?.json()?;
        let build = answer.get("build").and_then(serde_json::Value::as_str).unwrap_or_default();
        ensure!(build == format!("{number:04}"), "build {build} answers after the swap to {number}");
        anyhow::Ok(took)
    };
    // Compiles both; what counts comes from the disk.
    swap(second, 2).await?;
    swap(first, 1).await?;
    let mut runs = Vec::new();
    for repeat in 1..=options.repeats {
        let plan = Plan::new(Pace::Open(options.rate), Duration::from_secs(3600));
        let stop = plan.stop.clone();
        let traffic = Arc::new(Greeting { host: HeaderValue::from_str(&address.to_string())? });
        let load = tokio::spawn(async move { load::run(traffic, address, &plan).await });
        let mut ready_ms = Vec::new();
        for turn in 0..options.swaps {
            let (to, number) = if turn % 2 == 0 { (second, 2) } else { (first, 1) };
            ready_ms.push(swap(to, number).await?.as_secs_f64() * 1000.0);
        }
        if options.swaps % 2 == 1 {
            swap(first, 1).await?;
        }
        stop.store(true, Ordering::Relaxed);
        let outcome = load.await??;
        ensure!(outcome.errors == 0, "{} requests failed, {:?}", outcome.errors, outcome.words.first());
        runs.push(Run {
            repeat,
            swaps: options.swaps,
            ready_ms,
            requests: outcome.answers.len(),
            errors: outcome.errors,
            latency_ms: Latency {
                p50: outcome.latency_ms(0.5),
                p99: outcome.latency_ms(0.99),
                max: outcome.latency_ms(1.0),
            },
        });
    }
    Ok(runs)
}

/// The same code that says another number: the compiler is too slow for a benchmark, and the host cannot tell.
fn build(guests: &Path, folder: &Path, number: u32) -> anyhow::Result<PathBuf> {
    let path = guests.join("greeter.wasm");
    let mut bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let mark = MARK.replace("0001", &format!("{number:04}"));
    let found = bytes.windows(MARK.len()).position(|at| at == MARK.as_bytes());
    let at = found.with_context(|| format!("{} has no mark", path.display()))?;
    bytes.splice(at..at + MARK.len(), mark.bytes());
    let built = folder.join(format!("greeter-{number}.wasm"));
    std::fs::write(&built, bytes).with_context(|| format!("writing {}", built.display()))?;
    Ok(built)
}

/// Requests that any build answers.
struct Greeting {
    host: HeaderValue,
}

impl Traffic for Greeting {
    type Answer = ();

    fn request(&self, number: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        // Every tenth takes a while, so that some are in flight at each swap.
        let path = if number.is_multiple_of(10) { "/wait/20" } else { "/" };
        Ok(Request::get(path).header(HOST, self.host.clone()).body(Full::default())?)
    }

    fn judge(&self, status: StatusCode, body: &Bytes) -> Result<(), String> {
        if status == StatusCode::OK { Ok(()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(body))) }
    }
}

/// One table.
pub(crate) fn page(document: &Document<Run>) -> Page {
    let all: Vec<f64> = document.runs.iter().flat_map(|run| run.ready_ms.iter().copied()).collect();
    let latency = |figure: fn(&Run) -> f64| {
        Spread::of(document.runs.iter().map(figure)).map_or_else(String::new, |spread| spread.cell())
    };
    let mut rows = Vec::new();
    if let Some(spread) = Spread::of(all.iter().copied()) {
        rows = vec![
            vec!["swaps".to_owned(), all.len().to_string()],
            vec!["ready after, median, ms".to_owned(), number(spread.median)],
            vec!["ready after, longest, ms".to_owned(), number(spread.max)],
            vec!["requests meanwhile".to_owned(), total(document, |run| run.requests as f64)],
            vec!["of them failed".to_owned(), total(document, |run| run.errors as f64)],
            vec!["latency p50, ms".to_owned(), latency(|run| run.latency_ms.p50)],
            vec!["latency p99, ms".to_owned(), latency(|run| run.latency_ms.p99)],
            vec![
                "longest latency (a tenth of the requests takes 20 ms), ms".to_owned(),
                latency(|run| run.latency_ms.max),
            ],
        ];
    }
    Page { tables: Table::new(&["a new version under load", ""], rows).into_iter().collect(), plot: None }
}

fn total(document: &Document<Run>, figure: fn(&Run) -> f64) -> String {
    number(document.runs.iter().map(figure).sum())
}
