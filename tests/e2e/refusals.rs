//! Orders that cannot be: what the buyer is told, what is published, and that nothing is charged or kept back.

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use swiftcart_support::eventually;

use crate::shop::{E2e, SOON, fresh_key, order_id, order_of, problem};

/// How many charges the PSP has made.
async fn all_charges(e2e: &E2e) -> anyhow::Result<u64> {
    let ledger = e2e.client.psp_ledger().await?;
    let orders = ledger["orders"].as_object().context("no orders in the ledger")?;
    Ok(orders.values().filter_map(|order| order["charges"].as_u64()).sum())
}

/// The event of a failed order.
async fn failed_event(e2e: &E2e, order: &str) -> anyhow::Result<Value> {
    eventually(SOON, "the event in orders.failed.v1", async || {
        let found = e2e.broker.with_key("orders.failed.v1", order).await?;
        ensure!(found.len() == 1, "{} events", found.len());
        Ok(serde_json::from_slice(found.first().and_then(|message| message.payload()).context("no payload")?)?)
    })
    .await
}

/// Goal: a decline is told with the code that may be shown, published, and gives the stock back. Method: Stripe's test cards.
pub(crate) async fn a_declined_card_is_402_and_an_event(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(500, 3).await?;
    let token = e2e.buyer()?;
    let answer = e2e.order(&token, &sku, 2, "pm_card_chargeDeclinedInsufficientFunds").await?;
    let body = problem(&answer, 402, "payment-declined")?;
    ensure!(body["declineCode"] == "insufficient_funds", "{body}");
    let order = body["orderId"].as_str().context("no orderId")?.to_owned();
    let event = failed_event(e2e, &order).await?;
    ensure!(
        event["eventType"] == "OrderFailed"
            && event["failure"]["code"] == "payment_declined"
            && event["payment"]["status"] == "failed",
        "{event}"
    );
    let read = e2e.settled(&token, &order, "FAILED").await?;
    ensure!(read["failure"]["code"] == "payment_declined", "{read}");
    eventually(SOON, "the reservation is given back", async || {
        let available = e2e.available(&sku).await?;
        ensure!(available == 3, "{available} available");
        Ok(())
    })
    .await?;
    let unknown = e2e.order(&token, &sku, 1, "pm_card_none_such").await?;
    ensure!(
        problem(&unknown, 402, "payment-declined")?["declineCode"] == "invalid_payment_method",
        "{}",
        unknown.text()
    );
    ensure!(e2e.mails(&order).await?.is_empty(), "a mail about a refusal that the answer told");
    Ok(())
}

/// Goal: a short line refuses the whole order, names what is short, and nothing is charged or held. Method: one line enough, one short.
pub(crate) async fn too_little_stock_is_409_and_nothing_is_charged(e2e: &mut E2e) -> anyhow::Result<()> {
    let (plenty, short) = (e2e.product(100, 10).await?, e2e.product(100, 1).await?);
    let token = e2e.buyer()?;
    let body = json!({"items": [{"sku": plenty, "qty": 2}, {"sku": short, "qty": 2}], "currency": "USD", "payment": {"method": "pm_card_visa"}});
    let answer = e2e.client.post_order(&token, Some(&fresh_key()), &body).await?;
    let told = problem(&answer, 409, "out-of-stock")?;
    ensure!(told.to_string().contains(&short) && !told.to_string().contains(&plenty), "{told}");
    let order = told["orderId"].as_str().context("no orderId")?.to_owned();
    ensure!(failed_event(e2e, &order).await?["failure"]["code"] == "out_of_stock", "the event");
    ensure!(e2e.charges(&order).await? == 0, "charged");
    ensure!((e2e.available(&plenty).await?, e2e.available(&short).await?) == (10, 1), "stock is held back");
    Ok(())
}

/// Goal: with the PSP surely not reached nobody is charged, the answer says so, and the same key makes a new order later. Method: the
/// simulator answers 503 before doing anything, then works again.
pub(crate) async fn an_unreachable_psp_is_503_and_the_key_may_try_again(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let token = e2e.buyer()?;
    let key = fresh_key();
    let body = order_of(&sku, 1, "pm_card_visa");
    e2e.shop.psp.kill()?;
    let refused = e2e.client.post_order(&token, Some(&key), &body).await?;
    let told = problem(&refused, 503, "payment-unavailable")?;
    ensure!(refused.header("retry-after").is_some(), "no Retry-After");
    let order = told["orderId"].as_str().context("no orderId")?.to_owned();
    e2e.settled(&token, &order, "FAILED").await?;
    e2e.shop.psp.start().await?;
    let retried = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(201)?;
    ensure!(order_id(&retried)? != order, "the failed order was revived");
    ensure!(e2e.charges(&order).await? == 0 && e2e.charges(&order_id(&retried)?).await? == 1, "charges");
    Ok(())
}

/// Goal: a charge whose answer was lost is neither reported as failed nor made twice. Method: the simulator charges and says nothing; as
/// soon as its books have the charge it falls silent altogether, so that asking again within the same request gets no answer either.
pub(crate) async fn an_unknown_outcome_is_202_and_settles(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let token = e2e.buyer()?;
    let key = fresh_key();
    let body = order_of(&sku, 1, "pm_card_visa");
    let charged_before = all_charges(e2e).await?;
    e2e.client.psp_faults(&json!({"charge_then_hang_next": 1})).await?;
    let falls_silent = async {
        eventually(SOON, "the charge in the PSP's books", async || {
            ensure!(all_charges(e2e).await? > charged_before, "not yet");
            Ok(())
        })
        .await?;
        e2e.client.psp_faults(&json!({"hang_next": 1000})).await
    };
    let (first, silent) = futures::join!(e2e.client.post_order(&token, Some(&key), &body), falls_silent);
    silent?;
    let first = first?.expect_status(202)?;
    let order = order_id(&first)?;
    ensure!(
        first.json()?["state"] == "PENDING" && first.header("location") == Some(&format!("/orders/{order}")),
        "{}",
        first.text()
    );
    e2e.client.psp_faults(&json!({})).await?;
    e2e.settled(&token, &order, "CONFIRMED").await?;
    ensure!(e2e.charges(&order).await? == 1, "charges");
    let decided = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(201)?;
    ensure!(
        order_id(&decided)? == order && decided.header("idempotent-replayed").is_none(),
        "the first decided answer is no replay"
    );
    let replay = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(201)?;
    ensure!(replay.body == decided.body && replay.header("idempotent-replayed") == Some("true"), "{}", replay.text());
    e2e.applied(&order).await?;
    ensure!((e2e.available(&sku).await?, e2e.on_hand(&sku).await?) == (4, 4), "stock");
    Ok(())
}

/// Goal: what is there once is sold once. Method: twenty buyers at the same moment.
pub(crate) async fn one_unit_and_twenty_buyers(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 1).await?;
    let tokens = (0..20).map(|_| e2e.buyer()).collect::<anyhow::Result<Vec<_>>>()?;
    let answers = join_all(tokens.iter().map(|token| e2e.order(token, &sku, 1, "pm_card_visa"))).await;
    let mut confirmed = Vec::new();
    for answer in answers {
        let answer = answer?;
        if answer.status == 201 {
            confirmed.push(order_id(&answer)?)
        } else {
            problem(&answer, 409, "out-of-stock")?;
        }
    }
    ensure!(confirmed.len() == 1, "{} were sold", confirmed.len());
    e2e.applied(&confirmed[0]).await?;
    ensure!((e2e.available(&sku).await?, e2e.on_hand(&sku).await?) == (0, 0), "stock");
    Ok(())
}
