//! What a shop is for.

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_tests::broker::header;

use crate::shop::{E2e, SOON, fresh_key, order_id};

/// Goal: one order is confirmed, charged once, published in the seed's shape, taken from stock in Redis and Postgres, and mailed with its
/// lines, all under the client's own trace. Method: place it and look at every system.
pub(crate) async fn an_order_goes_all_the_way(e2e: &mut E2e) -> anyhow::Result<()> {
    let (first, second) = (e2e.product(1299, 10).await?, e2e.product(50, 7).await?);
    let token = e2e.buyer()?;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = json!({"items": [{"sku": first, "qty": 2}, {"sku": second, "qty": 1}], "currency": "USD", "payment": {"method": "pm_card_visa"}});
    let request = e2e
        .client
        .request(reqwest::Method::POST, "/orders", Some(&token))?
        .json(&body)
        .header("idempotency-key", fresh_key())
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = swiftcart_support::client::send(request).await?.expect_status(201)?;

    let order = order_id(&answer)?;
    ensure!(
        answer.header("location") == Some(&format!("/orders/{order}")),
        "location: {:?}",
        answer.header("location")
    );
    let told = answer.json()?;
    ensure!(told["state"] == "CONFIRMED" && told["totalAmount"] == 2648 && told["currency"] == "USD", "{told}");
    ensure!(
        told["items"]
            == json!([{"sku": first, "qty": 2, "unitPrice": 1299}, {"sku": second, "qty": 1, "unitPrice": 50}]),
        "{told}"
    );

    let message = eventually(SOON, "the event in orders.confirmed.v1", async || {
        let mut found = e2e.broker.with_key("orders.confirmed.v1", &order).await?;
        ensure!(found.len() == 1, "{} events", found.len());
        found.pop().context("none")
    })
    .await?;
    let event: Value = serde_json::from_slice(message.payload().context("no payload")?)?;
    same_shape(&event, &serde_json::from_str(include_str!("../golden/events/orders.confirmed.v1.json"))?, "event")?;
    ensure!(
        event["eventType"] == "OrderConfirmed"
            && event["order"]["orderId"] == *order
            && event["order"]["totalAmount"] == 2648,
        "{event}"
    );
    ensure!(event["payment"]["provider"] == "stripe" && event["payment"]["status"] == "succeeded", "{event}");
    ensure!(header(&message, "ce_id").as_deref() == event["eventId"].as_str(), "ce_id");
    ensure!(
        header(&message, "traceparent").is_some_and(|parent| parent.contains(trace)),
        "traceparent: {:?}",
        header(&message, "traceparent")
    );
    ensure!(!event.to_string().contains('@'), "the event holds an address: {event}");

    let mut movements = e2e.applied(&order).await?;
    movements.sort();
    ensure!(movements == [("confirmed".to_owned(), -2), ("confirmed".to_owned(), -1)], "{movements:?}");
    ensure!((e2e.available(&first).await?, e2e.on_hand(&first).await?) == (8, 8), "stock of the first product");
    ensure!((e2e.available(&second).await?, e2e.on_hand(&second).await?) == (6, 6), "stock of the second product");
    ensure!(e2e.charges(&order).await? == 1, "charges");

    let mail = e2e.mail(&order).await?;
    ensure!(mail.header("swiftcart-mail-kind") == Some("order_confirmed"), "{:?}", mail.headers);
    let text = mail.text.clone().unwrap_or_default();
    for expected in [first.as_str(), second.as_str(), "26.48", order.as_str()] {
        ensure!(text.contains(expected), "the mail does not say {expected}: {text}");
    }
    Ok(())
}

