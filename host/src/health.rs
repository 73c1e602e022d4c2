//! The admin port: is this process alive, is it ready for traffic, what does it measure, what does it run, where do its breakers stand. Nothing
//! here changes anything but an operator's word about a breaker (and, in a host for tests, `crash_points`), and the port is never the one that
//! shoppers reach.

mod breakers;
#[cfg(feature = "crash-points")]
mod crash_points;
mod readiness;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use readiness::{CheckHandle, Readiness, ReadinessHandle};

use crate::policy::Guards;
use crate::telemetry::names;

/// Probes and scrapers keep a handful of connections; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// A client that does not send its request in this time, or leaves a connection idle for as long, is disconnected.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are made in memory, so that whoever is still reading after the stop gets this long.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// After an error of `accept` (for example: out of file descriptors) trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What this host runs, as JSON. Never holds settings: they may be secret.
pub trait Inventory: Send + Sync {
    /// As it is now.
    fn snapshot(&self) -> Value;
}

impl<F: Fn() -> Value + Send + Sync> Inventory for F {
    fn snapshot(&self) -> Value {
        self()
    }
}

/// What the admin port shows.
pub struct AdminState {
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub metrics: PrometheusHandle,
    /// For `/v1/inventory`.
    pub inventory: Box<dyn Inventory>,
    /// For `/v1/breakers`.
    pub guards: Arc<Guards>,
}

/// The admin port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the admin address {address} cannot be opened")]
pub struct AdminError {
    /// Which one.
    pub address: SocketAddr,
    /// What the system says.
    pub source: std::io::Error,
}

/// The admin port, open but not yet served.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminServer {
    /// Opens the port.
    ///
    /// # Errors
    /// When it is taken, or may not be used.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let bind = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind.await.map_err(|source| AdminError { address, source })
    }

    /// The address with the port that was really taken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`. Give it the last stage of the shutdown: while the host drains, probes still want an answer.
    pub async fn run(self, state: AdminState, stop: CancellationToken) {
        let state = Arc::new(state);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let permit = permits.clone().acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                accepted = accepted => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (state, stop) = (state.clone(), stop.clone());
                    connections.spawn(async move {
                        serve(stream, state, stop).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(error = %error, "the admin port cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let last = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_ANSWERS, last).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn serve(stream: TcpStream, state: Arc<AdminState>, stop: CancellationToken) {
    let service = service_fn(|request: Request<Incoming>| {
        let state = state.clone();
        async move {
            #[cfg(feature = "crash-points")]
            if request.uri().path() == crash_points::PATH {
                return Ok(crash_points::answer(request).await);
            }
            Ok::<_, Infallible>(state.answer(request).await)
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = %error, "a connection to the admin port ended early");
    }
}

impl AdminState {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let method = &parts.method;
        let (path, response) = match parts.uri.path() {
            "/healthz" => {
                ("/healthz", self.when_read(method, || respond_json(StatusCode::OK, &json!({"status": "alive"}))))
            }
            "/readyz" => ("/readyz", self.when_read(method, || self.ready())),
            "/metrics" => ("/metrics", self.when_read(method, || self.measures())),
            "/v1/inventory" => {
                ("/v1/inventory", self.when_read(method, || respond_json(StatusCode::OK, &self.inventory.snapshot())))
            }
            "/v1/breakers" => {
                ("/v1/breakers", self.when_read(method, || respond_json(StatusCode::OK, &self.guards.breakers())))
            }
            path if path.starts_with(breakers::PREFIX) => {
                ("/v1/breakers/{id}", breakers::change(&self.guards, &parts, body).await)
            }
            _ => ("other", respond_json(StatusCode::NOT_FOUND, &json!({"status": "not found"}))),
        };
        counter!(names::ADMIN_REQUESTS, "path" => path, "status" => response.status().as_u16().to_string())
            .increment(1);
        response
    }

    fn when_read(&self, method: &Method, answer: impl FnOnce() -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        if matches!(*method, Method::GET | Method::HEAD) {
            return answer();
        }
        let mut response = respond_json(StatusCode::METHOD_NOT_ALLOWED, &json!({"status": "method not allowed"}));
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        response
    }

    fn measures(&self) -> Response<Full<Bytes>> {
        gauge!(names::READY).set(if self.readiness.is_ready() { 1.0 } else { 0.0 });
        respond(StatusCode::OK, PROMETHEUS, self.metrics.render().into())
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let missing = self.readiness.missing();
        let ready = missing.is_empty();
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        respond_json(status, &json!({"ready": ready, "missing": missing}))
    }
}

fn respond_json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    respond(status, JSON, body.to_string().into())
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
