//! A steady stream of orders, drawn by a seed, from clients that behave: each repeats its request with the same key until it has an answer for good.
//! Invariant: every answer is counted and every order in a 201 or 202 written down for the auditor.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use swiftcart_audit::Answer;
use swiftcart_support::client::{self, Client};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

/// The edge's own deadline is 10 s; what has not answered by then will not.
const ANSWER: Duration = Duration::from_secs(15);
/// So long a client goes on: longer than any fault and the sweep after it.
const PATIENCE: Duration = Duration::from_secs(240);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Clients that wait during an outage; more would only be the same again.
const CLIENTS: usize = 400;
/// Requests of one race.
const RACERS: usize = 4;

/// What can be bought.
#[derive(Clone, Debug)]
pub(crate) struct Shelf {
    /// Plenty of each.
    pub(crate) plenty: Vec<String>,
    /// Nothing.
    pub(crate) sold_out: String,
    /// A few, until they are gone; only where the shop can take a confirmation back.
    pub(crate) scarce: Option<String>,
    /// Whether orders can be cancelled.
    pub(crate) cancellations: bool,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Buy,
    Declined,
    SoldOut,
    Scarce,
    Repeat,
    Race,
    Cancel,
}

impl Kind {
    fn draw(random: &mut StdRng, shelf: &Shelf) -> Self {
        match random.random_range(0..100) {
            0..52 => Self::Buy,
            52..64 => Self::Declined,
            64..72 => Self::SoldOut,
            72..77 if shelf.scarce.is_some() => Self::Scarce,
            77..85 => Self::Repeat,
            85..91 => Self::Race,
            91..100 if shelf.cancellations => Self::Cancel,
            _ => Self::Buy,
        }
    }
}

/// Everything that came back.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Clients that began.
    pub(crate) clients: usize,
    /// Answers by status; 0 stands for no answer.
    pub(crate) statuses: BTreeMap<u16, usize>,
    /// Orders in answers 201 and 202.
    pub(crate) answers: Vec<Answer>,
    /// When a decided answer came.
    pub(crate) good: Vec<Instant>,
    /// Orders that were cancelled.
    pub(crate) cancelled: usize,
    /// Clients that gave up.
    pub(crate) gave_up: usize,
    /// Answers that no contract allows.
    pub(crate) wrong: Vec<String>,
}

/// A log that clients share.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Log>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load that runs.
pub(crate) struct Load {
    pub(crate) log: Shared,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Begins.
    pub(crate) fn start(client: &Client, shelf: Shelf, seed: u64, rate: f64) -> Self {
        let (stop, stopped) = watch::channel(false);
        let log = Shared::default();
        let task = tokio::spawn(stream(client.clone(), shelf, seed, rate, log.clone(), stopped));
        Self { log, stop, task }
    }

    /// No more new clients; waits until all have their answers, and gives the log.
    pub(crate) async fn finish(self) -> anyhow::Result<Log> {
        self.stop.send_replace(true);
        self.task.await?;
        Ok(std::mem::take(&mut *self.log.lock()))
    }
}

/// Open loop: a client is due at a time that does not depend on earlier answers.
async fn stream(client: Client, shelf: Shelf, seed: u64, rate: f64, log: Shared, mut stopped: watch::Receiver<bool>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => break,
        }
        while clients.try_join_next().is_some() {}
        let (kind, own) = (Kind::draw(&mut random, &shelf), random.random());
        if clients.len() < CLIENTS {
            log.lock().clients += 1;
            clients.spawn(behave(client.clone(), shelf.clone(), kind, own, log.clone()));
        }
    }
    while clients.join_next().await.is_some() {}
}

