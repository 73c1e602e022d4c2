//! The server is asked over real sockets, with requests as bytes.
#![allow(clippy::unwrap_used, reason = "tests")]

use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

struct Running {
    address: SocketAddr,
    readiness: Readiness,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn start() -> Running {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || counter!("swiftcart_test_total").increment(3));
    let readiness = Readiness::default();
    let inventory = Box::new(|| json!({"components": [{"name": "cart"}]}));
    let guards = Arc::new(Guards::default());
    let state = AdminState { readiness: readiness.clone(), metrics: recorder.handle(), inventory, guards };
    let server = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    let task = tokio::spawn(server.run(state, stop.clone()));
    Running { address, readiness, stop, task }
}

/// Status line and headers in lower case, and the body.
async fn ask(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

#[tokio::test]
async fn each_path_answers() {
    let running = start().await;
    let (head, body) = ask(running.address, "GET", "/healthz").await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("content-type: application/json"), "{head}");
    assert_eq!(body, r#"{"status":"alive"}"#);

    let (head, body) = ask(running.address, "GET", "/readyz?verbose").await;
    assert!(head.starts_with("http/1.1 503 "), "{head}");
    assert_eq!(body, r#"{"missing":["start-up"],"ready":false}"#);
    running.readiness.started();
    let (head, body) = ask(running.address, "GET", "/readyz").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    assert_eq!(body, r#"{"missing":[],"ready":true}"#);

    let (head, body) = ask(running.address, "GET", "/metrics").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.contains("swiftcart_test_total 3"), "{body}");

    let (_, body) = ask(running.address, "GET", "/v1/inventory").await;
    assert_eq!(body, r#"{"components":[{"name":"cart"}]}"#);
}

/// Goal: the released host cannot be told to die. Method: ask where a host for tests is told.
#[cfg(not(feature = "crash-points"))]
#[tokio::test]
async fn there_are_no_crash_points() {
    let running = start().await;
    for method in ["GET", "PUT"] {
        let (head, _) = ask(running.address, method, "/v1/crash-points").await;
        assert!(head.starts_with("http/1.1 404 "), "{head}");
    }
    running.stop.cancel();
    running.task.await.unwrap();
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = start().await;
    let (head, body) = ask(running.address, "GET", "/").await;
    assert!(head.starts_with("http/1.1 404 "), "{head}");
    assert_eq!(body, r#"{"status":"not found"}"#);
    let (head, _) = ask(running.address, "POST", "/readyz").await;
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: get, head"), "{head}");
    let (head, body) = ask(running.address, "HEAD", "/healthz").await;
    assert!(head.starts_with("http/1.1 200 ") && body.is_empty(), "{head}");
}

/// A `POST` with a body; the status and the body of the answer.
async fn post(address: SocketAddr, path: &str, content_type: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn breakers_are_shown_and_changed_by_exact_requests_only() {
    let running = start().await;
    assert_eq!(ask(running.address, "GET", "/v1/breakers").await.1, r#"{"breakers":[]}"#);
    let path = "/v1/breakers/cart.till.shop.till.till";
    let json = "application/json";
    for (path, content_type, body, status) in [
        (path, json, r#"{"force":"open"}"#, 404),
        (path, "text/plain", r#"{"force":"open"}"#, 415),
        (path, json, r#"{"force":"ajar"}"#, 400),
        (path, json, r#"{"force":"open","for":1}"#, 400),
        (path, json, "", 400),
        ("/v1/breakers", json, r#"{"force":"open"}"#, 405),
    ] {
        let (found, answer) = post(running.address, path, content_type, body).await;
        assert_eq!(found, status, "{path} {content_type} {body}: {answer}");
    }
    let (found, _) = post(running.address, path, json, &"x".repeat(100_000)).await;
    assert_eq!(found, 400);
    let (head, _) = ask(running.address, "GET", path).await;
    assert!(head.starts_with("http/1.1 405 ") && head.contains("allow: post"), "{head}");
}

#[tokio::test]
async fn it_stops_when_told_even_with_open_connections() {
    let running = start().await;
    let mut idle = TcpStream::connect(running.address).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: admin\r\n\r\n").await.unwrap();
    let mut first = [0_u8; 12];
    idle.read_exact(&mut first).await.unwrap();
    let _unfinished = TcpStream::connect(running.address).await.unwrap();
    running.stop.cancel();
    tokio::time::timeout(LAST_ANSWERS * 3, running.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = AdminServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let error = AdminServer::bind(first.address()).await.unwrap_err();
    assert!(
        error.to_string().starts_with(&format!("the admin address {} cannot be opened", first.address())),
        "{error}"
    );
}
