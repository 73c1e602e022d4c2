//! Goal: a request means the same to everybody, and what goes through the edge is neither more nor less than it should be.

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

use crate::{
    support::{Shop, bearer, within},
    wire::Wire,
};

#[tokio::test]
async fn ambiguous_requests_are_400() {
    let shop = Shop::open(|_| {}).await;
    for (what, request) in [
        ("no host", "GET /public HTTP/1.1\r\n\r\n"),
        ("two hosts", "GET /public HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        ("unknown coding", "POST /public HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n"),
    ] {
        let reply = shop.edge.raw(request).await;
        assert_eq!((reply.status, reply.problem().as_str()), (400, "invalid-request"), "{what}");
        assert_eq!(reply.header("connection").as_deref(), Some("close"));
    }
    // These are hyper's: a bare 400.
    for (what, request) in [
        ("two lengths", "POST /public HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"),
        ("length is no number", "POST /public HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\na"),
        ("not chunked at the end", "POST /public HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, gzip\r\n\r\n"),
        ("no HTTP", "hello\r\n\r\n"),
        ("space before the colon", "GET /public HTTP/1.1\r\nhost : a\r\n\r\n"),
    ] {
        let mut wire = Wire::connect(shop.edge.address).await;
        wire.send(request).await;
        assert_eq!(within(wire.reply()).await.unwrap().status, 400, "{what}");
        assert!(within(wire.closed()).await, "{what}");
    }
    assert_eq!(shop.edge.handler.begun(), 0);
}

// Goal: nothing that follows a request with two lengths is taken for a second request.
#[tokio::test]
async fn smuggling_does_not_work() {
    let shop = Shop::open(|_| {}).await;
    let mut wire = Wire::connect(shop.edge.address).await;
    wire.send("POST /public HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /public/smuggled HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let text = String::from_utf8(within(wire.rest()).await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let shop = Shop::open(|_| {}).await;
    let mut wire = Wire::connect(shop.edge.address).await;
    for _ in 0..2 {
        wire.send("HEAD /public HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let reply = within(wire.reply_to_head()).await.unwrap();
        assert_eq!(reply.status, 200);
        assert!(reply.header("content-length").unwrap().parse::<usize>().unwrap() > 0);
    }
    wire.send("HEAD /orders HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(within(wire.reply_to_head()).await.unwrap().status, 401);
    assert!(within(wire.closed()).await, "no body followed");
}

#[tokio::test]
async fn headers_of_the_connection_stay_on_it() {
    let shop = Shop::open(|_| {}).await;
    let headers = "connection: keep-alive, x-mine\r\nx-mine: 1\r\nkeep-alive: timeout=5\r\nte: trailers\r\nproxy-authorization: Basic YTpi\r\nupgrade: websocket\r\nx-other: 2\r\n";
    let reply = shop.edge.get("/public", headers).await;
    let document = reply.json();
    let mut names: Vec<_> = document["headers"].as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "traceparent", "x-other"]);
    // The handler's answer names `x-private` in its own Connection header.
    assert_eq!(reply.header("x-private"), None);
    assert_eq!(reply.header("x-content-type-options").as_deref(), Some("nosniff"));
}

#[tokio::test]
async fn traces_are_continued_or_begun() {
    let shop = Shop::open(|_| {}).await;
    let valid = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=1\r\n";
    let seen = shop.edge.get("/public", valid).await.json();
    let parent = seen["headers"]["traceparent"].as_str().unwrap();
    assert!(parent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && parent.ends_with("-01"), "{parent}");
    assert!(!parent.contains("b7ad6b7169203331"), "the span is a new one");
    assert_eq!(seen["headers"]["tracestate"], "a=1");
    assert_eq!(shop.edge.get("/orders", valid).await.json()["traceId"], "0af7651916cd43dd8448eb211c80319c");

    let seen = shop.edge.get("/public", "traceparent: 00-nonsense-01\r\ntracestate: a=1\r\n").await.json();
    assert_eq!(seen["headers"]["traceparent"].as_str().unwrap().len(), 55);
    assert_eq!(seen["headers"]["tracestate"], Value::Null);
}

// Goal: HTTP/2 without TLS takes the same way.
#[tokio::test]
async fn http2_is_spoken() {
    let shop = Shop::open(|config| config.body_limit_bytes = 100).await;
    let stream = TcpStream::connect(shop.edge.address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |method: &str, path: &str, body: &str| {
        let uri = format!("http://{}{path}", shop.edge.address);
        let token = bearer(&shop.token);
        let token = token.trim().strip_prefix("authorization: ").unwrap();
        let request =
            Request::builder().method(method).uri(uri).version(Version::HTTP_2).header("authorization", token);
        request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()
    };
    for (method, path, body, status, length) in [
        ("GET", "/orders", String::new(), 200, None),
        ("HEAD", "/orders", String::new(), 200, Some(0)),
        ("POST", "/orders", "x".repeat(101), 413, None),
        ("POST", "/orders", "x".repeat(100), 200, None),
        ("GET", "/internal", String::new(), 500, None),
    ] {
        let response = within(sender.send_request(request(method, path, &body))).await.unwrap();
        assert_eq!(response.status(), status, "{method} {path}");
        let body = within(response.into_body().collect()).await.unwrap().to_bytes();
        if let Some(length) = length {
            assert_eq!(body.len(), length);
        }
    }
    // The shutdown ends the connection by itself, because nothing is in flight on it.
    shop.edge.shutdown.cancel();
    assert!(within(connection).await.unwrap().is_ok());
}
