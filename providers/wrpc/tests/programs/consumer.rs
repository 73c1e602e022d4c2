//! `kafka`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use swiftcart_provider_kafka as kafka;
use swiftcart_support::eventually;
use swiftcart_support::service::Kafka;
use swiftcart_support::tools::Wanted;
use tokio::sync::mpsc;
use wrpc_transport::ServeExt as _;

use crate::bindings::swiftcart::kafka::types::{Failure, Message};
use crate::stage::{DEADLINE, Stage};

const PROGRAM: &str = env!("CARGO_BIN_EXE_swiftcart-kafka-provider");
const TOPIC: &str = "parcels";

fn link(config: Value) -> Value {
    json!({
        "source_id": "events", "target": "sorter", "name": "default", "wit_namespace": "swiftcart",
        "wit_package": "kafka", "interfaces": ["handler"], "source_config": config, "target_config": {},
        "source_secrets": null, "target_secrets": null,
    })
}

/// A component that notes what it is called with, and fails the first call of a message that says so.
async fn component(stage: &Stage) -> (tokio::task::JoinHandle<()>, mpsc::Receiver<(String, Option<String>, Message)>) {
    let (seen, received) = mpsc::channel(100);
    let client = stage.serving("sorter").await;
    let paths: [Box<[Option<usize>]>; 0] = [];
    let calls = client
        .serve_values::<(Message,), (Result<(), Failure>,)>("swiftcart:kafka/handler@0.1.0", "handle", paths)
        .await
        .unwrap();
    let failures = Arc::new(AtomicU32::new(0));
    let serving = tokio::spawn(async move {
        let _client = client;
        let mut calls = std::pin::pin!(calls.into_stream());
        while let Some(Ok((context, (message,), _, answer))) = calls.next().await {
            let header = |name: &str| {
                context.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned())
            };
            let fails = &message.payload[..] == b"fails once" && failures.fetch_add(1, Ordering::SeqCst) == 0;
            let noted = (header("source-id").unwrap_or_default(), header("traceparent"), message);
            seen.send(noted).await.unwrap();
            let verdict = if fails { Err(Failure::Retry("not now".to_owned())) } else { Ok(()) };
            answer((verdict,)).await.unwrap();
        }
    });
    (serving, received)
}

fn record(key: &str, payload: &str) -> kafka::Record {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    kafka::Record {
        topic: TOPIC.to_owned(),
        key: Some(key.into()),
        partition: None,
        payload: payload.into(),
        headers: vec![kafka::Header::new("traceparent", trace)],
    }
}

/// Goal: messages reach the component that a link names, with key, headers and trace, in order of their key; a failure is tried again; a component that
/// runs nowhere keeps its messages until it does; a link that is gone consumes no more. Method: the component is served by the stock library.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_calls_the_component_of_a_link() {
    let stage = Stage::build(Wanted { kafka: true, ..Stage::NOTHING }).await;
    let broker = Kafka::start_in(&stage.place, stage.installed.kafka.as_ref().unwrap()).await.unwrap();
    let servers = broker.bootstrap_servers();
    let provider = stage.start(PROGRAM, "events", json!({"bootstrap_servers": servers}), json!([])).await;
    let settings = json!({"group_id": "sorter", "topics": TOPIC, "partitions": "1", "retry_initial_ms": "10"});
    provider.put(link(settings)).await;

    let connection = [("bootstrap_servers".to_owned(), servers.clone())];
    let producer = kafka::Producer::new(kafka::ProducerConfig::from_pairs(connection).unwrap()).unwrap();
    // The consumer makes the topic.
    eventually(DEADLINE, "the topic", || async { Ok(producer.send(record("a", "first")).await?) }).await.unwrap();
    for payload in ["fails once", "last"] {
        producer.send(record("a", payload)).await.unwrap();
    }
    // Nobody serves the component yet: nothing may be given up.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (serving, mut received) = component(&stage).await;
    let mut payloads = Vec::new();
    while payloads.last().map(String::as_str) != Some("last") {
        let next = tokio::time::timeout(DEADLINE, received.recv()).await.unwrap().unwrap();
        let (source, trace, message) = next;
        assert_eq!((source.as_str(), message.topic.as_str()), ("events", TOPIC));
        assert!(trace.unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
        assert_eq!(message.key.as_deref(), Some(b"a".as_slice()));
        payloads.push(String::from_utf8(message.payload.to_vec()).unwrap());
    }
    assert_eq!(payloads, ["first", "fails once", "fails once", "last"]);
    assert_eq!(provider.health().await.unwrap(), json!({"healthy": true}));

    provider.delete(link(json!({}))).await;
    provider.configure(json!({"bootstrap_servers": servers})).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    producer.send(record("a", "too late")).await.unwrap();
    let late = tokio::time::timeout(Duration::from_secs(3), received.recv()).await;
    assert!(late.is_err(), "a link that is gone still consumes");
    assert!(provider.end().await.success());
    serving.abort();
}
