//! The buyer takes a confirmed order back.

use anyhow::{Context as _, ensure};
use futures::future::join_all;
use rdkafka::message::{Message as _, OwnedMessage};
use serde_json::{Value, json};
use swiftcart_support::client::Mail;
use swiftcart_support::eventually;
use swiftcart_tests::broker::header;

use crate::happy::same_shape;
use crate::refund::{given_back_once, refund_shown};
use crate::shop::{E2e, SOON, fresh_key, order_id, order_of, problem};

/// Waits until a topic holds one event of an order; more than one is an error.
pub(crate) async fn only_event(e2e: &E2e, topic: &str, order: &str) -> anyhow::Result<(OwnedMessage, Value)> {
    eventually(SOON, "the order's event", async || {
        let mut found = e2e.broker.with_key(topic, order).await?;
        ensure!(found.len() == 1, "{} events in {topic}", found.len());
        let message = found.pop().context("none")?;
        let event = serde_json::from_slice(message.payload().context("no payload")?)?;
        Ok((message, event))
    })
    .await
}

/// Waits until there is one mail of a kind about an order.
pub(crate) async fn mail_of_kind(e2e: &E2e, order: &str, kind: &str) -> anyhow::Result<Mail> {
    eventually(SOON, "the mail about the order", async || {
        let mut mails = e2e.mails(order).await?;
        mails.retain(|mail| mail.header("swiftcart-mail-kind") == Some(kind));
        ensure!(mails.len() == 1, "{} mails of the kind {kind}", mails.len());
        mails.pop().context("none")
    })
    .await
}

/// Goal: a cancellation is told, published in the contract's shape, mailed, and told again. Method: order, cancel twice, look at every system.
pub(crate) async fn a_confirmed_order_is_cancelled(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(1299, 10).await?;
    let token = e2e.buyer()?;
    let (key, body) = (fresh_key(), order_of(&sku, 2, "pm_card_visa"));
    let created = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(201)?;
    let order = order_id(&created)?;
    e2e.applied(&order).await?;
    let before = e2e.client.get_order(&token, &order).await?.expect_status(200)?;

    let trace = "0af7651916cd43dd8448eb211c80319c";
    let request = e2e
        .client
        .request(reqwest::Method::POST, &format!("/orders/{order}/cancel"), Some(&token))?
        .header("traceparent", format!("00-{trace}-b7ad6b7169203331-01"));
    let cancelled = swiftcart_support::client::send(request).await?.expect_status(200)?;
    let told = cancelled.json()?;
    ensure!(told["state"] == "CANCELLED" && told["orderId"] == *order && told["failure"].is_null(), "{told}");
    ensure!(told["refund"] == json!({"state": "pending", "amount": 2598}), "{told}");
    ensure!(cancelled.header("etag") != before.header("etag"), "the ETag did not change");
    let read = e2e.client.get_order(&token, &order).await?.expect_status(200)?.json()?;
    // How far the refund is changes by itself.
    let again = e2e.client.cancel_order(&token, &order).await?.expect_status(200)?.json()?;
    for later in [read, again] {
        ensure!(later["state"] == "CANCELLED" && later["refund"]["amount"] == 2598, "{later}");
        ensure!(later["items"] == told["items"] && later["createdAt"] == told["createdAt"], "{later}");
    }

    let (message, event) = only_event(e2e, "orders.cancelled.v1", &order).await?;
    same_shape(&event, &serde_json::from_str(include_str!("../golden/events/orders.cancelled.v1.json"))?, "event")?;
    ensure!(event["eventType"] == "OrderCancelled" && event["order"]["totalAmount"] == 2598, "{event}");
    ensure!(event["payment"]["status"] == "succeeded", "{event}");
    ensure!(header(&message, "ce_type").as_deref() == Some("swiftcart.orders.cancelled.v1"), "ce_type");
    ensure!(header(&message, "traceparent").is_some_and(|parent| parent.contains(trace)), "traceparent");
    ensure!(!event.to_string().contains('@'), "the event holds an address: {event}");
    let text = mail_of_kind(e2e, &order, "order_cancelled").await?.text.unwrap_or_default();
    for expected in [sku.as_str(), "25.98", order.as_str(), "get back"] {
        ensure!(text.contains(expected), "the mail does not say {expected}: {text}");
    }
    mail_of_kind(e2e, &order, "order_confirmed").await?;
    given_back_once(e2e, &order, 2598).await?;
    refund_shown(e2e, &token, &order, 2598).await?;
    eventually(SOON, "the stock to come back", async || {
        let movements = e2e.movements(&order).await?;
        ensure!(movements == [("confirmed".to_owned(), -2), ("return".to_owned(), 2)], "{movements:?}");
        Ok(())
    })
    .await?;
    ensure!(e2e.on_hand(&sku).await? == 10, "the stock did not come back");

    let replay = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(201)?;
    ensure!(replay.body == created.body, "the create is replayed as {}", replay.text());
    let list = e2e.client.get("/orders?state=CANCELLED", Some(&token)).await?.expect_status(200)?.json()?;
    ensure!(list["items"].as_array().is_some_and(|items| items.len() == 1), "{list}");
    Ok(())
}