/// Same members, same kinds of values, in arrays too; the order of members is checked by the domain's golden tests.
pub(crate) fn same_shape(found: &Value, golden: &Value, place: &str) -> anyhow::Result<()> {
    match (found, golden) {
        (Value::Object(found), Value::Object(golden)) => {
            let (left, right): (Vec<_>, Vec<_>) = (found.keys().collect(), golden.keys().collect());
            ensure!(left == right, "{place} has {left:?}, the seed has {right:?}");
            found.iter().try_for_each(|(key, value)| same_shape(value, &golden[key], &format!("{place}.{key}")))
        }
        (Value::Array(found), Value::Array(golden)) => {
            let model = golden.first().context("the golden array is empty")?;
            found.iter().try_for_each(|value| same_shape(value, model, place))
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => Ok(()),
        _ => anyhow::bail!("{place}: {found} against {golden}"),
    }
}

/// Goal: an order is read with an ETag, a list pages newest first and filters by state. Method: three orders of one buyer.
pub(crate) async fn reading_orders(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 10).await?;
    let token = e2e.buyer()?;
    let mut placed = Vec::new();
    for card in ["pm_card_visa", "pm_card_chargeDeclined", "pm_card_visa"] {
        placed.push(e2e.order(&token, &sku, 1, card).await?);
    }
    let (first, last) = (order_id(&placed[0])?, order_id(&placed[2])?);
    let read = e2e.client.get_order(&token, &first).await?.expect_status(200)?;
    ensure!(read.json()? == placed[0].json()?, "read {} after {}", read.text(), placed[0].text());
    let etag = read.header("etag").context("no ETag")?.to_owned();
    let again = e2e
        .client
        .request(reqwest::Method::GET, &format!("/orders/{first}"), Some(&token))?
        .header("if-none-match", &etag);
    swiftcart_support::client::send(again).await?.expect_status(304)?;

    let page = e2e.client.get("/orders?limit=2", Some(&token)).await?.expect_status(200)?.json()?;
    ensure!(page["items"].as_array().is_some_and(|items| items.len() == 2 && items[0]["orderId"] == *last), "{page}");
    let cursor = page["nextCursor"].as_str().context("no cursor")?;
    let rest =
        e2e.client.get(&format!("/orders?limit=2&cursor={cursor}"), Some(&token)).await?.expect_status(200)?.json()?;
    ensure!(rest["items"].as_array().is_some_and(|items| items.len() == 1 && items[0]["orderId"] == *first), "{rest}");
    ensure!(rest["nextCursor"].is_null(), "{rest}");
    let failed = e2e.client.get("/orders?state=FAILED", Some(&token)).await?.expect_status(200)?.json()?;
    ensure!(
        failed["items"]
            .as_array()
            .is_some_and(|items| items.len() == 1 && items[0]["failure"]["code"] == "payment_declined"),
        "{failed}"
    );
    for bad in ["limit=0", "limit=101", "limit=x", "state=NEW", "cursor=%21", "limit=1&limit=2"] {
        e2e.client
            .get(&format!("/orders?{bad}"), Some(&token))
            .await?
            .expect_status(400)
            .with_context(|| bad.to_owned())?;
    }
    Ok(())
}

/// Goal: products are made, changed, restocked, corrected (never below what is available) and listed. Method: each call, and its answer.
pub(crate) async fn products_and_stock(e2e: &mut E2e) -> anyhow::Result<()> {
    let keeper = e2e.client.token("keeper", "inventory:write")?;
    let sku = format!("E2E-{}", uuid::Uuid::new_v4().simple());
    let body = |price: i64| json!({"name": "Cup", "unitPrice": price, "currency": "USD"});
    e2e.client.put_product(&keeper, &sku, &body(100)).await?.expect_status(201)?;
    e2e.client.put_product(&keeper, &sku, &body(120)).await?.expect_status(200)?;
    let key = fresh_key();
    let restocked = e2e.client.post_stock(&keeper, &sku, Some(&key), 5, "restock").await?.expect_status(200)?;
    let again = e2e.client.post_stock(&keeper, &sku, Some(&key), 5, "restock").await?.expect_status(200)?;
    ensure!(restocked.body == again.body && again.header("idempotent-replayed") == Some("true"), "{}", again.text());
    let other = e2e.client.post_stock(&keeper, &sku, Some(&key), 6, "restock").await?;
    crate::shop::problem(&other, 422, "idempotency-key-reused")?;
    let below = e2e.client.post_stock(&keeper, &sku, None, -6, "correction").await?;
    crate::shop::problem(&below, 409, "stock-below-zero")?;
    e2e.client.post_stock(&keeper, &sku, None, -2, "correction").await?.expect_status(200)?;
    let product = e2e.client.get(&format!("/products/{sku}"), None).await?.expect_status(200)?.json()?;
    ensure!(
        product == json!({"sku": sku, "name": "Cup", "unitPrice": 120, "currency": "USD", "availableStock": 3}),
        "{product}"
    );
    ensure!(e2e.on_hand(&sku).await? == 3, "on hand");
    let page = e2e.client.get("/products?limit=100", None).await?.expect_status(200)?.json()?;
    ensure!(page["items"].as_array().is_some_and(|items| items.iter().any(|item| item["sku"] == *sku)), "{page}");
    e2e.client.get("/products/none-such", None).await?.expect_status(404)?;
    Ok(())
}

/// Goal: whoever has only the address finds the contract. Method: read it without a token.
pub(crate) async fn documentation_is_served(e2e: &mut E2e) -> anyhow::Result<()> {
    let contract = e2e.client.get("/openapi.json", None).await?.expect_status(200)?.json()?;
    ensure!(contract["paths"]["/orders"]["post"].is_object(), "no POST /orders in the contract");
    e2e.client.get("/docs", None).await?.expect_status(200)?;
    e2e.client.get("/problems/out-of-stock", None).await?.expect_status(200)?;
    Ok(())
}
