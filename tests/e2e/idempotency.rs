//! One key, one order.

use anyhow::ensure;
use futures::future::join_all;

use crate::shop::{E2e, fresh_key, order_id, order_of, problem};

/// Goal: a repeated request is answered with the same bytes and does nothing. Method: a confirmed and a declined order, each sent again.
pub(crate) async fn a_repeated_key_replays_byte_for_byte(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let token = e2e.buyer()?;
    for (card, status) in [("pm_card_visa", 201), ("pm_card_chargeDeclined", 402)] {
        let (key, body) = (fresh_key(), order_of(&sku, 1, card));
        let first = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(status)?;
        ensure!(first.header("idempotent-replayed").is_none(), "the first answer is no replay");
        let again = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(status)?;
        ensure!(first.body == again.body, "{} then {}", first.text(), again.text());
        ensure!(
            again.header("idempotent-replayed") == Some("true") && first.header("location") == again.header("location"),
            "{:?}",
            again.headers
        );
    }
    let orders: i64 =
        sqlx::query_scalar("SELECT count(*) FROM order_lines WHERE sku = $1").bind(&sku).fetch_one(&e2e.orders).await?;
    ensure!(orders == 2, "{orders} orders");
    // Another user's key is another key.
    let (key, body) = (fresh_key(), order_of(&sku, 1, "pm_card_visa"));
    let mine = e2e.client.post_order(&token, Some(&key), &body).await?.expect_status(201)?;
    let theirs = e2e.client.post_order(&e2e.buyer()?, Some(&key), &body).await?.expect_status(201)?;
    ensure!(order_id(&mine)? != order_id(&theirs)?, "one key of two users made one order");
    Ok(())
}

/// Goal: a key stands for one request; the same request written differently is the same. Method: another quantity, then other white space.
pub(crate) async fn a_key_with_another_request_is_refused(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let token = e2e.buyer()?;
    let key = fresh_key();
    e2e.client.post_order(&token, Some(&key), &order_of(&sku, 1, "pm_card_visa")).await?.expect_status(201)?;
    let other = e2e.client.post_order(&token, Some(&key), &order_of(&sku, 2, "pm_card_visa")).await?;
    problem(&other, 422, "idempotency-key-reused")?;
    let spaced = format!(
        r#"{{ "payment": {{"method":"pm_card_visa"}},   "currency":"USD", "items":[ {{"qty":1,"sku":"{sku}"}} ] }}"#
    );
    let request = e2e
        .client
        .request(reqwest::Method::POST, "/orders", Some(&token))?
        .header("content-type", "application/json")
        .header("idempotency-key", &key)
        .body(spaced);
    let same = swiftcart_support::client::send(request).await?.expect_status(201)?;
    ensure!(same.header("idempotent-replayed") == Some("true"), "{}", same.text());
    for bad in ["", " ", "k\u{e9}y", &"k".repeat(256)] {
        let request = e2e
            .client
            .request(reqwest::Method::POST, "/orders", Some(&token))?
            .json(&order_of(&sku, 1, "pm_card_visa"))
            .header("idempotency-key", reqwest::header::HeaderValue::from_bytes(bad.as_bytes())?);
        swiftcart_support::client::send(request).await?.expect_status(400)?;
    }
    Ok(())
}

/// Goal: a race makes one order and one charge; who came too early is told to ask again. Method: one request thirty times at once, against a
/// slow PSP so that they really meet.
pub(crate) async fn one_key_raced_makes_one_order(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 50).await?;
    let token = e2e.buyer()?;
    let (key, body) = (fresh_key(), order_of(&sku, 1, "pm_card_visa"));
    e2e.client.psp_faults(&serde_json::json!({"latency_ms": 300})).await?;
    let answers = join_all((0..30).map(|_| e2e.client.post_order(&token, Some(&key), &body))).await;
    let mut in_flight = 0;
    let mut orders = Vec::new();
    for answer in answers {
        let answer = answer?;
        if answer.status == 201 {
            orders.push(order_id(&answer)?);
        } else {
            problem(&answer, 409, "idempotency-key-in-flight")?;
            ensure!(answer.header("retry-after").is_some(), "no Retry-After");
            in_flight += 1;
        }
    }
    orders.dedup();
    ensure!(orders.len() == 1 && in_flight > 0, "{} orders, {in_flight} in flight", orders.len());
    ensure!(e2e.charges(&orders[0]).await? == 1, "charges");
    let lines: i64 =
        sqlx::query_scalar("SELECT count(*) FROM order_lines WHERE sku = $1").bind(&sku).fetch_one(&e2e.orders).await?;
    ensure!(lines == 1, "{lines} orders were written");
    Ok(())
}
