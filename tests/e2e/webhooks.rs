//! What the PSP tells by itself: believed only when it is signed, and then only as a hint.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use swiftcart_sim::psp::webhook::sign;
use swiftcart_support::client::{Answer, http_client, send};
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::refund::{given_back_once, refund_failed, refund_is, refund_row, refund_shown};
use crate::shop::{E2e, SOON, order_id, problem};

fn now() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?)
}

async fn post(e2e: &E2e, signature: Option<&str>, body: &str) -> anyhow::Result<Answer> {
    let mut request = e2e.client.request(Method::POST, "/webhooks/stripe", None)?.body(body.to_owned());
    if let Some(signature) = signature {
        request = request.header("stripe-signature", signature);
    }
    send(request.header("content-type", "application/json; charset=utf-8")).await
}

/// The simulator posts to the shop from now on.
pub(crate) async fn listen(e2e: &E2e, faults: Value) -> anyhow::Result<()> {
    let edge = e2e.shop.addresses().edge_url.clone().context("no edge")?;
    let mut delivery = json!({"url": format!("{edge}/webhooks/stripe")});
    if let (Some(delivery), Value::Object(faults)) = (delivery.as_object_mut(), faults) {
        delivery.extend(faults);
    }
    e2e.client.psp_webhooks(&delivery).await
}

async fn bought(e2e: &E2e) -> anyhow::Result<(String, String)> {
    let sku = e2e.product(100, 5).await?;
    let buyer = e2e.buyer()?;
    let order = order_id(&e2e.order(&buyer, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?;
    e2e.applied(&order).await?;
    Ok((order, buyer))
}

/// Goal: without a token, the signature decides: good 200, bad, old or none 400; one id counts once; what means nothing is taken. Method: bodies signed
/// with the shop's own secret, and spoilt ones.
pub(crate) async fn only_a_signature_opens_the_door(e2e: &mut E2e) -> anyhow::Result<()> {
    let (order, _) = bought(e2e).await?;
    let intent = e2e.client.psp_ledger().await?["orders"][&order]["intents"][0].clone();
    let id = format!("evt_{}", Uuid::new_v4().simple());
    let event = |kind: &str| json!({"id": id, "type": kind, "data": {"object": {"id": intent, "metadata": {"order_id": order}}}});
    let body = event("payment_intent.succeeded").to_string();
    let secret = e2e.shop.addresses().psp_webhook_secret.clone();
    let good = sign(&secret, now()?, body.as_bytes());
    for bad in [
        None,
        Some("t=1,v1=00".to_owned()),
        Some(sign("whsec_other", now()?, body.as_bytes())),
        Some(sign(&secret, now()? - 301, body.as_bytes())),
        Some(sign(&secret, now()?, b"{}")),
    ] {
        problem(&post(e2e, bad.as_deref(), &body).await?, 400, "invalid-request")?;
    }
    for _ in 0..2 {
        let taken = post(e2e, Some(&good), &body).await?.expect_status(200)?;
        ensure!(taken.json()? == json!({"received": true}), "{}", taken.text());
    }
    let heard: i64 = sqlx::query_scalar("SELECT count(*) FROM webhook_events WHERE event_id = $1")
        .bind(&id)
        .fetch_one(&e2e.payments)
        .await?;
    ensure!(heard == 1, "{heard} rows");
    let unknown = event("customer.created").to_string();
    post(e2e, Some(&sign(&secret, now()?, unknown.as_bytes())), &unknown).await?.expect_status(200)?;
    ensure!(e2e.charges(&order).await? == 1 && refund_row(e2e, &order).await?.is_none(), "something changed");
    Ok(())
}

/// Gives an order's money back in the PSP's console.
pub(crate) async fn refund_by_hand(e2e: &E2e, order: &str) -> anyhow::Result<()> {
    let intent = e2e.client.psp_ledger().await?["orders"][order]["intents"][0].clone();
    let addresses = e2e.shop.addresses();
    let request = http_client()
        .build()?
        .post(format!("{}/v1/refunds", addresses.psp_base_url))
        .bearer_auth(&addresses.psp_secret_key)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("payment_intent={}", intent.as_str().context("no intent")?));
    send(request).await?.expect_status(200).map(drop)
}

/// Goal: a refund that somebody made in the PSP's console is told to the shop. Method: the test refunds at the simulator, which posts its events twice
/// and out of order.
pub(crate) async fn a_refund_by_hand_is_heard_of(e2e: &mut E2e) -> anyhow::Result<()> {
    let (order, _) = bought(e2e).await?;
    listen(e2e, json!({"duplicate": true, "reorder": true})).await?;
    refund_by_hand(e2e, &order).await?;
    given_back_once(e2e, &order, 100).await
}

/// Goal: a refund that is on its way ends when the PSP says so, and one that comes back is shown as failed. Method: the simulator leaves refunds pending, then
/// decides them.
pub(crate) async fn a_refund_on_its_way_ends_with_the_event(e2e: &mut E2e) -> anyhow::Result<()> {
    let (order, buyer) = bought(e2e).await?;
    listen(e2e, json!({})).await?;
    e2e.client.psp_faults(&json!({"pend_refunds": true})).await?;
    e2e.client.cancel_order(&buyer, &order).await?.expect_status(200)?;
    let waiting = eventually(SOON, "the refund at the PSP", async || {
        let books = e2e.client.psp_ledger().await?["orders"][&order].clone();
        books["refundsPending"][0].as_str().map(str::to_owned).with_context(|| format!("none yet: {books}"))
    })
    .await?;
    refund_is(e2e, &order, "pending").await?;
    e2e.client.psp_decide_refund(&waiting, "succeeded").await?;
    given_back_once(e2e, &order, 100).await?;
    refund_shown(e2e, &buyer, &order, 100).await?;
    // The buyer's bank sends it back.
    e2e.client.psp_decide_refund(&waiting, "failed").await?;
    refund_failed(e2e, &buyer, &order, 100).await.map(drop)
}
