//! An order that comes to nothing: the money and the stock come back, once, whatever asks for it and however often.

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::happy::same_shape;
use crate::shop::{E2e, SOON, order_id, problem};
use crate::webhooks::{listen, refund_by_hand};

/// Publishes the end of an order as the order service would, from its confirmation or from nothing.
async fn publish_end(e2e: &E2e, order: &str, cancelled: bool, confirmed: &Value) -> anyhow::Result<()> {
    let (topic, kind) =
        if cancelled { ("orders.cancelled.v1", "OrderCancelled") } else { ("orders.failed.v1", "OrderFailed") };
    let mut event = json!({
        "eventId": Uuid::new_v5(&order.parse()?, kind.as_bytes()), "eventType": kind,
        "occurredAt": "2025-09-30T12:34:56.000000Z", "order": confirmed["order"], "payment": confirmed["payment"],
    });
    if !cancelled {
        event["failure"] = json!({"code": "out_of_stock_after_payment"});
    }
    e2e.broker.publish(topic, order, event.to_string().as_bytes(), &[]).await
}

/// Waits for the confirmation of an order.
async fn confirmation(e2e: &E2e, order: &str) -> anyhow::Result<Value> {
    let message = eventually(SOON, "the confirmation", async || {
        e2e.broker.with_key("orders.confirmed.v1", order).await?.pop().context("no event yet")
    })
    .await?;
    Ok(serde_json::from_slice(message.payload().context("no payload")?)?)
}

/// Waits until a group has done everything that a topic holds.
pub(crate) async fn drained(e2e: &E2e, group: &str, topic: &str) -> anyhow::Result<()> {
    eventually(SOON, "the consumer has caught up", async || {
        let (done, end) = e2e.broker.progress(group, topic).await?;
        ensure!(done == end, "{group} has done {done} of {end} in {topic}");
        Ok(())
    })
    .await
}

/// A refund's row, as (state, refund id, amount, attempts).
pub(crate) async fn refund_row(
    e2e: &E2e,
    order: &str,
) -> anyhow::Result<Option<(String, Option<String>, Option<i64>, i32)>> {
    let row = "SELECT state, refund_id, amount, attempts FROM refunds WHERE order_id = $1::uuid";
    Ok(sqlx::query_as(row).bind(order).fetch_optional(&e2e.payments).await?)
}

/// Waits until a refund has a state.
pub(crate) async fn refund_is(e2e: &E2e, order: &str, state: &str) -> anyhow::Result<()> {
    eventually(SOON, "the refund's state", async || {
        let row = refund_row(e2e, order).await?;
        ensure!(row.as_ref().is_some_and(|row| row.0 == state), "the refund is {row:?}, expected {state}");
        Ok(())
    })
    .await
}

/// Checks that an order was charged once and given back once: at the PSP, in the row and in the one event.
pub(crate) async fn given_back_once(e2e: &E2e, order: &str, amount: i64) -> anyhow::Result<()> {
    refund_is(e2e, order, "succeeded").await?;
    let told = eventually(SOON, "the event of the refund", async || {
        let mut found = e2e.broker.with_key("payments.refunded.v1", order).await?;
        ensure!(found.len() == 1, "{} events", found.len());
        found.pop().context("none")
    })
    .await?;
    let event: Value = serde_json::from_slice(told.payload().context("no payload")?)?;
    let books = e2e.client.psp_ledger().await?["orders"][order].clone();
    ensure!(
        books["charges"] == 1 && books["charged"] == amount && books["refunded"] == amount,
        "the PSP's books: {books}"
    );
    let refunds = books["refunds"].as_array().context("no refunds")?;
    ensure!(
        refunds.len() == 1 && event["refund"] == json!({"refundId": refunds[0], "amount": amount}),
        "{event} {books}"
    );
    ensure!(
        event["payment"]["paymentId"] == books["intents"][0] && event["payment"]["status"] == "succeeded",
        "{event}"
    );
    Ok(())
}

/// Waits until the buyer sees that the money went back.
pub(crate) async fn refund_shown(e2e: &E2e, buyer: &str, order: &str, amount: i64) -> anyhow::Result<()> {
    eventually(SOON, "the refund to be shown", async || {
        let shown = e2e.client.get_order(buyer, order).await?.expect_status(200)?.json()?;
        ensure!(shown["refund"] == json!({"state": "succeeded", "amount": amount}), "{shown}");
        Ok(())
    })
    .await
}

