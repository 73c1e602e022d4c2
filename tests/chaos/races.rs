//! Many at once for one thing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use futures::stream;
use serde_json::{Value, json};
use swiftcart_audit::Answer;
use swiftcart_support::client::Client;
use uuid::Uuid;

use crate::world::{Chaos, Form};

/// Buyers of the last unit.
const BUYERS: usize = 1000;
/// How many of them ask at the same moment: below what the edge sheds, so that each is told about stock and not about load.
const AT_ONCE: usize = 100;
/// How often one key is sent.
const RACERS: usize = 100;

fn order_of(sku: &str) -> Value {
    json!({"items": [{"sku": sku, "qty": 1}], "currency": "USD", "payment": {"method": "pm_card_visa"}})
}

/// Asks until the answer is one for good.
async fn decided(client: Client, token: String, key: String, body: Value) -> anyhow::Result<(u16, Value)> {
    loop {
        let answer = client.post_order(&token, Some(&key), &body).await?;
        let told = answer.json().unwrap_or_default();
        let wait = answer.status == 409 && told["type"] == "/problems/idempotency-key-in-flight";
        if !wait && !matches!(answer.status, 202 | 429 | 503) {
            return Ok((answer.status, told));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Goal: one key raced a hundred ways makes one order and one charge, and everybody ends with the same answer. Method: a slow PSP, so that they really
/// meet; who is told to wait asks again.
pub(crate) async fn one_key_raced_a_hundred_ways(chaos: &mut Chaos) -> anyhow::Result<()> {
    let world = chaos.world(Form::Alone).await?;
    let sku = world.product(RACERS as i64).await?;
    let token = world.client.token(&format!("racer-{}", Uuid::new_v4()), "orders:read orders:write")?;
    let key = Uuid::new_v4().to_string();
    world.client.psp_faults(&json!({"latency_ms": 300})).await?;
    let racers = (0..RACERS).map(|_| decided(world.client.clone(), token.clone(), key.clone(), order_of(&sku)));
    let answers: Vec<_> = stream::iter(racers).buffer_unordered(RACERS).collect().await;
    world.client.psp_faults(&json!({})).await?;
    let mut orders = BTreeSet::new();
    let mut told = Vec::new();
    for answer in answers {
        let (status, body) = answer?;
        ensure!(status == 201, "{status}: {body}");
        let order_id = body["orderId"].as_str().context("no orderId")?.to_owned();
        told.push(Answer { status, order_id: order_id.clone(), user: "racer".to_owned(), key: key.clone() });
        orders.insert(order_id);
    }
    ensure!(orders.len() == 1, "{RACERS} racers with one key made {orders:?}");
    let counter = world.client.get(&format!("/products/{sku}"), None).await?.expect_status(200)?.json()?;
    ensure!(counter["availableStock"] == RACERS as i64 - 1, "{counter}");
    let report = world.clean(told).await?;
    eprintln!("{RACERS} requests with one key: 1 order; audit of {} orders clean", report.judged);
    Ok(())
}

/// Goal: of a thousand buyers of one unit one is CONFIRMED, 999 are told that it is out of stock, and none of these is charged. Method: all with keys and
/// names of their own, a hundred at any moment.
pub(crate) async fn one_unit_and_a_thousand_buyers(chaos: &mut Chaos) -> anyhow::Result<()> {
    let world = chaos.world(Form::Alone).await?;
    let sku = world.product(1).await?;
    let mut buyers = Vec::new();
    for _ in 0..BUYERS {
        let mut request = world.client.token_request(&format!("buyer-{}", Uuid::new_v4()), "orders:read orders:write");
        request.email = None;
        let token = world.client.mint(&request)?;
        buyers.push(decided(world.client.clone(), token, Uuid::new_v4().to_string(), order_of(&sku)));
    }
    let answers: Vec<_> = stream::iter(buyers).buffer_unordered(AT_ONCE).collect().await;
    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    let mut told = Vec::new();
    let mut losers = Vec::new();
    for answer in answers {
        let (status, body) = answer?;
        *statuses.entry(status).or_default() += 1;
        let order_id = body["orderId"].as_str().with_context(|| format!("no orderId: {body}"))?.to_owned();
        if status == 201 {
            told.push(Answer { status, order_id, ..Answer::default() });
        } else {
            ensure!(status == 409 && body["type"] == "/problems/out-of-stock", "{status}: {body}");
            losers.push(order_id);
        }
    }
    ensure!(statuses == BTreeMap::from([(201, 1), (409, BUYERS - 1)]), "{statuses:?}");
    let ledger = world.client.psp_ledger().await?;
    let charged = losers.iter().filter(|order| ledger["orders"].get(order.as_str()).is_some()).count();
    ensure!(charged == 0, "the PSP has heard of {charged} orders that got nothing");
    let report = world.clean(told).await?;
    eprintln!("{BUYERS} buyers of one unit: {statuses:?}; audit of {} orders clean", report.judged);
    Ok(())
}
