//! The policy of the link from order to payment, as the manifest ships it, while the PSP is ill: buyers are refused fast instead of waiting, the shop
//! serves everything else, and it recovers by itself. "Surely not charged" stays true throughout.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use swiftcart_support::client::Answer;
use swiftcart_support::eventually;

use crate::shop::{E2e, SOON, fresh_key, order_id, order_of, problem};

/// The breaker's name on the admin port.
const PAYMENT: &str = "swiftcart.payment.payments";
/// Failed charges that open the breaker whatever came before: `minimum_calls`, and half of `window_calls`.
const ENOUGH: usize = 10;
/// Orders while it is open: enough for a percentile.
const TRIES: usize = 300;

/// One order with its answer and how long that took.
struct Try {
    token: String,
    key: String,
    answer: Answer,
    took: Duration,
}

async fn buy(e2e: &E2e, token: &str, sku: &str) -> anyhow::Result<Try> {
    let (key, began) = (fresh_key(), Instant::now());
    let answer = e2e.client.post_order(token, Some(&key), &order_of(sku, 1, "pm_card_visa")).await?;
    Ok(Try { token: token.to_owned(), key, answer, took: began.elapsed() })
}

async fn breaker(e2e: &E2e) -> anyhow::Result<Value> {
    let all = e2e.client.admin("/v1/breakers").await?.expect_status(200)?.json()?;
    let is_payment = |breaker: &&Value| breaker["id"].as_str().is_some_and(|id| id.ends_with(PAYMENT));
    all["breakers"].as_array().into_iter().flatten().find(is_payment).cloned().context("no breaker before payment")
}

