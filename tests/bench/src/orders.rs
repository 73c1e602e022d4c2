//! `bench orders`: the whole create, by variant: token check, idempotency, reservation, charge, all writes, and both consumers behind it. The variants are
//! interleaved (the first repeat of each, then the second of each), so that whatever the machine does meanwhile befalls all. Invariant: a figure is kept
//! only if everything that was promised for the orders behind it holds afterwards.

mod figures;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use clap::ValueEnum;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::json;
use swiftcart_audit::{Answer, Sources};
use swiftcart_support::client::Client;
use uuid::Uuid;

use crate::accounting::Accounts;
use crate::built::Built;
use crate::cpu::{Part, Usage};
use crate::document::{Document, Made};
use crate::load::{self, Pace, Plan, Traffic};
use crate::variant::{Running, Variant};
pub(crate) use figures::{Run, page};

/// When the next order is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// As soon as the one before was answered: finds the highest throughput.
    Closed,
    /// At a fixed rate, whether or not earlier ones were answered; latency counts from the moment an order was due.
    Open,
}

/// Which loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Modes {
    /// The closed loop.
    Closed,
    /// The open loop, at `--rate`.
    Open,
    /// The closed loop, then the open one at `--rate` or at `--share` of what the closed one found.
    Both,
}

#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// What to measure, in this order; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    variants: Vec<Variant>,
    /// How often, each time with servers that begin empty.
    #[arg(long, default_value_t = 3)]
    repeats: u32,
    /// Which loops.
    #[arg(long, value_enum, default_value = "both")]
    mode: Modes,
    /// Orders per second in the open loop.
    #[arg(long)]
    rate: Option<f64>,
    /// Without a rate: the open loop's share of the throughput that the variant's closed loop found in the same repeat.
    #[arg(long, default_value_t = 0.6)]
    share: f64,
    /// Clients that wait for answers, in the closed loop; of several numbers the one with the highest throughput counts.
    #[arg(long, value_delimiter = ',', default_values_t = [64])]
    clients: Vec<usize>,
    /// Seconds that count, for each loop.
    #[arg(long, default_value_t = 20)]
    duration: u64,
    /// Seconds before, at the same load, that do not count.
    #[arg(long, default_value_t = 5)]
    warmup: u64,
    /// Buyers, each with a token.
    #[arg(long, default_value_t = 200)]
    buyers: usize,
    /// Buyers without a mail address: no mail is sent, only the row about it is written. The mail catcher of a test takes milliseconds of CPU per mail, from
    /// every variant alike.
    #[arg(long)]
    no_mail: bool,
    /// Let the auditor read all books after each variant, and fail if they do not agree.
    #[arg(long)]
    audit: bool,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Two seconds at a low rate: shows that the benchmark works, its figures mean nothing.
    #[arg(long)]
    quick: bool,
    /// The shop alone, once, in the open loop at 50/s unless told otherwise; fails unless the floor of the system's design holds: no errors, p99
    /// below 200 ms, median event to stock below 1 s.
    #[arg(long)]
    floor: bool,
}

impl Options {
    /// What the short forms stand for.
    fn resolved(mut self) -> anyhow::Result<Self> {
        if self.floor {
            (self.variants, self.repeats, self.mode) = (vec![Variant::Shop], 1, Modes::Open);
            self.rate = Some(self.rate.unwrap_or(50.0));
        }
        if self.quick {
            (self.duration, self.warmup, self.repeats, self.clients) = (2, 1, 1, vec![4]);
            self.rate = Some(self.rate.unwrap_or(20.0).min(20.0));
        }
        if self.variants.is_empty() {
            self.variants = Variant::value_variants().to_vec();
        }
        ensure!(self.mode != Modes::Open || self.rate.is_some(), "the open loop alone needs a --rate");
        ensure!(self.rate.is_none_or(|rate| rate > 0.0), "the rate must be above zero");
        ensure!(self.share > 0.0, "the share must be above zero");
        let counts = [self.clients.len(), self.buyers, usize::try_from(self.duration)?, usize::try_from(self.repeats)?];
        ensure!(
            counts.into_iter().chain(self.clients.iter().copied()).all(|count| count > 0),
            "clients, buyers, duration and repeats must be above zero"
        );
        Ok(self)
    }
}

/// Runs the benchmark and prints what it saw.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let options = options.resolved()?;
    let built = Built::find()?;
    let cache = tempfile::tempdir()?;
    let mut runs = Vec::new();
    for repeat in 1..=options.repeats {
        for variant in &options.variants {
            eprintln!("{}, {repeat} of {}: starting servers", variant.name(), options.repeats);
            let running = Running::start(*variant, &built, cache.path()).await?;
            let measured = measure(&running, &options, *variant, repeat).await;
            let stopped = running.stop().await;
            for run in measured? {
                run.print();
                runs.push(run);
            }
            stopped?;
        }
    }
    let ratios = figures::ratios(&runs);
    let made = Made::now(&built.root, options.quick)?;
    let document = Document { benchmark: "orders".to_owned(), made, runs, ratios };
    page(&document).print();
    if let Some(file) = &options.json {
        document.write(file)?;
        println!("written to {}", file.display());
    }
    if options.floor { document.runs.iter().try_for_each(Run::check_floor) } else { Ok(()) }
}