/// Goal: only its owner, with the right to write, cancels an order, and only a confirmed one. Method: each of the others.
pub(crate) async fn what_cannot_be_cancelled_is_told_why(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 10).await?;
    let (mine, theirs) = (e2e.buyer()?, e2e.buyer()?);
    let order = order_id(&e2e.order(&mine, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?;
    problem(&e2e.client.cancel_order(&theirs, &order).await?, 404, "not-found")?;
    problem(&e2e.client.cancel_order(&mine, "not-a-uuid").await?, 404, "not-found")?;
    problem(&e2e.client.cancel_order(&mine, &uuid::Uuid::new_v4().to_string()).await?, 404, "not-found")?;
    let reader = e2e.client.token("reader", "orders:read")?;
    problem(&e2e.client.cancel_order(&reader, &order).await?, 403, "forbidden")?;
    let anonymous = e2e.client.request(reqwest::Method::POST, &format!("/orders/{order}/cancel"), None)?;
    problem(&swiftcart_support::client::send(anonymous).await?, 401, "unauthorized")?;
    let read = e2e.client.get_order(&mine, &order).await?.expect_status(200)?.json()?;
    ensure!(read["state"] == "CONFIRMED", "{read}");

    let declined = e2e.order(&mine, &sku, 1, "pm_card_chargeDeclined").await?;
    let declined = problem(&declined, 402, "payment-declined")?["orderId"].as_str().context("no orderId")?.to_owned();
    let told = problem(&e2e.client.cancel_order(&mine, &declined).await?, 409, "order-failed")?;
    ensure!(told["failure"]["code"] == "payment_declined" && told["orderId"] == *declined, "{told}");
    ensure!(told["refund"].is_null(), "nothing was charged: {told}");

    // The PSP hears nothing and says nothing, so the order stays PENDING until the sweep has asked.
    e2e.client.psp_faults(&json!({"hang_next": 1000})).await?;
    let pending = order_id(&e2e.order(&mine, &sku, 1, "pm_card_visa").await?.expect_status(202)?)?;
    let refused = e2e.client.cancel_order(&mine, &pending).await?;
    ensure!(problem(&refused, 409, "order-not-settled")?["orderId"] == *pending, "{}", refused.text());
    let wait = refused.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    ensure!(wait.is_some_and(|seconds| seconds > 0), "Retry-After is {:?}", refused.header("retry-after"));
    e2e.client.psp_faults(&json!({})).await?;
    eventually(SOON, "the order is settled", async || {
        let read = e2e.client.get_order(&mine, &pending).await?.expect_status(200)?.json()?;
        ensure!(read["state"] != "PENDING", "{read}");
        Ok(())
    })
    .await
}

/// Goal: a race makes one cancellation. Method: ten at once; each is told the same, and one event is published.
pub(crate) async fn ten_cancellations_at_once_are_one(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 10).await?;
    let token = e2e.buyer()?;
    let order = order_id(&e2e.order(&token, &sku, 3, "pm_card_visa").await?.expect_status(201)?)?;
    for answer in join_all((0..10).map(|_| e2e.client.cancel_order(&token, &order))).await {
        let told = answer?.expect_status(200)?.json()?;
        ensure!(told["state"] == "CANCELLED" && told["refund"]["amount"] == 300, "{told}");
    }
    only_event(e2e, "orders.cancelled.v1", &order).await?;
    let written: i64 =
        sqlx::query_scalar("SELECT count(*) FROM outbox WHERE key = $1 AND topic = 'orders.cancelled.v1'")
            .bind(&order)
            .fetch_one(&e2e.orders)
            .await?;
    ensure!(written == 1, "{written} events were written");
    mail_of_kind(e2e, &order, "order_cancelled").await?;
    Ok(())
}
