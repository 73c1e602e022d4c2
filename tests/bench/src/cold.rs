//! `bench cold`: how long the shop's host takes from its start to the first answer, with and without compiled code on disk, and what components take in memory:
//! one that is only there, and each warm instance of one that serves.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use swiftcart_support::client::{Client, http_client, send};
use swiftcart_support::shop::Shop;
use swiftcart_support::tools::Progress;
use tokio::task::JoinSet;

use crate::alone::Alone;
use crate::built::Built;
use crate::cpu::resident_kib;
use crate::document::{Document, Made};
use crate::manifest::{Manifest, Reuse};
use crate::page::{Page, Table};
use crate::statistics::Spread;
use crate::variant;

/// How long a start may take, compilation on a busy machine included.
const STARTED: Duration = Duration::from_secs(180);
/// Between two attempts to get an answer: the time is not known better than this.
const ATTEMPT: Duration = Duration::from_millis(1);
/// The component whose instances are counted, and its edge.
const GREETER: &str = "greeter";
const EDGE: &str = "edge";

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// How often.
    #[arg(long, default_value_t = 5)]
    repeats: u32,
    /// Idle components that are compared with none.
    #[arg(long, default_value_t = 20)]
    idle: u32,
    /// Warm instances that are compared with one.
    #[arg(long, default_value_t = 100)]
    warm: u32,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few of everything, once: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    quick: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measure {
    /// From the start of the host to the first product list, every component compiled anew.
    StartCompilingMs,
    /// The same with compiled components on disk.
    StartCachedMs,
    /// Memory of a host with one component that has not been called.
    HostKib,
    /// What one more such component adds.
    IdleComponentKib,
    /// What one more warm instance adds.
    WarmInstanceKib,
}

impl Measure {
    fn words(self) -> &'static str {
        match self {
            Self::StartCompilingMs => "the shop's first answer after the start, nothing compiled, ms",
            Self::StartCachedMs => "the same, compiled code on disk, ms",
            Self::HostKib => "memory of a host with one idle component, KiB",
            Self::IdleComponentKib => "each further idle component, KiB",
            Self::WarmInstanceKib => "each warm instance, KiB",
        }
    }
}

/// One figure of one repeat.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    variant: Measure,
    repeat: u32,
    value: f64,
}

/// Runs the benchmark and prints what it saw.
pub(crate) async fn run(mut options: Options) -> anyhow::Result<()> {
    if options.quick {
        (options.repeats, options.idle, options.warm) = (1, 2, 8);
    }
    ensure!(
        options.repeats > 0 && options.idle > 0 && options.warm > 1,
        "repeats and idle must be above zero, warm above one"
    );
    let built = Built::find()?;
    let mut runs = starts(&options, &built).await?;
    runs.extend(memory(&options, &built).await?);
    let made = Made::now(&built.root, options.quick)?;
    let document = Document { benchmark: "cold".to_owned(), made, runs, ratios: [].into() };
    page(&document).print();
    if let Some(file) = &options.json {
        document.write(file)?;
        println!("written to {}", file.display());
    }
    Ok(())
}

async fn starts(options: &Options, built: &Built) -> anyhow::Result<Vec<Run>> {
    let (data, cache) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut shop_options = variant::shop_options(built, data.path(), cache.path());
    shop_options.progress = Progress::silent();
    let mut shop = Shop::start(shop_options).await?;
    let client = shop.client()?;
    let measured = async {
        let mut runs = Vec::new();
        for repeat in 1..=options.repeats {
            for variant in [Measure::StartCompilingMs, Measure::StartCachedMs] {
                shop.host()?.stop().await?;
                if variant == Measure::StartCompilingMs {
                    std::fs::remove_dir_all(cache.path())?;
                    std::fs::create_dir(cache.path())?;
                }
                let value = start(&mut shop, &client).await?.as_secs_f64() * 1000.0;
                runs.push(Run { variant, repeat, value });
            }
        }
        anyhow::Ok(runs)
    }
    .await;
    shop.stop().await?;
    measured
}

/// Starts the host; gives the time until the first good answer.
async fn start(shop: &mut Shop, client: &Client) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let answered = async {
        while began.elapsed() < STARTED {
            if client.get("/products", None).await.is_ok_and(|answer| answer.status == 200) {
                return Ok(began.elapsed());
            }
            tokio::time::sleep(ATTEMPT).await;
        }
        anyhow::bail!("no answer within {STARTED:?}")
    };
    let (started, answered) = tokio::join!(shop.host()?.start(), answered);
    started?;
    answered
}

