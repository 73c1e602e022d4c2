//! The way of a request through the edge, top to bottom. Invariant: a layer costs less than the ones below it and protects
//! them, so what is refused is refused as high up as it can be known.
//!
//! ```text
//!  1  connection limit      server.rs       nothing was read yet: the cheapest place to say no
//!  2  head caps and time    connection.rs   hyper stops reading; no request exists before its head is complete
//!  3  trace context         trace.rs        first of all that runs per request, so that every refusal below has a trace id
//!  4  access log, metrics   access_log.rs   above all refusals, or they would be invisible
//!  5  shape                 shape.rs        exact sizes and framing: pure arithmetic, and no layer below must read an odd head
//!  6  token check           token.rs        above the rate limit, which needs to know who is asking
//!  7  rate limit            rate_limit.rs   also counts what the token check refused (per address): guessing is not free;
//!                                           above the shared limits, so that one caller cannot use them up for all
//!  8  in flight             (here)          bounds memory and work below; a body in memory is already work
//!  9  body                  body.rs         below all that the head can decide: refused requests never have their body kept
//! 10  identity              identity.rs     last change of the headers, so that nothing above can bring a forged one back
//! 11  answer deadline       answer.rs       starts when the request is complete: a slow sender does not eat the handler's time;
//!                                           a client may shorten it (patience.rs)
//! 12  handler               (the caller's)
//! ```

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version,
    header::{CONTENT_LENGTH, EXPECT},
    request::Parts,
};
use http_body::Body;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use crate::{
    access_log::AccessRecord,
    answer::Answers,
    body::{self, BodyCaps},
    edge_body::{EdgeBody, Guard},
    erased::ResponseBody,
    hop_by_hop,
    identity::{self, Identity},
    patience,
    problem::{Problem, Refusal},
    rate_limit::{Allowance, Key, RateLimit},
    shape::Shape,
    token::TokenCheck,
    trace::TraceContext,
};

pub(crate) struct Stack {
    pub(crate) shape: Shape,
    pub(crate) token_check: TokenCheck,
    pub(crate) rate_limit: RateLimit,
    pub(crate) in_flight: Arc<Semaphore>,
    pub(crate) body_caps: BodyCaps,
    pub(crate) answers: Answers,
}

/// What a request has when every layer that looks at its head let it pass.
struct Admission {
    identity: Option<Arc<Identity>>,
    in_flight: OwnedSemaphorePermit,
}

impl Stack {
    /// Answers one request; a refusal is an answer too.
    pub(crate) async fn serve(&self, request: Request<Incoming>, peer: IpAddr) -> Response<EdgeBody> {
        let (mut parts, incoming) = request.into_parts();
        let http1 = parts.version < Version::HTTP_2;
        // 5, computed before the connection's own headers go, told only below, where there is a trace to name.
        let shape = self.shape.check(&parts);
        hop_by_hop::remove(&mut parts.headers);
        // 3
        let trace = TraceContext::adopt(&mut parts.headers, rand::random);
        // 4
        let mut record = AccessRecord::begin(&parts, &trace);
        let span = tracing::info_span!("request", trace_id = %trace.trace_id());

        // For 11, which tells nobody what it was.
        let patience = patience::shorter(&parts.headers, self.answers.timeout());

        let mut allowance = None;
        let passing = self.pass(parts, incoming, shape, peer, patience, &mut allowance);
        let (mut response, guard) = match passing.instrument(span).await {
            Ok((response, guard)) => (response, Some(guard)),
            Err(refusal) => {
                record.refused(refusal.problem);
                (refusal.into_response(&trace, http1), None)
            }
        };
        finish(response.headers_mut(), allowance, patience);
        record.answered(response.status());
        response.map(|inner| EdgeBody::new(inner, record, guard))
    }

    async fn pass(
        &self,
        mut parts: Parts,
        incoming: Incoming,
        shape: Result<(), Refusal>,
        peer: IpAddr,
        patience: Option<Duration>,
        allowance: &mut Option<Allowance>,
    ) -> Result<(Response<ResponseBody>, Guard), Refusal> {
        // 5 to 8
        let admission = match self.admit(&parts, shape, peer, allowance).await {
            Ok(admission) => admission,
            Err(refusal) => {
                body::discard(&parts.headers, incoming).await;
                return Err(refusal);
            }
        };
        // 9
        let bytes = self.body_caps.read(&parts.headers, incoming).await?;
        // 10
        identity::hand_over(&mut parts.headers, admission.identity.as_deref());
        // 11, 12
        let head_only = parts.method == Method::HEAD;
        let timeout = patience.unwrap_or(self.answers.timeout());
        let (mut response, guard) = self.answers.ask(complete(parts, bytes), timeout, admission.in_flight).await?;
        hop_by_hop::remove(response.headers_mut());
        Ok((if head_only { without_body(response) } else { response }, guard))
    }

    async fn admit(
        &self,
        parts: &Parts,
        shape: Result<(), Refusal>,
        peer: IpAddr,
        allowance: &mut Option<Allowance>,
    ) -> Result<Admission, Refusal> {
        // 5
        shape?;
        // 6
        let who = self.token_check.check(&parts.method, parts.uri.path(), &parts.headers, SystemTime::now()).await;
        // 7
        let key = match &who {
            Ok(Some(identity)) => Key::User(identity.subject.clone()),
            Ok(None) | Err(_) => Key::address(peer),
        };
        let (left, verdict) = self.rate_limit.check(&key);
        *allowance = Some(left);
        verdict?;
        let identity = who?;
        // 8
        let in_flight = Arc::clone(&self.in_flight).try_acquire_owned().map_err(|_| {
            Refusal::new(Problem::Overloaded, "Too many requests are being processed. Try again soon.").retry_after(1)
        })?;
        Ok(Admission { identity, in_flight })
    }
}

/// The request as the handler sees it: what was settled here is not left to be settled again.
fn complete(mut parts: Parts, bytes: Bytes) -> Request<Bytes> {
    if parts.method == Method::HEAD {
        // RFC 9110, 9.3.2: the same answer as to GET, without its body.
        parts.method = Method::GET;
    }
    parts.headers.remove(EXPECT);
    if !bytes.is_empty() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    }
    Request::from_parts(parts, bytes)
}

fn without_body(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
    response.map(|_| Empty::new().map_err(|never| match never {}).boxed_unsync())
}

/// What every answer has, whoever made it.
fn finish(headers: &mut HeaderMap, allowance: Option<Allowance>, patience: Option<Duration>) {
    // A browser must not guess that a document of ours is a page or a script.
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    if let Some(allowance) = allowance {
        allowance.write(headers);
    }
    if let Some(patience) = patience {
        patience::tell(headers, patience);
    }
}
