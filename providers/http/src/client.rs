//! The outgoing HTTP client: HTTP/1.1 with kept connections, plain or TLS. Invariants: only granted hosts are reached; an
//! error tells whether the request may have been sent ([`ClientError::may_have_been_sent`]).
//!
//! There are no retries, with one exception that is safe: `retry_canceled_requests` of hyper-util. It sends a request again
//! only when hyper hands the request back untouched because a *reused* idle connection turned out to be closed before the
//! request was taken from the queue (`TrySendError::message` in hyper, `connection_reused` in hyper-util), so no byte of it
//! was written. Redirects are answers like any other and are not followed.

use std::{
    error::Error as _,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, Version, header::HOST};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        self,
        connect::{CaptureConnection, HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::Sleep;

use crate::{
    config::ClientConfig,
    connector::{AllowList, LimitedConnector},
    erased::BoxError,
    error::{ClientError, Error, Phase},
    hop_by_hop, tls,
};

type RequestBody = UnsyncBoxBody<Bytes, BoxError>;

/// How long the caller of one request waits. The client's configuration caps each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From the connection to the head of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer; put in force by [`TimedBody`] (or by the WASI host, which has its own).
    pub between_bytes: Duration,
}

/// A pooled client. Clones share the pool.
#[derive(Clone)]
pub struct Client {
    pool: legacy::Client<HttpsConnector<LimitedConnector>, RequestBody>,
    allow_list: Arc<AllowList>,
    longest: Timeouts,
}

impl Client {
    /// Needs a tokio runtime when it sends, not before.
    ///
    /// # Errors
    /// A wrong configuration or an unreadable file of authorities.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        config.validate()?;
        let longest = Timeouts {
            connect: Duration::from_millis(config.connect_timeout_ms),
            first_byte: Duration::from_millis(config.first_byte_timeout_ms),
            between_bytes: Duration::from_millis(config.between_bytes_timeout_ms),
        };
        let allow_list = Arc::new(AllowList::new(&config.allowed_hosts, config.max_connections_per_host)?);
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(longest.connect));
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls::client(config.ca_certificate_path.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(LimitedConnector { http, allow_list: Arc::clone(&allow_list), wait: longest.connect });
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(config.idle_timeout_ms))
            .pool_max_idle_per_host(config.max_idle_connections_per_host)
            .retry_canceled_requests(true)
            .build(connector);
        Ok(Self { pool, allow_list, longest })
    }

    /// The caller's time-outs, capped by the configuration.
    #[must_use]
    pub fn cap(&self, timeouts: Timeouts) -> Timeouts {
        Timeouts {
            connect: timeouts.connect.min(self.longest.connect),
            first_byte: timeouts.first_byte.min(self.longest.first_byte),
            between_bytes: timeouts.between_bytes.min(self.longest.between_bytes),
        }
    }

    /// Sends a request with an absolute URI and waits for the head of the answer. `Host` is taken from the URI; hop-by-hop
    /// headers are removed. Dropping the future gives the request up.
    ///
    /// # Errors
    /// See [`ClientError`]. An answer with any status is no error.
    pub async fn send<B>(&self, request: Request<B>, timeouts: Timeouts) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let started = Instant::now();
        let outcome = self.exchange(request, self.cap(timeouts)).await;
        let label = match &outcome {
            Ok(_) => "answered",
            Err(error) if error.may_have_been_sent() => "unknown",
            Err(_) => "not_sent",
        };
        metrics::counter!("swiftcart_http_client_requests_total", "outcome" => label).increment(1);
        metrics::histogram!("swiftcart_http_client_first_byte_seconds").record(started.elapsed().as_secs_f64());
        outcome
    }

    async fn exchange<B>(&self, request: Request<B>, timeouts: Timeouts) -> Result<Response<Incoming>, ClientError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.allow_list.check(request.uri())?;
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        hop_by_hop::remove(request.headers_mut());
        // Another Host than the URI's would reach a virtual host that was not granted.
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_11;

        let mut captured = capture_connection(&mut request);
        let mut sending = std::pin::pin!(self.pool.request(request));
        // The request is handed to a connection in the very poll that captures it, so without a capture nothing was sent.
        let connected = tokio::select! {
            biased;
            outcome = &mut sending => return outcome.map_err(|error| classify(&error, &captured)),
            connected = tokio::time::timeout(timeouts.connect, wait_for(&mut captured)) => connected,
        };
        if connected.is_err() {
            return Err(ClientError::Timeout(Phase::Connect));
        }
        match tokio::time::timeout(timeouts.first_byte, sending).await {
            Ok(outcome) => outcome.map_err(|error| classify(&error, &captured)),
            Err(_) => Err(ClientError::Timeout(Phase::FirstByte)),
        }
    }
}

async fn wait_for(captured: &mut CaptureConnection) {
    drop(captured.wait_for_connection_metadata().await);
}

fn classify(error: &legacy::Error, captured: &CaptureConnection) -> ClientError {
    let cause = chain(error);
    if captured.connection_metadata().is_none() {
        return connecting(error, cause);
    }
    match find::<hyper::Error>(error) {
        // Only given for a request that was returned untouched (see the head of this file).
        Some(error) if error.is_canceled() => ClientError::NotSent(cause),
        Some(error) if error.is_parse() || error.is_parse_status() => ClientError::Protocol(cause),
        Some(error) if error.is_user() => ClientError::RequestBody(cause),
        _ => ClientError::Closed(cause),
    }
}

fn connecting(error: &legacy::Error, cause: String) -> ClientError {
    let timed_out = find::<std::io::Error>(error).is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut);
    if timed_out {
        ClientError::Timeout(Phase::Connect)
    } else if find::<rustls::Error>(error).is_some() {
        ClientError::Tls(cause)
    } else {
        ClientError::Connect(cause)
    }
}

/// The first error of a type among the causes. What an `io::Error` wraps counts as its cause, which `source` skips.
fn find<'a, E: std::error::Error + 'static>(error: &'a legacy::Error) -> Option<&'a E> {
    let mut next: Option<&'a (dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<E>() {
            return Some(found);
        }
        let wrapped = current.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => current.source(),
        };
    }
    None
}

/// "what: because: because", for a log.
fn chain(error: &legacy::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// The body of an answer, given up when a piece of it takes too long.
pub struct TimedBody {
    inner: Incoming,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    /// `limit`: [`Timeouts::between_bytes`].
    #[must_use]
    pub fn new(inner: Incoming, limit: Duration) -> Self {
        Self { inner, limit, timer: None }
    }
}

impl Body for TimedBody {
    type Data = Bytes;
    type Error = ClientError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(context) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| broken(&error))));
        }
        let limit = this.limit;
        ready!(this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit))).as_mut().poll(context));
        Poll::Ready(Some(Err(ClientError::Timeout(Phase::BetweenBytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn broken(error: &hyper::Error) -> ClientError {
    if error.is_parse() { ClientError::Protocol(error.to_string()) } else { ClientError::Closed(error.to_string()) }
}
