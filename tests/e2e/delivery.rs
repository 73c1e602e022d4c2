//! Events and mails: at least once on the wire, once in effect.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use serde_json::json;
use swiftcart_support::eventually;
use swiftcart_tests::broker::{header, headers};

use crate::shop::{E2e, SOON, order_id};

/// For how many seconds at least the mail server is away in the middle of a stream; 0, only until the backlog is seen, where nothing is said.
const OUTAGE_VARIABLE: &str = "SWIFTCART_E2E_OUTAGE_SECONDS";

/// Waits until both consumers have committed everything that a topic holds.
async fn drained(e2e: &E2e, topic: &str) -> anyhow::Result<()> {
    eventually(SOON, "the consumers have caught up", async || {
        for group in ["inventory", "notification"] {
            let (done, end) = e2e.broker.progress(group, topic).await?;
            ensure!(done == end, "{group} has done {done} of {end}");
        }
        Ok(())
    })
    .await
}

/// Goal: a second delivery changes nothing. Method: publish a real event again, twice, and wait until the consumers are past it.
pub(crate) async fn an_event_delivered_twice_is_applied_once(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let token = e2e.buyer()?;
    let order = order_id(&e2e.order(&token, &sku, 2, "pm_card_visa").await?.expect_status(201)?)?;
    e2e.applied(&order).await?;
    e2e.mail(&order).await?;
    let event = e2e.broker.with_key("orders.confirmed.v1", &order).await?.pop().context("no event")?;
    for _ in 0..2 {
        e2e.broker
            .publish("orders.confirmed.v1", &order, event.payload().context("no payload")?, &headers(&event))
            .await?;
    }
    drained(e2e, "orders.confirmed.v1").await?;
    ensure!(e2e.movements(&order).await? == [("confirmed".to_owned(), -2)], "movements");
    ensure!((e2e.available(&sku).await?, e2e.on_hand(&sku).await?) == (3, 3), "stock");
    ensure!(e2e.mails(&order).await?.len() == 1, "mails");
    Ok(())
}