/// A confirmed order that stock was taken for.
struct Sold {
    order: String,
    buyer: String,
    confirmed: Value,
}

async fn sold(e2e: &E2e, sku: &str, qty: i64) -> anyhow::Result<Sold> {
    let buyer = e2e.buyer()?;
    let order = order_id(&e2e.order(&buyer, sku, qty, "pm_card_visa").await?.expect_status(201)?)?;
    e2e.applied(&order).await?;
    let confirmed = confirmation(e2e, &order).await?;
    Ok(Sold { order, buyer, confirmed })
}

impl Sold {
    /// Its buyer takes it back.
    async fn cancel(&self, e2e: &E2e) -> anyhow::Result<()> {
        e2e.client.cancel_order(&self.buyer, &self.order).await?.expect_status(200).map(drop)
    }
}

/// Goal: whichever of the two events comes, and however often, the money goes back once and the stock once. Method: a cancellation; then
/// both events of the order again, published by the test.
pub(crate) async fn both_ends_of_one_order_give_back_once(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let sold = sold(e2e, &sku, 2).await?;
    sold.cancel(e2e).await?;
    let Sold { order, confirmed, .. } = sold;
    for cancelled in [false, true, false] {
        publish_end(e2e, &order, cancelled, &confirmed).await?;
    }
    given_back_once(e2e, &order, 200).await?;
    for topic in ["orders.cancelled.v1", "orders.failed.v1"] {
        drained(e2e, "payment", topic).await?;
        drained(e2e, "inventory", topic).await?;
    }
    given_back_once(e2e, &order, 200).await?;
    ensure!(e2e.movements(&order).await? == [("confirmed".to_owned(), -2), ("return".to_owned(), 2)], "movements");
    let product = e2e.client.get(&format!("/products/{sku}"), None).await?.expect_status(200)?.json()?;
    ensure!(product["availableStock"] == 5 && e2e.on_hand(&sku).await? == 5, "{product}");
    // The confirmation comes again: nothing is taken.
    e2e.broker.publish("orders.confirmed.v1", &order, confirmed.to_string().as_bytes(), &[]).await?;
    drained(e2e, "inventory", "orders.confirmed.v1").await?;
    ensure!(e2e.on_hand(&sku).await? == 5, "taken again");
    Ok(())
}

/// Goal: an order that was not charged gets nothing. Method: a declined card, whose event the payment service has handled.
pub(crate) async fn an_order_that_was_not_charged_gets_nothing(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let declined = e2e.order(&e2e.buyer()?, &sku, 1, "pm_card_chargeDeclined").await?;
    let order = problem(&declined, 402, "payment-declined")?["orderId"].as_str().context("no orderId")?.to_owned();
    eventually(SOON, "the event", async || {
        ensure!(!e2e.broker.with_key("orders.failed.v1", &order).await?.is_empty(), "no event yet");
        Ok(())
    })
    .await?;
    drained(e2e, "payment", "orders.failed.v1").await?;
    ensure!(refund_row(e2e, &order).await?.is_none(), "a refund");
    let books = e2e.client.psp_ledger().await?["orders"][&order].clone();
    ensure!(books["charges"] == 0 && books["refunds"] == json!([]), "{books}");
    Ok(())
}

/// Goal: a refund whose answer is lost, or that finds no PSP at all, is made once and blocks nobody. Method: the simulator carries it out and closes the
/// connection; then it is dead when the event comes.
pub(crate) async fn a_refund_survives_a_psp_that_is_away(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let lost = sold(e2e, &sku, 1).await?;
    e2e.client.psp_faults(&json!({"refund_then_close_next": 1})).await?;
    lost.cancel(e2e).await?;
    let lost = lost.order;
    given_back_once(e2e, &lost, 100).await?;
    let attempts = refund_row(e2e, &lost).await?.context("no row")?.3;
    ensure!(attempts >= 2, "{attempts} attempts: the fault did not strike");

    let away = sold(e2e, &sku, 1).await?;
    let letters = e2e.broker.read_all("orders.cancelled.dlq").await?.len();
    e2e.shop.psp.kill()?;
    away.cancel(e2e).await?;
    let away = away.order;
    drained(e2e, "payment", "orders.cancelled.v1").await?;
    refund_is(e2e, &away, "pending").await?;
    e2e.shop.psp.start().await?;
    given_back_once(e2e, &away, 100).await?;
    ensure!(e2e.broker.read_all("orders.cancelled.dlq").await?.len() == letters, "dead letters");
    Ok(())
}

