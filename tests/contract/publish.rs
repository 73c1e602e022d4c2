//! The outbox relay: what a component commits to its table reaches the topic, in order, with its headers, and what it does not commit never does.

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_tests::broker::header;

use crate::consume::seen;
use crate::fixture::{Contract, DEADLINE, unique};
use crate::probe::statement;

const TOPIC: &str = "lessons.published.v1";

fn row(key: &str, payload: &Value, headers: &Value) -> Value {
    statement(
        "INSERT INTO outbox (event_id, topic, key, payload, headers) VALUES (gen_random_uuid(), $1, $2, $3, $4)",
        json!([{"Text": TOPIC}, {"Text": key}, {"Text": payload.to_string()}, {"Jsonb": headers.to_string()}]),
    )
}

fn instruction(name: &str) -> Value {
    json!({"name": name, "conduct": "ok"})
}

// Goal: rows of one key arrive in the order of their ids, byte for byte, with their headers, once each, and are marked. Method: thirty rows in
// ten transactions through the guest; read the topic and the table.
pub(crate) async fn the_outbox_reaches_the_topic_in_order_with_its_headers(
    fixture: &mut Contract,
) -> anyhow::Result<()> {
    let (probe, key) = (fixture.probe().await?, unique("outbox"));
    let headers = json!({"ce_type": "lesson", "content-type": "application/json", "odd": "Zoë"});
    for transaction in 0..10 {
        let rows: Vec<Value> = (0..3)
            .map(|part| row(&key, &instruction(&format!("{key}/{:02}", transaction * 3 + part)), &headers))
            .collect();
        let answer = probe.transact(&rows).await?;
        ensure!(answer.pointer("/Ok/2/rows_affected") == Some(&json!(1)), "{answer}");
    }
    let messages = eventually(DEADLINE, "all rows to be published", || async {
        let messages = fixture.broker.with_key(TOPIC, &key).await?;
        ensure!(messages.len() >= 30, "{} of 30", messages.len());
        Ok(messages)
    })
    .await?;
    let payloads: Vec<String> = messages
        .iter()
        .map(|message| String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned())
        .collect();
    let expected: Vec<String> = (0..30).map(|number| instruction(&format!("{key}/{number:02}")).to_string()).collect();
    ensure!(payloads == expected, "{payloads:?}");
    let first = messages.first().context("no message")?;
    for (name, value) in [("ce_type", "lesson"), ("content-type", "application/json"), ("odd", "Zoë")] {
        ensure!(header(first, name).as_deref() == Some(value), "{name} is {:?}", header(first, name));
    }
    eventually(DEADLINE, "all rows to be marked", || async {
        let sql = "SELECT count(*) FROM outbox WHERE key = $1 AND published_at IS NULL";
        let left: i64 = sqlx::query_scalar(sql).bind(&key).fetch_one(&fixture.probe_database).await?;
        ensure!(left == 0, "{left} rows are not marked");
        Ok(())
    })
    .await
}

// Goal: an event exists if and only if its transaction was committed. Method: a row whose transaction breaks, then one that is committed; when
// the second has arrived, the first has not.
pub(crate) async fn a_rolled_back_row_is_never_published(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, key) = (fixture.probe().await?, unique("undone"));
    let broken =
        probe.transact(&[row(&key, &instruction("undone"), &json!({})), statement("SELECT 1/0", json!([]))]).await?;
    ensure!(broken.pointer("/Err").is_some(), "{broken}");
    probe.transact(&[row(&key, &instruction(&key), &json!({}))]).await?;
    let messages = eventually(DEADLINE, "the committed row", || async {
        let messages = fixture.broker.with_key(TOPIC, &key).await?;
        ensure!(!messages.is_empty(), "none yet");
        Ok(messages)
    })
    .await?;
    ensure!(messages.len() == 1, "{} messages for one committed row", messages.len());
    Ok(())
}

// Goal: one trace id from the client's request through component, callee, outbox and topic into the consumer, each step with a span of its own.
// Method: send a traceparent; the guest reports what it and its callee see; it writes what it sees into the outbox; the consumer wrote down
// what came to it.
pub(crate) async fn one_trace_from_the_client_to_the_consumer(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, key) = (fixture.probe().await?, unique("trace"));
    let (trace, client_span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let parent = format!("00-{trace}-{client_span}-01");
    let answer = swiftcart_support::client::send(
        probe.request(&json!({"echo_trace": {}})).header("traceparent", &parent).header("tracestate", "vendor=1"),
    )
    .await?;
    let spans = answer.expect_status(200)?.json()?;
    let (here, there) = (spans["probe"].as_str().context("no trace")?, spans["echo"].as_str().context("no trace")?);
    for span in [here, there] {
        ensure!(span.starts_with(&format!("00-{trace}-")) && !span.contains(client_span), "{spans}");
    }
    ensure!(here != there, "a call is a span of its own: {spans}");
    probe.transact(&[row(&key, &instruction(&key), &json!({"traceparent": here}))]).await?;
    let handled = eventually(DEADLINE, "the consumer to see it", || async {
        seen(fixture, &key).await?.pop().context("not yet")
    })
    .await?;
    ensure!(handled.header_traceparent.as_deref() == Some(here), "{:?}", handled.header_traceparent);
    ensure!(
        handled.call_traceparent.starts_with(&format!("00-{trace}-")) && handled.call_traceparent != here,
        "{}",
        handled.call_traceparent
    );
    Ok(())
}
