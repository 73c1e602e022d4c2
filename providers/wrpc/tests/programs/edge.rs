//! `http`.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use swiftcart_support::client::http_client;
use swiftcart_support::eventually;
use swiftcart_support::service::Issuer;
use tokio::sync::mpsc;
use wrpc_transport::ServeExt as _;

use crate::stage::{DEADLINE, Provider, Stage};
use form::wrpc::http::types::{ErrorCode, Method, Request, Response};

const PROGRAM: &str = env!("CARGO_BIN_EXE_swiftcart-http-provider");
const INSTANCE: &str = "wrpc:http/incoming-handler@0.1.0";

/// What the stock tools make of the interface; the program writes and reads it by itself. Of the error codes those up to the one that is used.
#[allow(missing_docs, unused, unreachable_pub, clippy::all, reason = "generated code")]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "generated code")]
mod form {
    wit_bindgen_wrpc::generate!({
        inline: "
            package test:edge;

            world edge {
                import wrpc:http/incoming-handler@0.1.0;
            }

            package wrpc:http@0.1.0 {
                interface types {
                    record dns-error-payload { rcode: option<string>, info-code: option<u16> }
                    variant error-code {
                        dns-timeout,
                        dns-error(dns-error-payload),
                        destination-not-found,
                        destination-unavailable,
                    }
                    variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
                    variant scheme { http, https, other(string) }
                    type fields = list<tuple<string, list<list<u8>>>>;
                    record request {
                        body: stream<u8>,
                        trailers: future<option<fields>>,
                        method: method,
                        path-with-query: option<string>,
                        scheme: option<scheme>,
                        authority: option<string>,
                        headers: fields,
                    }
                    record response {
                        body: stream<u8>,
                        trailers: future<option<fields>>,
                        status: u16,
                        headers: fields,
                    }
                }
                interface incoming-handler {
                    use types.{request, response, error-code};
                    handle: func(request: request) -> result<response, error-code>;
                }
            }
        ",
        generate_all,
    });
}

/// The development issuer of tokens, which `cargo xtask test contract` builds.
async fn issuer(stage: &Stage) -> Issuer {
    let program = std::env::var_os("SWIFTCART_SIM_BINARY").expect("run this as `cargo xtask test contract`");
    Issuer::start_in(&stage.place, Path::new(&program)).await.unwrap()
}

async fn token(issuer: &Issuer, http: &reqwest::Client, subject: &str) -> String {
    let grant = json!({"sub": subject, "scope": "orders"});
    let answer = http.post(format!("{}/token", issuer.url())).json(&grant).send().await.unwrap();
    answer.json::<Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned()
}

fn settings(issuer: &Issuer) -> Value {
    json!({"issuer": issuer.url(), "audience": Issuer::AUDIENCE, "jwks_url": issuer.jwks_url()})
}