/// Goal: a charge that was left open is settled: first and at once when its order has failed (and then given back), else by the sweep when nobody has asked for
/// long. Method: two rows as a crash leaves them, written by the test; one order's failure is published, the other row is old.
pub(crate) async fn a_charge_that_was_left_open_is_settled(e2e: &mut E2e) -> anyhow::Result<()> {
    let left_open = async |age: &str| -> anyhow::Result<String> {
        let order = Uuid::new_v4().to_string();
        let row = "INSERT INTO payments (order_id, state, amount, currency, method, attempts, created_at, updated_at)
            VALUES ($1::uuid, 'started', 100, 'USD', 'pm_card_visa', 1, now() - $2::interval, now() - $2::interval)";
        sqlx::query(row).bind(&order).bind(age).execute(&e2e.payments).await?;
        Ok(order)
    };
    let (failed, forgotten) = (left_open("1 second").await?, left_open("20 minutes").await?);
    let (_, mut event) = unknown_order("none", 1);
    event["order"]["orderId"] = json!(failed);
    publish_end(e2e, &failed, false, &event).await?;
    given_back_once(e2e, &failed, 100).await?;
    eventually(SOON, "the forgotten charge", async || {
        let told = e2e.broker.with_key("payments.succeeded.v1", &forgotten).await?.len();
        ensure!(told == 1 && e2e.charges(&forgotten).await? == 1, "{told} events");
        Ok(())
    })
    .await
}

/// Checks that an order's refund came to nothing, that this is told by one event, and that the buyer sees it; gives the event.
pub(crate) async fn refund_failed(e2e: &E2e, buyer: &str, order: &str, amount: i64) -> anyhow::Result<Value> {
    refund_is(e2e, order, "failed").await?;
    let told = eventually(SOON, "the event of the failed refund", async || {
        let mut found = e2e.broker.with_key("payments.refund-failed.v1", order).await?;
        ensure!(found.len() == 1, "{} events", found.len());
        found.pop().context("none")
    })
    .await?;
    let event: Value = serde_json::from_slice(told.payload().context("no payload")?)?;
    ensure!(event["refund"]["amount"] == amount && event["orderId"] == *order, "{event}");
    eventually(SOON, "the failed refund to be shown", async || {
        let shown = e2e.client.get_order(buyer, order).await?.expect_status(200)?.json()?;
        ensure!(shown["refund"] == json!({"state": "failed", "amount": amount}), "{shown}");
        Ok(())
    })
    .await?;
    Ok(event)
}

/// Goal: what the PSP refuses for good has an end: it is not told as given back, the buyer sees that it failed, an event and a metric tell whoever must act,
/// and once it is given back by hand that is shown. Method: a simulator that refuses refunds, then a refund made at the PSP.
pub(crate) async fn a_refund_that_is_refused_is_failed(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let sold = sold(e2e, &sku, 1).await?;
    e2e.client.psp_faults(&json!({"refuse_refunds": true})).await?;
    sold.cancel(e2e).await?;
    let Sold { order, buyer, .. } = sold;
    let event = refund_failed(e2e, &buyer, &order, 100).await?;
    let golden = include_str!("../golden/events/payments.refund-failed.v1.no-refund.json");
    same_shape(&event, &serde_json::from_str(golden)?, "event")?;
    ensure!(event["refund"]["reason"].as_str().is_some_and(|why| why.contains("charge_disputed")), "{event}");
    drained(e2e, "payment", "orders.cancelled.v1").await?;
    ensure!(e2e.broker.with_key("payments.refunded.v1", &order).await?.is_empty(), "told as given back");
    // What the alert of docs/operations.md looks at.
    let labels = [("topic", "payments.refund-failed.v1"), ("group", "order"), ("outcome", "ok")];
    ensure!(e2e.client.metric("swiftcart_kafka_handled_total", &labels).await? >= 1.0, "nothing to alert on");
    e2e.client.psp_faults(&json!({})).await?;
    listen(e2e, json!({})).await?;
    refund_by_hand(e2e, &order).await?;
    given_back_once(e2e, &order, 100).await?;
    refund_shown(e2e, &buyer, &order, 100).await
}

