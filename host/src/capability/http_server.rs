//! The edge server of `providers/http` in front of a component that exports `wasi:http/incoming-handler`.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Full};
use swiftcart_provider_http::{Handler, HandlerError, Outliving, ResponseBody};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use wasmtime::component::Resource;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use crate::runtime::{CallContext, CallError, Chain, Component, Lease, Slot, TraceContext, slice};

/// The interface that a component must export, as links name it.
pub const EXPORT: &str = "wasi:http/incoming-handler";

/// Hands each request to whatever version runs in the slot.
pub struct Gateway {
    slot: Arc<Slot>,
    /// Calls that nobody waits for any more.
    tasks: TaskTracker,
}

impl Gateway {
    /// A handler for requests to the component in `slot`.
    #[must_use]
    pub fn new(slot: Arc<Slot>) -> Self {
        Self { slot, tasks: TaskTracker::new() }
    }
}

type Outcome = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

#[async_trait::async_trait]
impl Handler for Gateway {
    async fn handle(
        &self,
        request: http::Request<Bytes>,
        deadline: Instant,
    ) -> Result<http::Response<ResponseBody>, HandlerError> {
        let component = self.slot.current().map_err(refusal)?;
        let trace = trace_of(&request);
        let chain = Chain::begin(&component.identity.name, EXPORT, &trace, || {
            format!("{} {}", request.method(), request.uri().path())
        });
        let call = CallContext { trace, deadline, depth: 0, chain };
        let lease = component.lease(call).await.map_err(refusal)?;
        let (sender, mut receiver) = oneshot::channel();
        // The guest goes on after the response's head: its body streams out of the same call. A client that goes away does not cut it.
        let mut serving = Outliving::new(serve(component, lease, request, sender), self.tasks.clone());
        // Both may be there at once: most guests end as soon as they have answered.
        let (head, has_ended) = tokio::select! {
            biased;
            ended = &mut serving => (receiver.try_recv().map_err(|_| ended), true),
            head = &mut receiver => match head {
                Ok(head) => (Ok(head), false),
                Err(_) => (Err(serving.await), true),
            },
        };
        match head {
            Ok(Ok(response)) if has_ended => whole(response),
            Ok(Ok(response)) => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            Ok(Err(code)) => Err(HandlerError::Internal(format!("the component answered with an error: {code:?}"))),
            Err(Ok(Err(error))) => Err(refusal(error)),
            Err(Ok(Ok(()))) => Err(HandlerError::Internal("the component returned without an answer".to_owned())),
            Err(Err(_)) => Err(HandlerError::Internal("the call panicked".to_owned())),
        }
    }
}

/// The answer of a guest that has ended: all of its body is there, so its length can be told.
fn whole(response: http::Response<HyperOutgoingBody>) -> Result<http::Response<ResponseBody>, HandlerError> {
    let (parts, body) = response.into_parts();
    let broken = |what: &str| HandlerError::Internal(format!("the component ended, and the body of its answer {what}"));
    // Outside of the task's budget, for what is there must not look as if it were not.
    let body = tokio::task::unconstrained(body.collect()).now_or_never();
    let body = body.ok_or_else(|| broken("has no end"))?.map_err(|error| broken(&format!("is broken: {error}")))?;
    let body = match body.trailers() {
        None => Full::new(body.to_bytes()).map_err(|never| match never {}).boxed_unsync(),
        Some(_) => body.map_err(|never| match never {}).boxed_unsync(),
    };
    Ok(http::Response::from_parts(parts, body))
}

async fn serve(
    component: Arc<Component>,
    mut lease: Lease,
    request: http::Request<Bytes>,
    sender: oneshot::Sender<Outcome>,
) -> Result<(), CallError> {
    let timeout = lease.timeout();
    let (store, instance) = lease.parts();
    let call = async {
        let mut view = store.data_mut().http();
        let request = view.new_incoming_request(Scheme::Http, request.map(Full::new))?;
        let answer = view.new_response_outparam(sender)?;
        let handle = component.typed::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(
            &mut *store,
            &instance,
            EXPORT,
            "handle",
        )?;
        handle.call_async(&mut *store, (request, answer)).await
    };
    let outcome = slice::within(timeout, call).await;
    lease.conclude(outcome)
}

fn trace_of(request: &http::Request<Bytes>) -> TraceContext {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    header("traceparent")
        .and_then(|parent| TraceContext::parse(parent, header("tracestate")))
        .unwrap_or_else(TraceContext::root)
}

fn refusal(error: CallError) -> HandlerError {
    match error.root() {
        CallError::Overloaded { .. } | CallError::BulkheadFull { .. } => HandlerError::Overloaded,
        CallError::NotRunning { .. }
        | CallError::BreakerOpen { .. }
        | CallError::Instantiate { .. }
        | CallError::Unreachable { .. }
        | CallError::NotLinked { .. } => HandlerError::Unavailable(error.to_string()),
        CallError::DeadlineExceeded { .. } => HandlerError::DeadlineExceeded,
        CallError::TooDeep | CallError::Trap { .. } | CallError::Nested { .. } | CallError::Lost { .. } => {
            HandlerError::Internal(error.to_string())
        }
    }
}