/// One repeat of one variant: its loops, one after the other on the same data.
async fn measure(running: &Running, options: &Options, variant: Variant, repeat: u32) -> anyhow::Result<Vec<Run>> {
    let client = Client::new(running.addresses())?;
    let accounts = Accounts::open(running.addresses()).await?;
    client.stock_product("BENCH-1", 1299, "USD", 1_000_000_000).await?;
    client.stock_product("BENCH-2", 450, "USD", 1_000_000_000).await?;
    let load = Load { traffic: Arc::new(Orders::new(&client, options)?), running, accounts: &accounts, options };
    let mut runs = Vec::new();
    let mut ids = Vec::new();
    if options.mode != Modes::Open {
        let mut loops = Vec::new();
        for clients in &options.clients {
            let pace = Pace::Closed(*clients);
            loops.push(load.measure(pace, &mut ids).await?.of(variant, repeat, pace));
        }
        loops.sort_by(|a, b| a.throughput_per_s.total_cmp(&b.throughput_per_s));
        runs.extend(loops.pop());
    }
    if options.mode != Modes::Closed {
        let highest = runs.first().map(|run: &Run| run.throughput_per_s * options.share);
        let rate = options.rate.or(highest).filter(|rate| *rate >= 1.0);
        let rate = rate.ok_or_else(|| anyhow::anyhow!("the closed loop confirmed no order, so there is no rate"))?;
        let pace = Pace::Open(rate);
        runs.push(load.measure(pace, &mut ids).await?.of(variant, repeat, pace));
    }
    accounts.close().await;
    if options.audit {
        audit(running, &ids).await?;
        runs.iter_mut().for_each(|run| run.audited = true);
    }
    Ok(runs)
}

/// Everything that one loop needs.
struct Load<'a> {
    traffic: Arc<Orders>,
    running: &'a Running,
    accounts: &'a Accounts,
    options: &'a Options,
}

impl Load<'_> {
    /// Warms up, measures, waits until all has settled, and accounts for every order. `ids` gets the confirmed orders.
    async fn measure(&self, pace: Pace, ids: &mut Vec<Uuid>) -> anyhow::Result<figures::Seen> {
        let url = self.running.addresses().edge_url.clone().unwrap_or_default();
        let address = load::address_of(&url)?;
        let plan = |seconds| Plan::new(pace, Duration::from_secs(seconds));
        eprintln!("  {pace:?}: warming up for {} s, measuring for {} s", self.options.warmup, self.options.duration);
        let warm = load::run(self.traffic.clone(), address, &plan(self.options.warmup)).await?;
        ids.extend(warm.answers);
        self.accounts.settle().await?;

        let (parts, generator) = (self.running.parts()?, [Part::generator()]);
        let since = self.accounts.now().await?;
        let (before, generator_before) = (Usage::read(&parts)?, Usage::read(&generator)?);
        let outcome = load::run(self.traffic.clone(), address, &plan(self.options.duration)).await?;
        let generator_used = Usage::read(&generator)?.since(&generator_before);
        let settled = self.accounts.settle().await?;
        let used = Usage::read(&parts)?.since(&before).and(generator_used);
        let lags = self.accounts.check(since, &outcome.answers).await?;
        let seen = figures::Seen::new(&outcome, &lags, settled, &used);
        ids.extend(outcome.answers);
        Ok(seen)
    }
}

/// All books, by the auditor.
async fn audit(running: &Running, ids: &[Uuid]) -> anyhow::Result<()> {
    let answer = |id: &Uuid| Answer { status: 201, order_id: id.to_string(), ..Answer::default() };
    let options = swiftcart_audit::Options {
        wait: Some(Duration::from_secs(120)),
        answers: ids.iter().map(answer).collect(),
        ..swiftcart_audit::Options::default()
    };
    let report = swiftcart_audit::audit(&Sources::of(running.addresses()), &options).await?;
    ensure!(report.is_clean(), "the books do not agree:\n{report}");
    eprintln!("  the auditor finds that all books agree on {} orders", report.judged);
    Ok(())
}

/// Orders of many buyers for the same two products.
struct Orders {
    host: HeaderValue,
    tokens: Vec<HeaderValue>,
    body: Bytes,
}

impl Orders {
    fn new(client: &Client, options: &Options) -> anyhow::Result<Self> {
        let url = client.addresses().edge_url.clone().unwrap_or_default();
        let token = |buyer: usize| {
            let mut request = client.token_request(&format!("bench-buyer-{buyer}"), "orders:write");
            if options.no_mail {
                request.email = None;
            }
            Ok(HeaderValue::from_str(&format!("Bearer {}", client.mint(&request)?))?)
        };
        let body = json!({"items": [{"sku": "BENCH-1", "qty": 1}, {"sku": "BENCH-2", "qty": 2}], "currency": "USD", "payment": {"method": "pm_card_visa"}});
        Ok(Self {
            host: HeaderValue::from_str(&load::address_of(&url)?.to_string())?,
            tokens: (0..options.buyers).map(token).collect::<anyhow::Result<_>>()?,
            body: Bytes::from(body.to_string()),
        })
    }
}

/// What is read of a 201.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    order_id: Uuid,
}

impl Traffic for Orders {
    type Answer = Uuid;

    fn request(&self, number: u64) -> anyhow::Result<Request<Full<Bytes>>> {
        let buyer = usize::try_from(number)? % self.tokens.len();
        let request = Request::post("/orders")
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("idempotency-key", HeaderValue::from_str(Uuid::new_v4().hyphenated().encode_lower(&mut [0; 36]))?);
        let request = self
            .tokens
            .get(buyer)
            .into_iter()
            .fold(request, |request, token| request.header(AUTHORIZATION, token.clone()));
        Ok(request.body(Full::new(self.body.clone()))?)
    }

    fn judge(&self, status: StatusCode, body: &Bytes) -> Result<Uuid, String> {
        if status != StatusCode::CREATED {
            return Err(format!("{status}: {}", String::from_utf8_lossy(body)));
        }
        let created: Result<Created, _> = serde_json::from_slice(body);
        created.map(|created| created.order_id).map_err(|error| format!("201 without an order id: {error}"))
    }
}
