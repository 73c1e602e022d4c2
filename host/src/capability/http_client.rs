//! `wasi:http/outgoing-handler` over the pooled client of `providers/http`: only hosts that the link grants, never past the call's
//! deadline, with the call's trace context.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use swiftcart_provider_http::{Client, ClientError, Phase, Timeouts};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use crate::runtime::CallContext;
use crate::runtime::identity::Identity;

/// The road out of one guest.
pub struct Outgoing {
    client: Option<Arc<Client>>,
    identity: Arc<Identity>,
    call: Option<CallContext>,
}

impl Outgoing {
    /// The road of this component; `client` is none for guests without a link.
    #[must_use]
    pub fn new(identity: Arc<Identity>, client: Option<Arc<Client>>) -> Self {
        Self { client, identity, call: None }
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
        let point = call.as_ref().map(|call| {
            call.chain.point(&self.identity.name, || format!("http {} {}", request.method(), request.uri().path()))
        });
        Box::new(async move {
            let (Some(client), Some(call), Some(point)) = (client, call, point) else {
                return Err(Error::HttpRequestDenied);
            };
            let (request, timeouts) = prepare(request, options, &call);
            let response = async { client.send(request, timeouts).await.map_err(error) };
            let (refused, lost) = (|_| Error::ConnectionRefused, |_| Error::ConnectionTerminated);
            let response = point.around(response, refused, lost).await?;
            let response =
                response.map(|body| body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync());
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
    let left = call.deadline.saturating_duration_since(Instant::now());
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