async fn memory(options: &Options, built: &Built) -> anyhow::Result<Vec<Run>> {
    let folder = tempfile::tempdir()?;
    let one = application(built, folder.path(), 0, options.warm)?;
    let many = application(built, folder.path(), options.idle, options.warm)?;
    let mut one = Alone::start(built, &one).await?;
    let mut many = Alone::start(built, &many).await?;
    let measured = async {
        let mut runs = Vec::new();
        for repeat in 1..=options.repeats {
            // Compiling leaves memory behind, so what counts is a start from the disk.
            one.host().restart().await?;
            many.host().restart().await?;
            let (alone, crowded) = (resident_kib(one.pid()?)? as f64, resident_kib(many.pid()?)? as f64);
            let idle = (crowded - alone) / f64::from(options.idle);
            let first = warmed(&one, 1).await?;
            let all = warmed(&one, options.warm).await?;
            let warm = (all - first) / f64::from(options.warm - 1);
            let figures =
                [(Measure::HostKib, alone), (Measure::IdleComponentKib, idle), (Measure::WarmInstanceKib, warm)];
            runs.extend(figures.map(|(variant, value)| Run { variant, repeat, value }));
        }
        anyhow::Ok(runs)
    }
    .await;
    one.stop().await?;
    many.stop().await?;
    measured
}

/// A greeter behind an edge, and so many others, each with code of its own, that nobody calls.
fn application(built: &Built, folder: &Path, idle: u32, instances: u32) -> anyhow::Result<Manifest> {
    let greeter = built.guests.join("greeter.wasm");
    let mut manifest = Manifest::new("cold");
    manifest.component(GREETER, &greeter, Reuse::Warm, instances);
    manifest.edge(EDGE, GREETER);
    for number in 0..idle {
        manifest.component(&format!("idle-{number}"), &another(&greeter, folder, number)?, Reuse::Warm, 1);
    }
    Ok(manifest)
}

/// The same code under another digest: a custom section at the end (id 0, length, name, text) changes nothing else.
/// <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>
fn another(of: &Path, folder: &Path, number: u32) -> anyhow::Result<PathBuf> {
    let mut bytes = std::fs::read(of).with_context(|| format!("reading {}", of.display()))?;
    let (name, text) = ("number", format!("{number:08}"));
    bytes.extend([0, u8::try_from(1 + name.len() + text.len())?, u8::try_from(name.len())?]);
    bytes.extend(name.bytes().chain(text.bytes()));
    let file = folder.join(format!("idle-{number}.wasm"));
    std::fs::write(&file, bytes).with_context(|| format!("writing {}", file.display()))?;
    Ok(file)
}

/// Has so many instances at work at the same time; gives the host's memory in KiB when all of them wait again.
async fn warmed(alone: &Alone, instances: u32) -> anyhow::Result<f64> {
    let url = format!("http://{}/wait/300", alone.edge(EDGE).await?);
    let http = http_client().timeout(Duration::from_secs(30)).build()?;
    let mut calls = JoinSet::new();
    for _ in 0..instances {
        let request = http.get(&url);
        calls.spawn(async move { send(request).await?.expect_status(200) });
    }
    while let Some(answer) = calls.join_next().await {
        answer??;
    }
    let inventory = alone.inventory().await?;
    let components = inventory.get("components").and_then(Value::as_array).into_iter().flatten();
    let greeter = components.into_iter().find(|one| one.get("name").is_some_and(|name| name == GREETER));
    let warm = greeter.and_then(|greeter| greeter.get("warmInstances")?.as_u64());
    ensure!(warm == Some(u64::from(instances)), "{warm:?} warm instances instead of {instances}");
    Ok(resident_kib(alone.pid()?)? as f64)
}

/// One table.
pub(crate) fn page(document: &Document<Run>) -> Page {
    let row = |measure: &Measure| {
        let values = document.runs.iter().filter(|run| run.variant == *measure).map(|run| run.value);
        Some(vec![measure.words().to_owned(), Spread::of(values)?.cell()])
    };
    let rows = Measure::value_variants().iter().filter_map(row).collect();
    Page { tables: Table::new(&["cold start and memory", "median (range)"], rows).into_iter().collect(), plot: None }
}
