//! A running edge with a handler whose behaviour the path chooses.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Map, Value, json};
use swiftcart_provider_http::{Error, Handler, HandlerError, ResponseBody, Server, ServerConfig};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    issuer::{AUDIENCE, ISSUER, Issuer, SigningKey, claims},
    wire::{Reply, Wire},
};

/// Far more than anything here takes; a test that reaches it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A limit on anything awaited, so that a test that hangs fails instead.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("took too long")
}

pub struct TestHandler {
    pub begun: AtomicUsize,
    pub finished: AtomicUsize,
    /// `/gate` takes one permit.
    pub gate: Semaphore,
}

impl TestHandler {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { begun: AtomicUsize::new(0), finished: AtomicUsize::new(0), gate: Semaphore::new(0) })
    }

    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }

    pub fn finished(&self) -> usize {
        self.finished.load(Ordering::SeqCst)
    }
}

fn full(text: impl Into<Bytes>) -> ResponseBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// What the handler was given, as JSON.
fn seen(request: &Request<Bytes>) -> Value {
    let mut headers = Map::new();
    for name in request.headers().keys() {
        let values: Vec<_> =
            request.headers().get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), json!(values.join(", ")));
    }
    json!({"method": request.method().as_str(), "path": request.uri().path(), "headers": headers, "body": request.body().len()})
}

#[async_trait::async_trait]
impl Handler for TestHandler {
    async fn handle(&self, request: Request<Bytes>, deadline: Instant) -> Result<Response<ResponseBody>, HandlerError> {
        assert!(deadline > Instant::now());
        self.begun.fetch_add(1, Ordering::SeqCst);
        let answer = match request.uri().path() {
            "/gate" => {
                self.gate.acquire().await.unwrap().forget();
                Ok(Response::new(full("through")))
            }
            "/never" => std::future::pending().await,
            "/panic" => panic!("asked for"),
            "/overloaded" => Err(HandlerError::Overloaded),
            "/unavailable" => Err(HandlerError::Unavailable("secret cause".into())),
            "/internal" => Err(HandlerError::Internal("secret cause".into())),
            "/stall" => {
                let first = stream::once(async { Ok(Frame::data(Bytes::from_static(b"first"))) });
                Ok(Response::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync()))
            }
            _ => Ok(Response::builder()
                .header("content-type", "application/json")
                .header("connection", "x-private")
                .header("x-private", "1")
                .body(full(seen(&request).to_string()))
                .unwrap()),
        };
        self.finished.fetch_add(1, Ordering::SeqCst);
        answer
    }
}

pub struct Edge {
    pub address: SocketAddr,
    pub server: Arc<Server>,
    pub handler: Arc<TestHandler>,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<Result<(), Error>>,
}

pub fn config(jwks_url: String) -> ServerConfig {
    ServerConfig {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        jwks_url,
        public_paths: ["GET /public", "GET /public/*", "POST /public"]
            .iter()
            .map(|path| path.parse().unwrap())
            .collect(),
        ..ServerConfig::default()
    }
}

impl Edge {
    pub async fn start(config: ServerConfig) -> Self {
        let handler = TestHandler::new();
        let server = Arc::new(Server::bind(config, Arc::clone(&handler) as Arc<dyn Handler>).await.unwrap());
        assert!(!server.ready());
        let (shutdown, running) = (CancellationToken::new(), Arc::clone(&server));
        let stop = shutdown.clone();
        let running = tokio::spawn(async move { running.run(stop).await });
        Self { address: server.local_addr(), server, handler, shutdown, running }
    }

    pub async fn ready(self) -> Self {
        eventually("ready", || self.server.ready()).await;
        self
    }

    /// Sends raw bytes on a new connection and reads one answer.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Reply {
        let mut wire = Wire::connect(self.address).await;
        wire.send(bytes).await;
        within(wire.reply()).await.expect("an answer")
    }

    /// `headers`: whole lines, each with its end.
    pub async fn get(&self, path: &str, headers: &str) -> Reply {
        self.raw(get(path, headers)).await
    }

    pub async fn get_with_token(&self, path: &str, token: &str) -> Reply {
        self.get(path, &bearer(token)).await
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: edge\r\n{headers}\r\n")
}

pub fn bearer(token: &str) -> String {
    format!("authorization: Bearer {token}\r\n")
}

/// An issuer with one key, an edge that knows it, and a good token.
pub struct Shop {
    pub issuer: Issuer,
    pub key: SigningKey,
    pub edge: Edge,
    pub token: String,
}

impl Shop {
    pub async fn open(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let key = SigningKey::es256("one");
        let issuer = Issuer::start(&[&key]).await;
        let mut config = config(issuer.url());
        change(&mut config);
        let edge = Edge::start(config).await.ready().await;
        let token = key.sign(&claims());
        Self { issuer, key, edge, token }
    }
}
