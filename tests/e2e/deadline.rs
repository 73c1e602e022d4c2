//! A client's deadline, over two hops and a PSP that is slow: it cuts everything below in time, and costs nobody anything.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::json;
use swiftcart_support::client::{Answer, send};
use swiftcart_support::eventually;

use crate::shop::{E2e, SOON, fresh_key, order_id, order_of};

/// What the client waits, in seconds.
const PATIENCE: u64 = 2;
/// What the PSP takes: longer than the client waits, and than the shop would wait for one request to it.
const PSP: Duration = Duration::from_secs(6);
/// The metrics of calls under way, and the links of a create: gateway -> order -> payment -> PSP.
const IN_FLIGHT: &str = "swiftcart_link_calls_in_flight";
const CHAIN: [(&str, &str); 3] = [("gateway", "order"), ("order", "payment"), ("payment", "http-client")];

/// Orders with a client that waits only so long.
async fn hurried(e2e: &E2e, token: &str, key: &str, sku: &str) -> anyhow::Result<(Answer, Duration)> {
    let request = e2e.client.request(Method::POST, "/orders", Some(token))?;
    let request = request.header("idempotency-key", key).header("prefer", format!("wait={PATIENCE}"));
    let began = Instant::now();
    let answer = send(request.json(&order_of(sku, 1, "pm_card_visa"))).await?;
    Ok((answer, began.elapsed()))
}

async fn under_way(e2e: &E2e) -> anyhow::Result<Vec<f64>> {
    let mut counts = Vec::new();
    for (source, target) in CHAIN {
        counts.push(e2e.client.metric(IN_FLIGHT, &[("source", source), ("target", target)]).await?);
    }
    Ok(counts)
}

/// Goal: the answer comes within the client's deadline and says what is known (202, for the PSP was asked); all calls below have ended with it and not
/// with the PSP; the order is then settled by the sweep, charged once, and its key tells so. Method: a PSP that takes six seconds, a client that waits
/// two; the host's own count of calls under way, before and after.
pub(crate) async fn a_clients_deadline_cuts_the_whole_chain(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let (token, key) = (e2e.buyer()?, fresh_key());
    // Instances are warm and the prices are known.
    e2e.order(&token, &sku, 1, "pm_card_visa").await?.expect_status(201)?;
    e2e.client.psp_faults(&json!({"latency_ms": PSP.as_millis()})).await?;
    let began = Instant::now();
    let seen_at_work = eventually(SOON, "the chain at work", async || {
        let counts = under_way(e2e).await?;
        ensure!(counts.iter().all(|count| *count >= 1.0), "{CHAIN:?}: {counts:?}");
        Ok(())
    });
    let (asked, seen) = futures::join!(hurried(e2e, &token, &key, &sku), seen_at_work);
    let (answer, took) = asked?;
    seen.context("nobody saw the calls under way, so that they ended shows nothing")?;
    let answer = answer.expect_status(202)?;
    ensure!(answer.header("preference-applied") == Some("wait=2"), "{:?}", answer.headers);
    // A busy machine may be late with the last step, which is to write the answer.
    ensure!(took < Duration::from_secs(PATIENCE) + Duration::from_millis(500), "the answer took {took:?}");
    eventually(SOON, "the calls below to end", async || {
        let counts = under_way(e2e).await?;
        ensure!(counts.iter().all(|count| count.abs() < f64::EPSILON), "{CHAIN:?}: {counts:?}");
        Ok(())
    })
    .await?;
    let ended = began.elapsed();
    ensure!(ended < PSP, "the calls below went on for {ended:?}: the PSP's answer ended them, not the deadline");
    eprintln!("client's deadline {PATIENCE} s, PSP {PSP:?}: answered after {took:?}, all calls ended after {ended:?}");

    let order = order_id(&answer)?;
    ensure!(answer.json()?["state"] == "PENDING", "{}", answer.text());
    e2e.client.psp_faults(&json!({})).await?;
    e2e.settled(&token, &order, "CONFIRMED").await?;
    ensure!(e2e.charges(&order).await? == 1, "{} charges", e2e.charges(&order).await?);
    let (told, _) = hurried(e2e, &token, &key, &sku).await?;
    ensure!(order_id(&told.expect_status(201)?)? == order, "the key made another order");
    e2e.applied(&order).await?;
    ensure!((e2e.available(&sku).await?, e2e.on_hand(&sku).await?) == (3, 3), "stock");
    Ok(())
}