fn link(target: &str, port: u16) -> Value {
    let settings = json!({
        "address": format!("127.0.0.1:{port}"), "public_paths": "GET /open/*,POST /open/*", "body_limit_bytes": "8388608",
        "answer_timeout_ms": "5000",
    });
    json!({
        "source_id": "web", "target": target, "name": "default", "wit_namespace": "wasi", "wit_package": "http",
        "interfaces": ["incoming-handler"], "source_config": settings, "target_config": {}, "source_secrets": null,
        "target_secrets": null,
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a component saw.
struct Seen {
    call: BTreeMap<String, String>,
    method: Method,
    path: Option<String>,
    headers: BTreeMap<String, String>,
    length: usize,
}

/// A component that answers with the body it got, in chunks; `/open/broken` is an error.
async fn component(stage: &Stage, id: &str) -> (tokio::task::JoinHandle<()>, mpsc::Receiver<Seen>) {
    let (seen, received) = mpsc::channel(100);
    let client = stage.serving(id).await;
    let paths: [Box<[Option<usize>]>; 2] = [[Some(0), Some(0)].into(), [Some(0), Some(1)].into()];
    let calls =
        client.serve_values::<(Request,), (Result<Response, ErrorCode>,)>(INSTANCE, "handle", paths).await.unwrap();
    let serving = tokio::spawn(async move {
        let _client = client;
        let mut calls = std::pin::pin!(calls.into_stream());
        while let Some(Ok((context, (request,), incoming, answer))) = calls.next().await {
            let driven = tokio::spawn(async move {
                if let Some(incoming) = incoming {
                    incoming.await.unwrap();
                }
            });
            let body = request.body.collect::<Vec<Bytes>>().await.concat();
            driven.await.unwrap();
            let call = context.headers.unwrap_or_default();
            let call = call.iter().map(|(name, values)| (name.to_string(), values[0].to_string())).collect();
            let text = |values: &Vec<Bytes>| String::from_utf8(values[0].to_vec()).unwrap();
            let headers = request.headers.iter().map(|(name, values)| (name.clone(), text(values))).collect();
            let broken = request.path_with_query.as_deref() == Some("/open/broken");
            let (method, path) = (request.method, request.path_with_query);
            seen.send(Seen { call, method, path, headers, length: body.len() }).await.unwrap();
            let chunks: Vec<Bytes> = body.chunks(1 << 20).map(Bytes::copy_from_slice).collect();
            let response = Response {
                body: Box::pin(stream::iter(chunks)),
                trailers: Box::pin(async { None }),
                status: 201,
                headers: vec![("x-answer".to_owned(), vec![Bytes::from_static(b"1"), Bytes::from_static(b"2")])],
            };
            let response = if broken { Err(ErrorCode::DestinationUnavailable) } else { Ok(response) };
            answer((response,)).await.unwrap();
        }
    });
    (serving, received)
}

/// Goal: requests reach the component of a link as wRPC's stock library reads them, large ones too; who the client is was checked and cannot be forged;
/// answers and errors come back; a link that is gone closes its port. Method: the component is served by the stock library.
#[tokio::test(flavor = "multi_thread")]
async fn http_calls_the_component_of_a_link() {
    let stage = Stage::build(Stage::NOTHING).await;
    let (tokens, http, port) = (issuer(&stage).await, http_client().build().unwrap(), free_port());
    let provider = stage.start(PROGRAM, "web", settings(&tokens), json!([link("cart", port)])).await;
    let url = format!("http://127.0.0.1:{port}");
    listening(&http, &url).await;
    // Nobody serves the component yet.
    assert_eq!(http.get(format!("{url}/open/x")).send().await.unwrap().status(), 503);
    let (serving, mut seen) = component(&stage, "cart").await;
    let ann = token(&tokens, &http, "ann").await;
    eventually(DEADLINE, "the keys to be there and the component to be known", || async {
        let status = http.get(format!("{url}/mine?a=1")).bearer_auth(&ann).send().await?.status();
        anyhow::ensure!(status == 201, "{status}");
        Ok(())
    })
    .await
    .unwrap();
    let first = seen.recv().await.unwrap();
    assert!(matches!(first.method, Method::Get), "{:?}", first.path);
    assert_eq!((first.path.as_deref(), first.length), (Some("/mine?a=1"), 0));
    assert_eq!(first.headers["x-token-subject"], "ann");
    assert!(!first.headers.contains_key("authorization"));
    assert_eq!((first.call["source-id"].as_str(), first.call["swiftcart-identity"].as_str()), ("web", "verified"));
    assert!(first.call["traceparent"].starts_with("00-") && first.call.contains_key("swiftcart-timeout-ms"));

    // No token, no way in; and nobody says for themselves who they are.
    assert_eq!(http.get(format!("{url}/mine")).send().await.unwrap().status(), 401);
    let large = vec![7_u8; 3 << 20];
    let forged = http.post(format!("{url}/open/x")).header("x-token-subject", "admin").body(large.clone());
    let answer = forged.send().await.unwrap();
    assert_eq!(answer.headers().get_all("x-answer").iter().count(), 2);
    assert!(answer.bytes().await.unwrap() == large);
    let second = seen.recv().await.unwrap();
    assert!(!second.headers.contains_key("x-token-subject"));
    assert_eq!(second.length, large.len());

    assert_eq!(http.get(format!("{url}/open/broken")).send().await.unwrap().status(), 503);
    assert_eq!(provider.health().await.unwrap(), json!({"healthy": true}));
    provider.delete(link("cart", port)).await;
    eventually(DEADLINE, "the port to be closed", || async {
        anyhow::ensure!(http.get(format!("{url}/open/x")).send().await.is_err(), "it is open");
        Ok(())
    })
    .await
    .unwrap();
    assert!(provider.end().await.success());
    serving.abort();
}

/// Goal: half an answer is not taken for a whole one, and a reader that is slow holds up nobody else. Method: a callee that speaks by hand and never ends
/// its answers; one it breaks off.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_an_error() {
    let stage = Stage::build(Stage::NOTHING).await;
    let (tokens, http, port) = (issuer(&stage).await, http_client().build().unwrap(), free_port());
    let nats = stage.nats.clone();
    let mut calls = nats.subscribe(Stage::invocation("cart", INSTANCE, "handle")).await.unwrap();
    nats.flush().await.unwrap();
    let callee = tokio::spawn(async move {
        while let Some(call) = calls.next().await {
            let caller = call.reply.unwrap();
            nats.publish_with_reply(caller.clone(), nats.new_inbox(), Bytes::new()).await.unwrap();
            // 200, nothing but a body of which six bytes are promised and three come.
            nats.publish(format!("{caller}.results"), Bytes::from_static(b"\0\0\0\xc8\x01\0")).await.unwrap();
            nats.publish(format!("{caller}.results"), Bytes::new()).await.unwrap();
            nats.publish(format!("{caller}.results.0.0"), Bytes::from_static(b"\x06abc")).await.unwrap();
            if BytesMut::from(&call.payload[..]).windows(7).any(|part| part == b"/broken") {
                nats.publish(format!("{caller}.results.0.0"), Bytes::new()).await.unwrap();
            }
        }
    });
    let provider: Provider = stage.start(PROGRAM, "web", settings(&tokens), json!([link("cart", port)])).await;
    let url = format!("http://127.0.0.1:{port}");
    listening(&http, &url).await;
    let mut waiting = http.get(format!("{url}/open/waiting")).send().await.unwrap();
    assert_eq!(waiting.chunk().await.unwrap().as_deref(), Some(b"abc".as_slice()));
    // Whether the head still leaves before the connection is cut is a matter of luck.
    let broken = async { http.get(format!("{url}/open/broken")).send().await?.bytes().await };
    tokio::time::timeout(Duration::from_secs(4), broken).await.expect("the end is told at once").unwrap_err();
    waiting.chunk().await.unwrap_err();
    assert!(provider.end().await.success());
    callee.abort();
}

async fn listening(http: &reqwest::Client, url: &str) {
    eventually(DEADLINE, "the edge to listen", || async {
        Ok(http.get(format!("{url}/nowhere")).send().await.map(drop)?)
    })
    .await
    .unwrap();
}
