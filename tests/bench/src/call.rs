//! `bench call`: what one call costs, by road: to another component in the process (warm and fresh instances of it), to the host, and to a component on
//! another host over NATS. The component `stopwatch` calls in a loop and measures by its own clock, so that the request around it does not count.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;
use swiftcart_support::client::{http_client, send};
use swiftcart_support::eventually;

use crate::alone::Alone;
use crate::built::Built;
use crate::cpu::{Extent, Part, Usage};
use crate::document::{Document, Made};
use crate::manifest::{Manifest, Reuse};
use crate::page::{Bar, Page, Plot, Table};
use crate::stage::Stage;
use crate::statistics::{self, Figure, Spread};

const ECHO: (&str, &str, &str) = ("test", "calls", "echo");
/// How long the first call may take: its target may still be compiled.
const FIRST: Duration = Duration::from_secs(60);

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often each.
    #[arg(long, default_value_t = 10)]
    repeats: u32,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few calls, once: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    quick: bool,
}

/// The road of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Road {
    /// To the host, which answers with a record.
    Host,
    /// To a component with warm instances in the same process.
    Warm,
    /// To a component with a new instance for each call in the same process.
    Fresh,
    /// To a component with warm instances on another host, over NATS.
    Wrpc,
}

impl Road {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Calls of one measurement: each takes some tenths of a second.
    fn times(self) -> u32 {
        match self {
            Self::Host => 200_000,
            Self::Warm => 40_000,
            Self::Fresh => 8_000,
            Self::Wrpc => 800,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Host => "host: a record with 55 bytes of text",
            Self::Warm => "component in the process, warm: 64 bytes there and back",
            Self::Fresh => "the same, a fresh instance for each call",
            Self::Wrpc => "component on another host over NATS, warm",
        }
    }
}

/// One road in one repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    variant: Road,
    repeat: u32,
    calls: u32,
    us_per_call: f64,
    /// `host` (all of them) and `nats`.
    cpu_us_per_call: BTreeMap<String, f64>,
}

/// What `stopwatch` answers.
#[derive(Deserialize)]
struct Measured {
    times: u32,
    elapsed_ns: u64,
}

/// Runs the benchmark and prints what it saw.
pub(crate) async fn run(mut options: Options) -> anyhow::Result<()> {
    if options.quick {
        options.repeats = 1;
    }
    ensure!(options.repeats > 0, "repeats must be above zero");
    let built = Built::find()?;
    let guest = |name: &str| built.guests.join(format!("{name}.wasm"));
    let mut manifest = Manifest::new("call");
    for reuse in [Reuse::Warm, Reuse::Fresh] {
        let (caller, callee) = (format!("stopwatch-{}", reuse.text()), format!("echo-{}", reuse.text()));
        manifest.component(&caller, &guest("stopwatch"), Reuse::Warm, 4);
        manifest.link(ECHO, &callee);
        manifest.component(&callee, &guest("echo"), reuse, 4);
        manifest.edge(&format!("edge-{}", reuse.text()), &caller);
    }
    let alone = Alone::start(&built, &manifest).await?;
    let stage = Stage::start(&built, 2).await?;
    let measured = async {
        stage.link(("stopwatch", "echo"), ECHO, &[]).await?;
        stage.component(0, "stopwatch", &guest("stopwatch"), Reuse::Warm).await?;
        stage.component(1, "echo", &guest("echo"), Reuse::Warm).await?;
        let far = stage.edge(0, "edge", "stopwatch").await?;
        measure(&options, &alone, &stage, far).await
    }
    .await;
    stage.stop().await?;
    alone.stop().await?;
    let runs = measured?;
    let figures: Vec<Figure> = runs.iter().map(|run| (run.repeat, run.variant.name(), run.us_per_call)).collect();
    let ratios = statistics::ratios(&Road::Wrpc.name(), &figures);
    let made = Made::now(&built.root, options.quick)?;
    let document = Document { benchmark: "call".to_owned(), made, runs, ratios };
    page(&document).print();
    if let Some(file) = &options.json {
        document.write(file)?;
        println!("written to {}", file.display());
    }
    Ok(())
}

async fn measure(options: &Options, alone: &Alone, stage: &Stage, far: SocketAddr) -> anyhow::Result<Vec<Run>> {
    let (warm, fresh) = (alone.edge("edge-warm").await?, alone.edge("edge-fresh").await?);
    let here = vec![Part::new("host", alone.pid()?, Extent::Own)];
    let roads = [
        (Road::Host, warm, here.clone()),
        (Road::Warm, warm, here.clone()),
        (Road::Fresh, fresh, here),
        (Road::Wrpc, far, stage.parts()),
    ];
    for (road, address, _) in &roads {
        eventually(FIRST, &format!("the first call of {}", road.name()), || ask(*road, *address, 100)).await?;
    }
    let mut runs = Vec::new();
    for repeat in 1..=options.repeats {
        for (road, address, parts) in &roads {
            let times = if options.quick { road.times() / 20 } else { road.times() };
            let before = Usage::read(parts)?;
            let measured = ask(*road, *address, times).await?;
            let used = Usage::read(parts)?.since(&before);
            ensure!(measured.times == times, "{} calls instead of {times}", measured.times);
            runs.push(Run {
                variant: *road,
                repeat,
                calls: times,
                us_per_call: measured.elapsed_ns as f64 / 1000.0 / f64::from(times),
                cpu_us_per_call: used.per(usize::try_from(times)?),
            });
        }
    }
    Ok(runs)
}

/// Lets the component measure.
async fn ask(road: Road, address: SocketAddr, times: u32) -> anyhow::Result<Measured> {
    let what = if road == Road::Host { "host" } else { "component" };
    let http = http_client().timeout(Duration::from_secs(30)).build()?;
    let request = http.post(format!("http://{address}/")).json(&json!({what: {"times": times}}));
    let answer = send(request).await?.expect_status(200)?;
    serde_json::from_slice(&answer.body).context("what the component measured")
}

/// Tables and a plot.
pub(crate) fn page(document: &Document<Run>) -> Page {
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for road in Road::value_variants() {
        let runs: Vec<&Run> = document.runs.iter().filter(|run| run.variant == *road).collect();
        let Some(time) = Spread::of(runs.iter().map(|run| run.us_per_call)) else { continue };
        let cpu = Spread::of(runs.iter().map(|run| run.cpu_us_per_call.values().sum()));
        let cpu = cpu.map_or_else(String::new, |spread| spread.cell());
        rows.push(vec![road.words().to_owned(), time.cell(), cpu]);
        bars.push(Bar { name: road.name(), spread: time });
    }
    let head = ["one call to", "time, us", "CPU of hosts and NATS, us"];
    let mut tables: Vec<Table> = Table::new(&head, rows).into_iter().collect();
    tables.extend(Table::of_ratios("time of a call", &document.ratios));
    let plot = Plot { title: "Time of one call: median and range".to_owned(), unit: "us", bars };
    Page { tables, plot: Some(plot) }
}
