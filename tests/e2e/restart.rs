//! The host dies or is stopped while orders stream in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use swiftcart_support::client::{Answer, Client};
use swiftcart_support::eventually;
use tokio::task::JoinSet;

use crate::shop::{E2e, SOON, fresh_key, order_id, order_of};

/// Buyers who order without pause.
const BUYERS: usize = 8;
/// Longest time that a retried request may need to get through a restart.
const RETRY: Duration = Duration::from_secs(90);

/// Goal: after kill -9 in the middle of a stream every order is decided, charged if and only if confirmed, applied once, and whoever repeats
/// his request with the same key gets his order. Method: eight buyers, two kills, each client repeats until he has an answer.
pub(crate) async fn a_killed_host_loses_nothing(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 10_000).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for _ in 0..BUYERS {
        buyers.spawn(buy(e2e.client.clone(), e2e.buyer()?, sku.clone(), stop.clone()));
    }
    for enough in [20_i64, 60] {
        decided_at_least(e2e, &sku, enough).await?;
        let host = e2e.shop.host()?;
        host.kill()?;
        host.start().await?;
    }
    decided_at_least(e2e, &sku, 100).await?;
    stop.store(true, Ordering::Relaxed);
    let mut answered = Vec::new();
    while let Some(orders) = buyers.join_next().await {
        answered.extend(orders??);
    }
    ensure!(answered.len() >= 60, "only {} orders were answered", answered.len());
    accounts_are_right(e2e, &sku, &answered).await
}

/// Goal: SIGTERM lets running requests finish and loses none. Method: stop the host under load, look at its exit code, start it again.
pub(crate) async fn a_terminated_host_finishes_its_work(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 10_000).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut buyers = JoinSet::new();
    for _ in 0..BUYERS {
        buyers.spawn(buy(e2e.client.clone(), e2e.buyer()?, sku.clone(), stop.clone()));
    }
    decided_at_least(e2e, &sku, 20).await?;
    e2e.shop.host()?.restart().await?;
    decided_at_least(e2e, &sku, 40).await?;
    stop.store(true, Ordering::Relaxed);
    let mut answered = Vec::new();
    while let Some(orders) = buyers.join_next().await {
        answered.extend(orders??);
    }
    accounts_are_right(e2e, &sku, &answered).await
}

/// Orders until told to stop; each order is repeated with its key until it is answered for good.
async fn buy(client: Client, token: String, sku: String, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<String>> {
    let mut orders = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (key, body) = (fresh_key(), order_of(&sku, 1, "pm_card_visa"));
        let answer: Answer = eventually(RETRY, "an answer for good", async || {
            let answer = client.post_order(&token, Some(&key), &body).await?;
            ensure!(matches!(answer.status, 201 | 402), "{}: {}", answer.status, answer.text());
            Ok(answer)
        })
        .await?;
        orders.push(order_id(&answer.expect_status(201)?)?);
    }
    Ok(orders)
}

async fn decided_at_least(e2e: &E2e, sku: &str, count: i64) -> anyhow::Result<()> {
    eventually(RETRY, "enough orders", async || {
        let decided: i64 = sqlx::query_scalar("SELECT count(*) FROM orders JOIN order_lines ON order_lines.order_id = orders.id WHERE sku = $1 AND state <> 'PENDING'").bind(sku).fetch_one(&e2e.orders).await?;
        ensure!(decided >= count, "{decided} of {count}");
        Ok(())
    })
    .await
}

async fn accounts_are_right(e2e: &E2e, sku: &str, answered: &[String]) -> anyhow::Result<()> {
    let states = async || -> anyhow::Result<Vec<(String, String)>> {
        Ok(sqlx::query_as("SELECT orders.id::text, state FROM orders JOIN order_lines ON order_lines.order_id = orders.id WHERE sku = $1").bind(sku).fetch_all(&e2e.orders).await?)
    };
    let settled = eventually(RETRY, "every order is decided", async || {
        let states = states().await?;
        let pending = states.iter().filter(|(_, state)| state == "PENDING").count();
        ensure!(pending == 0, "{pending} pending");
        Ok(states)
    })
    .await?;
    let confirmed: Vec<&String> = settled.iter().filter(|(_, state)| state == "CONFIRMED").map(|(id, _)| id).collect();
    for order in answered {
        ensure!(confirmed.contains(&order), "order {order} was answered 201 and is not CONFIRMED");
    }
    let ledger = e2e.client.psp_ledger().await?;
    for (order, state) in &settled {
        let charges = ledger["orders"][order]["charges"].as_u64().unwrap_or(0);
        ensure!(charges == u64::from(state == "CONFIRMED"), "order {order} is {state} and was charged {charges} times");
    }
    let sold = i64::try_from(confirmed.len()).context("too many")?;
    eventually(SOON, "every confirmed order is applied to stock once", async || {
        let moved: Option<i64> = sqlx::query_scalar(
            "SELECT sum(delta)::bigint FROM inventory_movements WHERE sku = $1 AND kind = 'confirmed'",
        )
        .bind(sku)
        .fetch_one(&e2e.inventory)
        .await?;
        let stock = (moved.unwrap_or(0), e2e.on_hand(sku).await?, e2e.available(sku).await?);
        ensure!(stock == (-sold, 10_000 - sold, 10_000 - sold), "{stock:?} for {sold} sold");
        Ok(())
    })
    .await
}
