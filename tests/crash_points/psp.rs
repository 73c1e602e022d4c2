//! The PSP that tells something by itself: what it knows and the shop does not, and the signed event about it. Invariant: as the real one, it delivers
//! an event under the same id until that is taken.

use anyhow::{Context as _, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use swiftcart_sim::psp::ledger::now;
use swiftcart_sim::psp::webhook::sign;
use swiftcart_support::client::send;
use swiftcart_support::eventually;

use crate::buyer::Buyer;
use crate::world::{SOON, World};

/// What it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A charge that nobody wrote down went through.
    Charge,
    /// A refund that was on its way has arrived.
    Refund,
}

/// Has a refund on its way that arrives without anybody asking: the sweep that would is kept off, as if it had asked just now.
pub(crate) async fn refund_arrives(world: &World, buyer: &Buyer) -> anyhow::Result<()> {
    let order = buyer.insist_on_an_order().await?;
    world.client.psp_faults(&json!({"pend_refunds": true})).await?;
    eventually(SOON, "the cancellation", async || buyer.cancel(None).await).await?;
    let refund: String = eventually(SOON, "the refund on its way", async || {
        let noted: Option<String> = sqlx::query_scalar(
            "UPDATE refunds SET next_try_at = now() + interval '1 hour'
             WHERE order_id = $1::uuid AND state = 'pending' AND refund_id IS NOT NULL RETURNING refund_id",
        )
        .bind(&order)
        .fetch_optional(&world.payments)
        .await?;
        noted.context("not yet")
    })
    .await?;
    world.client.psp_faults(&json!({})).await?;
    world.client.psp_decide_refund(&refund, "succeeded").await
}

/// Delivers the event once, in the trace if one is given.
///
/// # Errors
/// When it was not taken.
pub(crate) async fn deliver(world: &World, buyer: &Buyer, told: Told, trace: Option<&str>) -> anyhow::Result<()> {
    let order: String = sqlx::query_scalar("SELECT id::text FROM orders WHERE user_id = $1::uuid")
        .bind(&buyer.name)
        .fetch_one(&world.orders)
        .await?;
    let body = event(world, &order, told).await?.to_string();
    let signature = sign(&world.shop.addresses().psp_webhook_secret, now(), body.as_bytes());
    let request = world.client.request(Method::POST, "/webhooks/stripe", None)?;
    let request = request.header("stripe-signature", signature).header("content-type", "application/json").body(body);
    let request = match trace {
        Some(trace) => request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")),
        None => request,
    };
    send(request).await?.expect_status(200).map(drop)
}

async fn event(world: &World, order: &str, told: Told) -> anyhow::Result<Value> {
    let books = world.client.psp_ledger().await?["orders"][order].clone();
    let intent = &books["intents"][0];
    ensure!(intent.is_string(), "the PSP has no payment of the order: {books}");
    let (kind, object) = match told {
        Told::Charge => ("payment_intent.succeeded", json!({"id": intent, "metadata": {"order_id": order}})),
        Told::Refund => ("refund.updated", json!({"id": books["refunds"][0], "payment_intent": intent})),
    };
    Ok(json!({"id": format!("evt_{order}"), "type": kind, "data": {"object": object}}))
}
