//! What the shop does by itself when a confirmed order cannot be honoured, and when money was given back.

use anyhow::{Context as _, ensure};
use rdkafka::message::{Message as _, OwnedMessage};
use serde_json::{Value, json};
use swiftcart_support::client::Answer;
use swiftcart_support::eventually;
use swiftcart_tests::broker::{header, headers};
use uuid::Uuid;

use crate::cancel::{mail_of_kind, only_event};
use crate::happy::same_shape;
use crate::refund::{given_back_once, refund_shown};
use crate::shop::{E2e, SOON, fresh_key, order_id, order_of, problem};

/// Waits until `order` has handled everything that a topic holds for a key: behind it goes a message that nobody can handle, and a key's
/// messages keep their order. Offsets would not do, for another key that is being tried again holds them back.
async fn handled(e2e: &E2e, topic: &str, key: &str) -> anyhow::Result<()> {
    let last = format!("the last one {}", Uuid::new_v4());
    e2e.broker.publish(topic, key, last.as_bytes(), &[]).await?;
    let letters = topic.replace(".v1", ".dlq");
    eventually(SOON, "order has come to the last message", async || {
        let found = e2e.broker.with_key(&letters, key).await?;
        let mine = |letter: &OwnedMessage| {
            letter.payload() == Some(last.as_bytes()) && header(letter, "dlq-group").as_deref() == Some("order")
        };
        ensure!(found.iter().any(mine), "not among {} dead letters", found.len());
        Ok(())
    })
    .await
}

/// Orders two of a product that Redis promises and PostgreSQL lacks, as after a correction that Redis missed. Whatever repairs Redis may be
/// faster than the order, which then is refused as it should be; so it is tried again with another product.
async fn order_what_is_lost(e2e: &E2e, token: &str, key: &str, trace: &str) -> anyhow::Result<(String, Value, Answer)> {
    for _ in 0..5 {
        let sku = e2e.product(500, 5).await?;
        let lost = sqlx::query("UPDATE products SET on_hand = 0 WHERE sku = $1").bind(&sku);
        ensure!(lost.execute(&e2e.inventory).await?.rows_affected() == 1, "no such product");
        let body = order_of(&sku, 2, "pm_card_visa");
        let request = e2e
            .client
            .request(reqwest::Method::POST, "/orders", Some(token))?
            .json(&body)
            .header("idempotency-key", format!("{key}-{sku}"))
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        let answer = swiftcart_support::client::send(request).await?;
        if answer.status != 409 {
            return Ok((sku, body, answer.expect_status(201)?));
        }
    }
    anyhow::bail!("Redis was repaired before each order")
}

/// Goal: an order that inventory cannot honour fails after it was confirmed, once, under its own trace, and its buyer is told. Method: PostgreSQL
/// loses the stock that Redis still promises; then the rejection is delivered twice more.
pub(crate) async fn an_order_that_cannot_be_honoured_fails(e2e: &mut E2e) -> anyhow::Result<()> {
    let token = e2e.buyer()?;
    let key = fresh_key();
    let trace = "b7ad6b71692033310af7651916cd43dd";
    let (sku, body, created) = order_what_is_lost(e2e, &token, &key, trace).await?;
    let order = order_id(&created)?;

    let failed = e2e.settled(&token, &order, "FAILED").await?;
    ensure!(failed["failure"]["code"] == "out_of_stock_after_payment", "{failed}");
    ensure!(failed["refund"]["amount"] == 1000, "{failed}");
    let (rejection, _) = only_event(e2e, "inventory.rejected.v1", &order).await?;
    let (message, event) = only_event(e2e, "orders.failed.v1", &order).await?;
    let golden = include_str!("../golden/events/orders.failed.v1.after-payment.json");
    same_shape(&event, &serde_json::from_str(golden)?, "event")?;
    ensure!(
        event["failure"]["code"] == "out_of_stock_after_payment" && event["payment"]["status"] == "succeeded",
        "{event}"
    );
    ensure!(header(&message, "swiftcart-decided-by").as_deref() == Some("saga"), "who decided");
    ensure!(header(&message, "traceparent").is_some_and(|parent| parent.contains(trace)), "the trace ends on the way");
    let text = mail_of_kind(e2e, &order, "order_failed").await?.text.unwrap_or_default();
    ensure!(text.contains("You get back what you paid.") && text.contains(&sku), "{text}");
    given_back_once(e2e, &order, 1000).await?;
    refund_shown(e2e, &token, &order, 1000).await?;

    for _ in 0..2 {
        let payload = rejection.payload().context("no payload")?;
        e2e.broker.publish("inventory.rejected.v1", &order, payload, &headers(&rejection)).await?;
    }
    handled(e2e, "inventory.rejected.v1", &order).await?;
    only_event(e2e, "orders.failed.v1", &order).await?;
    mail_of_kind(e2e, &order, "order_failed").await?;
    let refused = e2e.client.cancel_order(&token, &order).await?;
    let told = problem(&refused, 409, "order-failed")?;
    ensure!(told["refund"]["amount"] == 1000, "{told}");
    let replay = e2e.client.post_order(&token, Some(&format!("{key}-{sku}")), &body).await?.expect_status(201)?;
    ensure!(replay.body == created.body, "the create is replayed as {}", replay.text());
    ensure!(e2e.charges(&order).await? == 1, "charges");
    ensure!(e2e.movements(&order).await?.is_empty(), "a rejected order was taken from stock");
    Ok(())
}

