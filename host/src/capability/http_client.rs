//! `wasi:http/outgoing-handler` over the pooled client of `providers/http`: only hosts that the link grants, never past the call's
//! deadline nor the link's, no more requests at once than the link allows, with the call's trace context.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use swiftcart_provider_http::{Client, ClientError, Phase, Timeouts};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::Grants;
use crate::policy::Guard;
use crate::runtime::identity::Identity;
use crate::runtime::{CallContext, CallError};

/// The interface that components import, as links name it.
const INTERFACE: &str = "wasi:http/outgoing-handler";

/// The road out of one guest.
pub struct Outgoing {
    client: Option<Arc<Client>>,
    guard: Option<Arc<Guard>>,
    identity: Arc<Identity>,
    call: Option<CallContext>,
}

impl Outgoing {
    /// The road of this component, if its links grant one, under the policy of that link.
    #[must_use]
    pub fn new(identity: Arc<Identity>, grants: &Grants) -> Self {
        let (client, guard) = (grants.http.clone(), grants.guards.get(INTERFACE).cloned());
        Self { client, guard, identity, call: None }
    }

    /// Requests from now on belong to this call.
    pub fn begin(&mut self, call: CallContext) {
        self.call = Some(call);
    }
}

type Sending = Box<
    dyn Future<Output = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>>
        + Send,
>;

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        let (client, call) = (self.client.clone(), self.call.clone());
        let active = self.guard.as_ref().and_then(|guard| guard.active());
        let point = call.as_ref().map(|call| {
            call.chain.point(&self.identity.name, || format!("http {} {}", request.method(), request.uri().path()))
        });
        Box::new(async move {
            let (Some(client), Some(mut call), Some(point)) = (client, call, point) else {
                return Err(Error::HttpRequestDenied);
            };
            let mut pass = None;
            if let Some(active) = &active {
                call = active.within(call);
                pass = Some(active.admit(&call).await.map_err(|error| not_sent(&error))?);
            }
            let (request, timeouts) = prepare(request, options, &call);
            let (refused, lost) = (|_| Error::ConnectionRefused, |_| Error::ConnectionTerminated);
            let sent = async { client.send(request, timeouts).await.map_err(error) };
            let sent = point.around(sent, refused, lost).await;
            let outcome = match &sent {
                Ok(_) => Ok(()),
                Err(error) => Err(CallError::Lost { component: "http".to_owned(), reason: error.to_string() }),
            };
            // A response takes its place until its body has been read.
            let place = pass.and_then(|pass| pass.end(&outcome, &[]));
            let response = sent?.map(|body| {
                body.map_err(move |error| {
                    let _held = &place;
                    Error::InternalError(Some(error.to_string()))
                })
                .boxed_unsync()
            });
            let done: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(std::future::ready(Ok(())));
            Ok((response, done))
        })
    }
}

/// Puts the trace headers on and cuts every time-out at the call's deadline.
fn prepare(
    mut request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    call: &CallContext,
) -> (http::Request<WasiBody>, Timeouts) {
    let span = call.trace.child();
    let headers = request.headers_mut();
    if let Ok(value) = http::HeaderValue::try_from(span.to_string()) {
        headers.insert("traceparent", value);
    }
    if let Some(value) = span.state().and_then(|state| http::HeaderValue::try_from(state).ok()) {
        headers.insert("tracestate", value);
    }
    let left = call.deadline_of_callees().saturating_duration_since(Instant::now());
    let cut = |asked: Option<Duration>| asked.map_or(left, |asked| asked.min(left));
    let options = options.unwrap_or(RequestOptions {
        connect_timeout: None,
        first_byte_timeout: None,
        between_bytes_timeout: None,
    });
    let timeouts = Timeouts {
        connect: cut(options.connect_timeout),
        first_byte: cut(options.first_byte_timeout),
        between_bytes: cut(options.between_bytes_timeout),
    };
    (request, timeouts)
}

/// What the link's policy refused was surely not sent.
fn not_sent(error: &CallError) -> Error {
    tracing::debug!(%error, "outgoing request refused");
    match error {
        CallError::BulkheadFull { .. } => Error::ConnectionLimitReached,
        _ => Error::HttpRequestDenied,
    }
}

/// Keeps apart what was surely not sent (refused, connect, TLS) from what may have been (the rest).
fn error(error: ClientError) -> Error {
    tracing::debug!(%error, "outgoing request failed");
    match error {
        ClientError::Refused(_) => Error::HttpRequestDenied,
        ClientError::InvalidRequest(_) => Error::HttpRequestUriInvalid,
        ClientError::Connect(_) | ClientError::NotSent(_) => Error::ConnectionRefused,
        ClientError::Tls(_) => Error::TlsProtocolError,
        ClientError::Timeout(Phase::Connect) => Error::ConnectionTimeout,
        ClientError::Timeout(Phase::FirstByte) => Error::HttpResponseTimeout,
        ClientError::Timeout(Phase::BetweenBytes) => Error::ConnectionReadTimeout,
        ClientError::Protocol(_) => Error::HttpProtocolError,
        ClientError::RequestBody(_) | ClientError::Closed(_) => Error::ConnectionTerminated,
    }
}