/// Goal: a refund that the PSP first takes and then decides as failed ends in the same way, told by the PSP's own event or found by the sweep. Method: the
/// simulator leaves refunds pending, then decides them; once it posts its events and once it says nothing.
pub(crate) async fn a_refund_that_the_psp_fails_is_shown(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    for told in [true, false] {
        let Sold { order, buyer, .. } = {
            let sold = sold(e2e, &sku, 1).await?;
            if told {
                listen(e2e, json!({})).await?;
            } else {
                e2e.client.psp_webhooks(&json!({})).await?;
            }
            e2e.client.psp_faults(&json!({"pend_refunds": true})).await?;
            sold.cancel(e2e).await?;
            sold
        };
        let waiting = eventually(SOON, "the refund at the PSP", async || {
            let books = e2e.client.psp_ledger().await?["orders"][&order].clone();
            books["refundsPending"][0].as_str().map(str::to_owned).with_context(|| format!("none yet: {books}"))
        })
        .await?;
        refund_is(e2e, &order, "pending").await?;
        e2e.client.psp_decide_refund(&waiting, "failed").await?;
        let event = refund_failed(e2e, &buyer, &order, 100).await?;
        ensure!(event["refund"]["refundId"] == *waiting, "{event}");
    }
    Ok(())
}

/// Goal: an end that is heard before the confirmation bars it. Method: the two events of an order that only this test knows, in the wrong order.
pub(crate) async fn an_end_that_comes_first_bars_the_confirmation(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 5).await?;
    let (order, event) = unknown_order(&sku, 2);
    publish_end(e2e, &order, true, &event).await?;
    eventually(SOON, "inventory has heard the end", async || {
        let closed: i64 = sqlx::query_scalar("SELECT count(*) FROM closed_orders WHERE order_id = $1::uuid")
            .bind(&order)
            .fetch_one(&e2e.inventory)
            .await?;
        ensure!(closed == 1, "{closed} rows");
        Ok(())
    })
    .await?;
    e2e.broker.publish("orders.confirmed.v1", &order, event.to_string().as_bytes(), &[]).await?;
    drained(e2e, "inventory", "orders.confirmed.v1").await?;
    ensure!(e2e.movements(&order).await?.is_empty() && e2e.on_hand(&sku).await? == 5, "taken");
    Ok(())
}

/// Goal: a confirmed order that cannot be honoured is rejected once and for all. Method: a confirmation of more than there is, delivered again after
/// more has come in. The order is a real one that was declined, so that nobody else takes offence.
pub(crate) async fn what_cannot_be_honoured_is_rejected_for_good(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(100, 1).await?;
    let declined = e2e.order(&e2e.buyer()?, &sku, 1, "pm_card_chargeDeclined").await?;
    let order = problem(&declined, 402, "payment-declined")?["orderId"].as_str().context("no orderId")?.to_owned();
    let (_, mut event) = unknown_order(&sku, 3);
    event["order"]["orderId"] = json!(order);
    let confirm = async || e2e.broker.publish("orders.confirmed.v1", &order, event.to_string().as_bytes(), &[]).await;
    confirm().await?;
    let rejected = async || e2e.broker.with_key("inventory.rejected.v1", &order).await;
    eventually(SOON, "the rejection", async || {
        let found = rejected().await?;
        ensure!(found.len() == 1, "{} events", found.len());
        let told: Value = serde_json::from_slice(found[0].payload().context("no payload")?)?;
        ensure!(told["lines"] == json!([{"sku": sku, "requested": 3, "available": 1}]), "{told}");
        Ok(())
    })
    .await?;
    let keeper = e2e.client.token("keeper", "inventory:write")?;
    e2e.client.post_stock(&keeper, &sku, None, 10, "restock").await?.expect_status(200)?;
    confirm().await?;
    publish_end(e2e, &order, false, &event).await?;
    drained(e2e, "inventory", "orders.confirmed.v1").await?;
    drained(e2e, "inventory", "orders.failed.v1").await?;
    ensure!(rejected().await?.len() == 1 && e2e.movements(&order).await?.is_empty(), "the rejection was not final");
    ensure!(e2e.on_hand(&sku).await? == 11, "stock");
    Ok(())
}

/// An order that no service has heard of, and its confirmation.
fn unknown_order(sku: &str, qty: i64) -> (String, Value) {
    let order = Uuid::new_v4().to_string();
    let event = json!({
        "eventId": Uuid::new_v4(), "eventType": "OrderConfirmed", "occurredAt": "2025-09-30T12:34:56.000000Z",
        "order": {
            "orderId": order, "userId": Uuid::new_v4(), "items": [{"sku": sku, "qty": qty, "unitPrice": 100}],
            "totalAmount": qty * 100, "currency": "USD",
        },
        "payment": {"provider": "stripe", "paymentId": "pi_none", "status": "succeeded"},
    });
    (order, event)
}
