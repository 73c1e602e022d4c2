//! The load. In the open loop an order is due at a time that does not depend on earlier answers, and its latency counts from then: a stall
//! is seen by every order that was due during it (no coordinated omission).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;
use swiftcart_support::client::Client;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Mode;

/// An answer later than this counts as this late.
const HIGHEST_LATENCY_US: u64 = 60_000_000;

/// How to load.
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) rate: f64,
    pub(crate) clients: usize,
    pub(crate) duration: Duration,
    pub(crate) tokens: Vec<String>,
}

/// What came back.
pub(crate) struct Outcome {
    /// Microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// Orders answered 201, with their ids.
    pub(crate) confirmed: Vec<Uuid>,
    /// Everything else, in words, as many as there were.
    pub(crate) errors: Vec<String>,
    /// From the first order to the last answer.
    pub(crate) elapsed: Duration,
}

impl Outcome {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            latency_us: Histogram::new_with_bounds(1, HIGHEST_LATENCY_US, 3)?,
            confirmed: Vec::new(),
            errors: Vec::new(),
            elapsed: Duration::ZERO,
        })
    }

    fn add(&mut self, answer: Answered) {
        let latency = u64::try_from(answer.latency.as_micros()).unwrap_or(HIGHEST_LATENCY_US);
        self.latency_us.saturating_record(latency.clamp(1, HIGHEST_LATENCY_US));
        match answer.order {
            Ok(id) => self.confirmed.push(id),
            Err(error) => self.errors.push(error),
        }
    }
}

struct Answered {
    latency: Duration,
    order: Result<Uuid, String>,
}

/// Runs the plan and waits for every answer.
pub(crate) async fn run(client: &Client, plan: &Plan) -> anyhow::Result<Outcome> {
    let began = Instant::now();
    let mut outcome = match plan.mode {
        Mode::Open => open(client, plan).await?,
        Mode::Closed => closed(client, plan).await?,
    };
    outcome.elapsed = began.elapsed();
    Ok(outcome)
}

async fn open(client: &Client, plan: &Plan) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new()?;
    let mut running = JoinSet::new();
    let began = Instant::now();
    for (number, token) in plan.tokens.iter().cycle().enumerate() {
        let due = began + Duration::from_secs_f64(number as f64 / plan.rate);
        if due >= began + plan.duration {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let (client, token) = (client.clone(), token.clone());
        running.spawn(async move { order(&client, &token, due).await });
        while let Some(answer) = running.try_join_next() {
            outcome.add(answer?);
        }
    }
    while let Some(answer) = running.join_next().await {
        outcome.add(answer?);
    }
    Ok(outcome)
}

async fn closed(client: &Client, plan: &Plan) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::new()?;
    let end = Instant::now() + plan.duration;
    let next = Arc::new(AtomicU64::new(0));
    let tokens = Arc::new(plan.tokens.clone());
    let mut running = JoinSet::new();
    for _ in 0..plan.clients {
        let (client, next, tokens) = (client.clone(), next.clone(), tokens.clone());
        running.spawn(async move {
            let mut answers = Vec::new();
            while Instant::now() < end {
                let number = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap_or(0);
                if let Some(token) = tokens.get(number % tokens.len()) {
                    answers.push(order(&client, token, Instant::now()).await);
                }
            }
            answers
        });
    }
    while let Some(answers) = running.join_next().await {
        answers?.into_iter().for_each(|answer| outcome.add(answer));
    }
    Ok(outcome)
}

async fn order(client: &Client, token: &str, due: Instant) -> Answered {
    let body = json!({"items": [{"sku": "BENCH-1", "qty": 1}, {"sku": "BENCH-2", "qty": 2}], "currency": "USD", "payment": {"method": "pm_card_visa"}});
    let answer = client.post_order(token, Some(&Uuid::new_v4().to_string()), &body).await;
    let latency = due.elapsed();
    let order = match answer {
        Ok(answer) if answer.status == 201 => answer
            .json()
            .ok()
            .and_then(|order| order.get("orderId")?.as_str()?.parse().ok())
            .ok_or_else(|| "201 without an order id".to_owned()),
        Ok(answer) => Err(format!("{}: {}", answer.status, answer.text())),
        Err(error) => Err(format!("{error:#}")),
    };
    Answered { latency, order }
}
