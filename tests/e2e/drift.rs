//! Redis may say what it likes: what is sold is what is there, and counters come right by themselves.

use anyhow::ensure;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use redis::AsyncCommands as _;
use swiftcart_support::eventually;

use crate::refund::drained;
use crate::shop::{E2e, SOON, order_id};

/// Goal: a counter that is wrong is put right while orders flow, and a right one is left alone. Method: falsify one in Redis, order meanwhile.
pub(crate) async fn a_false_counter_is_put_right(e2e: &mut E2e) -> anyhow::Result<()> {
    let (wrong, right) = (e2e.product(100, 50).await?, e2e.product(100, 50).await?);
    let token = e2e.buyer()?;
    let mut redis = e2e.redis().await?;
    for falsified in [1_000_i64, 0] {
        redis.set::<_, _, ()>(format!("available_stock:{wrong}"), falsified).await?;
        e2e.order(&token, &right, 1, "pm_card_visa").await?.expect_status(201)?;
        eventually(SOON, "the counter", async || {
            let available = e2e.available(&wrong).await?;
            ensure!(available == 50, "the counter is {available}");
            Ok(())
        })
        .await?;
    }
    e2e.order(&token, &wrong, 1, "pm_card_visa").await?.expect_status(201)?;
    for (sku, left) in [(&wrong, 49), (&right, 48)] {
        eventually(SOON, "stock", async || {
            let stock = (e2e.on_hand(sku).await?, e2e.available(sku).await?);
            ensure!(stock == (left, left), "{stock:?}, expected {left}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Goal: a Redis that loses everything in the middle of a rush costs nobody anything: no unit goes out twice, nothing is negative, each confirmed order
/// is taken from the shelf or rejected, and the counter is right afterwards. Method: 40 buyers of 20 units, FLUSHALL when a quarter was answered.
pub(crate) async fn a_redis_that_loses_everything_oversells_nothing(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 20).await?;
    let tokens = (0..40).map(|_| e2e.buyer()).collect::<anyhow::Result<Vec<_>>>()?;
    let mut redis = e2e.redis().await?;
    let mut rush: FuturesUnordered<_> = tokens.iter().map(|token| e2e.order(token, &sku, 1, "pm_card_visa")).collect();
    let mut confirmed = Vec::new();
    for number in 1.. {
        let Some(answer) = rush.next().await else { break };
        let answer = answer?;
        match answer.status {
            201 => confirmed.push(order_id(&answer)?),
            // Out of stock, or Redis was empty at the wrong moment and nothing was done.
            409 | 503 => {}
            other => anyhow::bail!("{other}: {}", answer.text()),
        }
        if number == 10 {
            redis::cmd("FLUSHALL").query_async::<()>(&mut redis).await?;
        }
    }
    ensure!(confirmed.len() >= 10, "only {} were confirmed", confirmed.len());
    for order in &confirmed {
        eventually(SOON, "the end of each confirmed order", async || {
            let applied = e2e.movements(order).await? == [("confirmed".to_owned(), -1)];
            let rejected = !applied && !e2e.broker.with_key("inventory.rejected.v1", order).await?.is_empty();
            ensure!(applied || rejected, "order {order} is neither taken from the shelf nor rejected");
            Ok(())
        })
        .await?;
    }
    drained(e2e, "inventory", "orders.confirmed.v1").await?;
    let taken: i64 =
        sqlx::query_scalar("SELECT count(*) FROM inventory_movements WHERE sku = $1 AND kind = 'confirmed'")
            .bind(&sku)
            .fetch_one(&e2e.inventory)
            .await?;
    ensure!(taken <= 20, "{taken} of 20 went out");
    eventually(SOON, "the counter after the loss", async || {
        let stock = (e2e.on_hand(&sku).await?, e2e.available(&sku).await?);
        ensure!(stock == (20 - taken, 20 - taken), "{stock:?} after {taken} of 20");
        Ok(())
    })
    .await
}