/// Sends orders until the breaker has opened; gives those that were answered 202.
async fn until_open(e2e: &E2e, token: &str, sku: &str) -> anyhow::Result<Vec<Try>> {
    let pending = Mutex::new(Vec::new());
    eventually(SOON, "the breaker to open", async || {
        let tries = try_join_all((0..ENOUGH).map(|_| buy(e2e, token, sku))).await?;
        let mut statuses: Vec<u16> = tries.iter().map(|one| one.answer.status).collect();
        statuses.sort_unstable();
        ensure!(statuses.iter().all(|status| matches!(status, 202 | 503)), "{statuses:?}");
        let unknown = tries.into_iter().filter(|one| one.answer.status == 202);
        pending.lock().unwrap_or_else(PoisonError::into_inner).extend(unknown);
        let shown = breaker(e2e).await?;
        ensure!(shown["state"] != "closed", "{shown}");
        Ok(())
    })
    .await?;
    Ok(pending.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The PSP is well again: orders are confirmed without anybody's doing, and those that were left open are decided.
async fn recovers(e2e: &E2e, token: &str, sku: &str, pending: &[Try]) -> anyhow::Result<()> {
    eventually(SOON, "orders to be confirmed again", async || {
        buy(e2e, token, sku).await?.answer.expect_status(201)?;
        let shown = breaker(e2e).await?;
        ensure!(shown["state"] == "closed", "{shown}");
        Ok(())
    })
    .await?;
    for one in pending {
        let order = order_id(&one.answer)?;
        e2e.settled(&one.token, &order, "CONFIRMED").await?;
        ensure!(e2e.charges(&order).await? == 1, "order {order} was charged {} times", e2e.charges(&order).await?);
    }
    Ok(())
}

/// Every answer is `payment-unavailable` with `Retry-After`. An order that it names has failed and was not charged; where it names none, none was
/// begun: its buyer, who has asked for nothing else, has no order. The key makes another order.
async fn nothing_was_charged(e2e: &E2e, sku: &str, refused: &[Try]) -> anyhow::Result<()> {
    for one in refused {
        let told = problem(&one.answer, 503, "payment-unavailable")?;
        ensure!(one.answer.header("retry-after").is_some(), "no Retry-After");
        if let Some(order) = told["orderId"].as_str() {
            e2e.settled(&one.token, order, "FAILED").await?;
            ensure!(e2e.charges(order).await? == 0, "order {order} was refused and charged");
            continue;
        }
        let all = e2e.client.get("/orders", Some(&one.token)).await?.expect_status(200)?.json()?;
        ensure!(
            all["items"].as_array().is_some_and(Vec::is_empty),
            "refused without an order, and there is one: {all}"
        );
    }
    let first = refused.first().context("nobody was refused")?;
    let order = order_of(sku, 1, "pm_card_visa");
    let again = e2e.client.post_order(&first.token, Some(&first.key), &order).await?.expect_status(201)?;
    ensure!(again.header("idempotent-replayed").is_none(), "the key was not free");
    Ok(())
}

fn percentile(tries: &[Try], percent: usize) -> Duration {
    let mut times: Vec<Duration> = tries.iter().map(|one| one.took).collect();
    times.sort_unstable();
    times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// Goal: a PSP that fails opens the breaker; then buyers are refused at once, with 503, nothing is charged, orders can be read, and the shop
/// recovers without anybody's doing. Method: the simulator answers 503; then it works again.
pub(crate) async fn a_failing_psp_is_refused_fast_and_recovers(e2e: &mut E2e) -> anyhow::Result<()> {
    let (sku, token) = (e2e.product(100, 10_000).await?, e2e.buyer()?);
    e2e.client.psp_faults(&json!({"unavailable": true})).await?;
    let pending = until_open(e2e, &token, &sku).await?;
    ensure!(pending.len() >= ENOUGH / 2, "it opened after {} failures", pending.len());
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        // Somebody else each time: the edge limits what one may ask.
        tries.push(buy(e2e, &e2e.buyer()?, &sku).await?);
        e2e.client.get("/orders", Some(&e2e.buyer()?)).await?.expect_status(200)?;
    }
    // A few may be probes, which ask the PSP and are told 202.
    let (refused, probes): (Vec<_>, Vec<_>) = tries.into_iter().partition(|one| one.answer.status == 503);
    ensure!(refused.len() >= TRIES * 3 / 4, "{} of {TRIES} were refused", refused.len());
    eprintln!(
        "breaker open: {} refused, p50 {:?}, p99 {:?}; before it opened, p50 was {:?}",
        refused.len(),
        percentile(&refused, 50),
        percentile(&refused, 99),
        percentile(&pending, 50)
    );
    ensure!(percentile(&refused, 50) < percentile(&pending, 50), "refusing takes as long as asking");
    e2e.client.psp_faults(&json!({})).await?;
    let pending: Vec<Try> = pending.into_iter().chain(probes).collect();
    recovers(e2e, &token, &sku, &pending).await?;
    nothing_was_charged(e2e, &sku, &refused).await
}

/// Goal: a PSP that does not answer holds up neither those who read orders nor, once it is known to be slow, those who buy. Method: the simulator
/// takes every call and never answers; while the first buyers wait, others read; then it works again.
pub(crate) async fn a_silent_psp_slows_nobody_else(e2e: &mut E2e) -> anyhow::Result<()> {
    let (sku, token) = (e2e.product(100, 10_000).await?, e2e.buyer()?);
    e2e.client.psp_faults(&json!({"hang_next": 1_000_000})).await?;
    let mut slowest_read = Duration::ZERO;
    let reading = async {
        // For as long as the first buyers wait at least: one request to the PSP takes 3.5 seconds.
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            // Somebody else each time: the edge limits what one may ask.
            let (reader, asked) = (e2e.buyer()?, Instant::now());
            e2e.client.get("/orders", Some(&reader)).await?.expect_status(200)?;
            slowest_read = slowest_read.max(asked.elapsed());
        }
        anyhow::Ok(())
    };
    let (pending, read) = futures::join!(until_open(e2e, &token, &sku), reading);
    read?;
    let pending = pending?;
    let waited = percentile(&pending, 0);
    ensure!(waited >= Duration::from_secs(3), "the first buyers waited {waited:?} only: nothing is shown");
    let mut tries = Vec::new();
    for _ in 0..20 {
        let one = buy(e2e, &e2e.buyer()?, &sku).await?;
        let is_probe = one.answer.status != 503;
        tries.push(one);
        if is_probe {
            break;
        }
    }
    let (refused, probes): (Vec<_>, Vec<_>) = tries.into_iter().partition(|one| one.answer.status == 503);
    eprintln!(
        "silent PSP: first buyers waited {waited:?}, then {} were refused, p99 {:?}; slowest GET /orders meanwhile {slowest_read:?}",
        refused.len(),
        percentile(&refused, 99)
    );
    ensure!(slowest_read < waited, "reading took {slowest_read:?}");
    ensure!(
        !refused.is_empty() && percentile(&refused, 50) < waited / 2,
        "refused after {:?}",
        percentile(&refused, 50)
    );
    e2e.client.psp_faults(&json!({})).await?;
    let pending: Vec<Try> = pending.into_iter().chain(probes).collect();
    recovers(e2e, &token, &sku, &pending).await?;
    nothing_was_charged(e2e, &sku, &refused).await
}