/// Goal: what nobody can handle is set aside with everything an operator needs, and the next message is handled. Method: no JSON, then a
/// real order.
pub(crate) async fn a_poison_message_is_dead_lettered_with_its_context(e2e: &mut E2e) -> anyhow::Result<()> {
    let key = uuid::Uuid::new_v4().to_string();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    e2e.broker
        .publish("orders.confirmed.v1", &key, b"{not json", &[("traceparent".to_owned(), trace.as_bytes().to_vec())])
        .await?;
    let dead = eventually(SOON, "the dead letters of both consumers", async || {
        let found = e2e.broker.with_key("orders.confirmed.dlq", &key).await?;
        ensure!(found.len() == 2, "{} dead letters", found.len());
        Ok(found)
    })
    .await?;
    let inventory = e2e.client.inventory().await?;
    let digests: Vec<&str> = inventory["components"]
        .as_array()
        .context("no components")?
        .iter()
        .filter_map(|component| component["digest"].as_str())
        .collect();
    for letter in &dead {
        ensure!(letter.payload() == Some(b"{not json"), "the payload changed");
        let get = |name: &str| header(letter, name).with_context(|| format!("no header {name}"));
        ensure!(
            get("dlq-original-topic")? == "orders.confirmed.v1"
                && get("dlq-failure-class")? == "rejected"
                && get("dlq-attempts")? == "1",
            "context"
        );
        ensure!(
            get("traceparent")? == trace
                && !get("dlq-reason")?.is_empty()
                && get("dlq-original-offset")?.parse::<i64>().is_ok(),
            "context"
        );
        ensure!(digests.contains(&get("dlq-component-digest")?.as_str()), "the digest is of no running component");
    }
    let mut groups: Vec<_> = dead.iter().filter_map(|letter| header(letter, "dlq-group")).collect();
    groups.sort();
    ensure!(groups == ["inventory", "notification"], "{groups:?}");
    let sku = e2e.product(100, 1).await?;
    let order = order_id(&e2e.order(&e2e.buyer()?, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?;
    e2e.applied(&order).await?;
    Ok(())
}

/// Goal: a mail server that is away delays mails, loses none, doubles none, and nothing is dead-lettered. Method: stop it, order, start it.
pub(crate) async fn a_mail_server_that_was_down_gets_the_mail_once(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let token = e2e.buyer()?;
    let letters = e2e.broker.read_all("orders.confirmed.dlq").await?.len();
    e2e.shop.maildev.as_mut().context("the mail server is not ours")?.kill()?;
    let order = order_id(&e2e.order(&token, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?;
    // Stock does not wait for mail.
    e2e.applied(&order).await?;
    eventually(SOON, "the mail was tried", async || {
        let tried: i64 = sqlx::query_scalar("SELECT count(*) FROM mails WHERE order_id = $1::uuid")
            .bind(&order)
            .fetch_one(&e2e.notifications)
            .await?;
        ensure!(tried == 1, "{tried} rows");
        Ok(())
    })
    .await?;
    e2e.shop.maildev.as_mut().context("the mail server is not ours")?.start().await?;
    let mail = e2e.mail(&order).await?;
    ensure!(mail.header("swiftcart-mail-kind") == Some("order_confirmed"), "{:?}", mail.headers);
    drained(e2e, "orders.confirmed.v1").await?;
    ensure!(e2e.mails(&order).await?.len() == 1, "mails");
    ensure!(e2e.broker.read_all("orders.confirmed.dlq").await?.len() == letters, "an outage made dead letters");
    e2e.client.psp_faults(&json!({})).await
}

/// Goal: a dependency that goes away in the middle of a stream makes a lag that is seen, no dead letter, and every effect once when it is back. Method:
/// orders before and after the mail server is killed; it comes back only when the metric has told of the backlog.
pub(crate) async fn an_outage_in_the_middle_of_a_stream_is_worked_off(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 100).await?;
    let token = e2e.buyer()?;
    let letters = e2e.broker.read_all("orders.confirmed.dlq").await?.len();
    let mut down_since = tokio::time::Instant::now();
    let mut orders: Vec<String> = Vec::new();
    for number in 0..40 {
        if number == 10 {
            // A mail that is on its way when the server dies may be there twice; none is.
            for order in &orders {
                e2e.mail(order).await?;
            }
            e2e.shop.maildev.as_mut().context("the mail server is not ours")?.kill()?;
            down_since = tokio::time::Instant::now();
        }
        orders.push(order_id(&e2e.order(&token, &sku, 1, "pm_card_visa").await?.expect_status(201)?)?);
    }
    let labels = [("topic", "orders.confirmed.v1"), ("group", "notification")];
    let risen = eventually(SOON, "the lag to rise", async || {
        let lag = e2e.client.metric("swiftcart_kafka_lag_messages", &labels).await?;
        ensure!(lag >= 20.0, "{lag} messages");
        Ok(lag)
    })
    .await?;
    // Only who needs the mail server waits for it.
    for order in &orders {
        e2e.applied(order).await?;
    }
    // How long it is away is the subject, so this is no wait for something else.
    let away: u64 = std::env::var(OUTAGE_VARIABLE).map_or(Ok(0), |seconds| seconds.parse())?;
    tokio::time::sleep_until(down_since + Duration::from_secs(away)).await;
    eprintln!("the mail server was away for {:?}; the lag rose to {risen}", down_since.elapsed());
    e2e.shop.maildev.as_mut().context("the mail server is not ours")?.start().await?;
    drained(e2e, "orders.confirmed.v1").await?;
    eventually(SOON, "the lag to fall", async || {
        let lag = e2e.client.metric("swiftcart_kafka_lag_messages", &labels).await?;
        ensure!(lag == 0.0, "{lag} messages of {risen}");
        Ok(())
    })
    .await?;
    ensure!(e2e.broker.read_all("orders.confirmed.dlq").await?.len() == letters, "the outage made dead letters");
    let sent: Vec<(String, String)> =
        sqlx::query_as("SELECT order_id::text, state FROM mails WHERE kind = 'order_confirmed'")
            .fetch_all(&e2e.notifications)
            .await?;
    let inbox = e2e.client.inbox().await?;
    for (order, number) in orders.iter().zip(0..) {
        ensure!(sent.iter().any(|(of, state)| of == order && state == "sent"), "order {number} has no sent mail");
        let mails = inbox.iter().filter(|mail| mail.header("swiftcart-order-id") == Some(order)).count();
        // The server keeps mails in memory only: it forgot what it had before it was killed.
        ensure!(mails == 1 || (mails == 0 && number < 10), "{mails} mails about order {number}");
    }
    Ok(())
}