/// What payment publishes when it has given an order's money back.
fn refunded(order: &str, amount: u64) -> (Uuid, Value) {
    let event_id = Uuid::new_v4();
    let event = json!({
        "eventId": event_id,
        "eventType": "PaymentRefunded",
        "occurredAt": "2025-09-30T12:34:56.000000Z",
        "orderId": order,
        "payment": {"provider": "stripe", "paymentId": "pi_1", "status": "succeeded", "amount": amount, "currency": "USD"},
        "refund": {"refundId": "re_1", "amount": amount},
    });
    (event_id, event)
}

/// Goal: a refund is shown to the buyer, and changes the order once however often it is told. Method: payment's event, three times.
pub(crate) async fn a_refund_is_shown_once(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(700, 5).await?;
    let token = e2e.buyer()?;
    let order = order_id(&e2e.order(&token, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?;
    let cancelled = e2e.client.cancel_order(&token, &order).await?.expect_status(200)?;
    let (event_id, event) = refunded(&order, 700);
    for _ in 0..3 {
        e2e.broker.publish("payments.refunded.v1", &order, event.to_string().as_bytes(), &[]).await?;
    }
    handled(e2e, "payments.refunded.v1", &order).await?;
    let read = e2e.client.get_order(&token, &order).await?.expect_status(200)?;
    let shown = read.json()?;
    ensure!(shown["refund"] == json!({"state": "succeeded", "amount": 700}), "{shown}");
    ensure!(shown["state"] == "CANCELLED", "{shown}");
    ensure!(read.header("etag") != cancelled.header("etag"), "the ETag did not change");
    // Confirmed, cancelled, refunded: each once.
    ensure!(read.header("etag") == Some("\"4\""), "the version is {:?}", read.header("etag"));
    let noted: i64 = sqlx::query_scalar("SELECT count(*) FROM inbox WHERE consumer = 'order' AND event_id = $1::uuid")
        .bind(event_id.to_string())
        .fetch_one(&e2e.orders)
        .await?;
    ensure!(noted == 1, "{noted} inbox rows");
    let again = e2e.client.cancel_order(&token, &order).await?.expect_status(200)?;
    ensure!(again.json()? == shown, "cancelled again, it is told as {}", again.text());
    Ok(())
}

/// Goal: what cannot be about an order of ours is set aside and holds nothing up. Method: a refund of an order that never was, and no JSON;
/// then a refund that is real.
pub(crate) async fn a_refund_of_nothing_is_set_aside(e2e: &mut E2e) -> anyhow::Result<()> {
    let nobody = Uuid::new_v4().to_string();
    let (_, event) = refunded(&nobody, 100);
    e2e.broker.publish("payments.refunded.v1", &nobody, event.to_string().as_bytes(), &[]).await?;
    e2e.broker.publish("payments.refunded.v1", &nobody, b"{not json", &[]).await?;
    let dead = eventually(SOON, "both dead letters", async || {
        let found = e2e.broker.with_key("payments.refunded.dlq", &nobody).await?;
        ensure!(found.len() == 2, "{} dead letters", found.len());
        Ok(found)
    })
    .await?;
    for letter in &dead {
        let get = |name: &str| header(letter, name).with_context(|| format!("no header {name}"));
        ensure!(get("dlq-group")? == "order" && get("dlq-failure-class")? == "rejected", "context");
    }
    a_refund_is_shown_once(e2e).await
}