async fn behave(client: Client, shelf: Shelf, kind: Kind, seed: u64, log: Shared) {
    let mut random = StdRng::seed_from_u64(seed);
    let Ok(buyer) = Buyer::new(client, &mut random, log) else { return };
    let method = if kind == Kind::Declined { "pm_card_chargeDeclined" } else { "pm_card_visa" };
    let items: Vec<Value> = match kind {
        Kind::SoldOut => vec![json!({"sku": shelf.sold_out, "qty": 1})],
        Kind::Scarce => vec![json!({"sku": shelf.scarce, "qty": 1})],
        _ => {
            let first = random.random_range(0..shelf.plenty.len());
            let count = random.random_range(1..=shelf.plenty.len().min(3));
            let skus = (0..count).filter_map(|step| shelf.plenty.get((first + step) % shelf.plenty.len()));
            skus.map(|sku| json!({"sku": sku, "qty": random.random_range(1..=3)})).collect()
        }
    };
    let body = json!({"items": items, "currency": "USD", "payment": {"method": method}});
    let key = format!("chaos-{seed:016x}");
    match kind {
        Kind::Race => {
            join_all((0..RACERS).map(|_| buyer.order(&key, &body))).await;
        }
        Kind::Repeat => {
            if let Some(first) = buyer.order(&key, &body).await
                && let Some(second) = buyer.order(&key, &body).await
                && matches!(first.status, 201 | 402)
                && (first.status, &first.body) != (second.status, &second.body)
            {
                let what = format!(
                    "key {key}: {} {} and then {} {}",
                    first.status,
                    first.text(),
                    second.status,
                    second.text()
                );
                buyer.log.lock().wrong.push(what);
            }
        }
        Kind::Cancel => {
            if let Some(answer) = buyer.order(&key, &body).await.filter(|answer| answer.status == 201) {
                buyer.cancel(&answer).await;
            }
        }
        _ => {
            buyer.order(&key, &body).await;
        }
    }
}

/// Somebody with a name and a token.
struct Buyer {
    client: Client,
    name: String,
    token: String,
    log: Shared,
}

impl Buyer {
    fn new(client: Client, random: &mut StdRng, log: Shared) -> anyhow::Result<Self> {
        let name = format!("buyer-{}", Uuid::from_u128(random.random()));
        let mut request = client.token_request(&name, "orders:read orders:write");
        if random.random_range(0..2) == 0 {
            // The mail server of a test is not made for such a load; the row about the mail is written all the same.
            request.email = None;
        }
        let token = client.mint(&request)?;
        Ok(Self { client, name, token, log })
    }

    /// Repeats an order until it is decided; `None` when nobody decided it in time or the answer was against the contract.
    async fn order(&self, key: &str, body: &Value) -> Option<client::Answer> {
        let end = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < end {
            let asked = tokio::time::timeout(ANSWER, self.client.post_order(&self.token, Some(key), body)).await;
            let answer = asked.ok().and_then(Result::ok);
            if let Some(answer) = self.note(key, answer) {
                return Some(answer);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.log.lock().gave_up += 1;
        None
    }

    /// Writes an answer down; gives it back if it is one for good.
    fn note(&self, key: &str, answer: Option<client::Answer>) -> Option<client::Answer> {
        let mut log = self.log.lock();
        *log.statuses.entry(answer.as_ref().map_or(0, |answer| answer.status)).or_default() += 1;
        let answer = answer?;
        let told = answer.json().unwrap_or_default();
        let problem = told.get("type").and_then(Value::as_str).unwrap_or_default();
        let good = match answer.status {
            201 | 402 => true,
            409 => matches!(problem, "/problems/out-of-stock" | "/problems/order-failed"),
            _ => false,
        };
        if matches!(answer.status, 201 | 202) {
            let order_id = told.get("orderId").and_then(Value::as_str).unwrap_or_default().to_owned();
            let (user, key) = (self.name.clone(), key.to_owned());
            log.answers.push(Answer { status: answer.status, order_id, user, key });
        }
        if good {
            log.good.push(Instant::now());
            return Some(answer);
        }
        let again = matches!(answer.status, 202 | 429 | 503) || problem == "/problems/idempotency-key-in-flight";
        if !again {
            log.wrong.push(format!("key {key}: {} {}", answer.status, answer.text()));
            return Some(answer);
        }
        None
    }

    /// Cancels an order until the shop says what became of it.
    async fn cancel(&self, created: &client::Answer) {
        let Some(order) = created.json().ok().and_then(|told| Some(told.get("orderId")?.as_str()?.to_owned())) else {
            return;
        };
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let asked = tokio::time::timeout(ANSWER, self.client.cancel_order(&self.token, &order)).await;
            let Some(answer) = asked.ok().and_then(Result::ok) else {
                tokio::time::sleep(LONGEST_PAUSE).await;
                continue;
            };
            let problem = answer.json().unwrap_or_default();
            match answer.status {
                200 => {
                    self.log.lock().cancelled += 1;
                    return;
                }
                429 | 503 => tokio::time::sleep(FIRST_PAUSE).await,
                // Inventory took the confirmation back first.
                409 if problem.get("type").and_then(Value::as_str) == Some("/problems/order-failed") => return,
                _ => {
                    self.log.lock().wrong.push(format!("cancelling {order}: {} {}", answer.status, answer.text()));
                    return;
                }
            }
        }
        self.log.lock().gave_up += 1;
    }
}
