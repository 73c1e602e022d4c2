//! What travels in the headers of a call: who calls over which link, the trace, the time that is left, the depth. Other hosts and providers
//! send some of these only; what is missing has a default.

use std::time::Duration;

use async_nats::HeaderMap;

use crate::limits;
use crate::link::Way;
use crate::runtime::{CallContext, CallError, TraceContext};

const SOURCE: &str = "source-id";
const LINK: &str = "link-name";
/// Ours: a provider that checked the client's token says so. Clients of any edge can write headers of HTTP, and none can write this one.
const IDENTIFIED: &str = "swiftcart-identity";
/// Its only value.
const VERIFIED: &str = "verified";
/// Of W3C Trace Context, here and in HTTP.
pub(super) const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";
/// Ours: milliseconds until nobody waits any more.
const TIMEOUT: &str = "swiftcart-timeout-ms";
/// Ours: how many components are above this call.
const DEPTH: &str = "swiftcart-call-depth";

/// The headers of a call that leaves this host.
pub(super) fn headers(way: &Way, call: &CallContext) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(SOURCE, way.source.as_str());
    headers.insert(LINK, way.link.as_str());
    headers.insert(TRACE_PARENT, call.trace.to_string());
    // A state that came in over HTTP may hold what no header of NATS may.
    if let Some(state) = call.trace.state().filter(|state| state.bytes().all(|byte| (b' '..=b'~').contains(&byte))) {
        headers.insert(TRACE_STATE, state);
    }
    headers.insert(TIMEOUT, call.remaining().as_millis().to_string());
    headers.insert(DEPTH, call.depth.to_string());
    headers
}

/// Who says, for a client over HTTP, that it checked who that is.
pub(super) fn vouching(headers: Option<&HeaderMap>) -> Option<&str> {
    let text = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
    text(SOURCE).filter(|_| text(IDENTIFIED) == Some(VERIFIED))
}

/// The context of a call that arrives.
///
/// # Errors
/// [`CallError::TooDeep`] when components of several hosts call each other in a circle.
pub(super) fn context(headers: Option<&HeaderMap>) -> Result<CallContext, CallError> {
    let text = |name: &str| headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let trace = text(TRACE_PARENT)
        .and_then(|parent| TraceContext::parse(parent, text(TRACE_STATE)))
        .unwrap_or_else(TraceContext::root);
    let timeout = text(TIMEOUT)
        .and_then(|value| value.parse().ok())
        .map_or(limits::REMOTE_CALL, Duration::from_millis)
        .min(limits::MAX_REMOTE_CALL);
    let depth = text(DEPTH).and_then(|value| value.parse().ok()).unwrap_or(0);
    if depth > limits::MAX_CALL_DEPTH {
        return Err(CallError::TooDeep);
    }
    Ok(CallContext { depth, ..CallContext::new(trace, timeout) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn way() -> Way {
        Way {
            source: "caller".to_owned(),
            target: "callee".to_owned(),
            link: "default".to_owned(),
            interface: "test:calls/echo@0.1.0".to_owned(),
            function: "same".to_owned(),
            params: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Goal: the context arrives as it left. Method: there and back; the time may only shrink.
    #[test]
    fn a_context_survives_the_headers() {
        let trace =
            TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Some("a=1")).unwrap();
        let call = CallContext { depth: 3, ..CallContext::new(trace, Duration::from_secs(5)) };
        let headers = headers(&way(), &call);
        assert_eq!(headers.get("source-id").unwrap().as_str(), "caller");
        assert_eq!(headers.get("link-name").unwrap().as_str(), "default");
        let arrived = context(Some(&headers)).unwrap();
        assert_eq!((&arrived.trace, arrived.depth), (&call.trace, 3));
        assert!(arrived.remaining() <= Duration::from_secs(5) && arrived.remaining() > Duration::from_secs(4));
    }

    /// Goal: an edge vouches only in its own name and only if it says so. Method: each header without the other.
    #[test]
    fn only_a_named_source_vouches() {
        let mut headers = HeaderMap::new();
        headers.insert(IDENTIFIED, VERIFIED);
        assert_eq!(vouching(Some(&headers)), None);
        headers.insert(SOURCE, "web");
        assert_eq!(vouching(Some(&headers)), Some("web"));
        headers.insert(IDENTIFIED, "true");
        assert_eq!(vouching(Some(&headers)), None);
        assert_eq!(vouching(None), None);
    }

    /// Goal: others' calls have defaults, and nobody asks for more than the limits. Method: no headers, huge headers, nonsense.
    #[test]
    fn what_is_missing_or_too_much_is_bounded() {
        let call = context(None).unwrap();
        assert!(call.remaining() <= limits::REMOTE_CALL && call.remaining() > limits::REMOTE_CALL / 2);
        let mut headers = HeaderMap::new();
        headers.insert(TIMEOUT, u64::MAX.to_string());
        assert!(context(Some(&headers)).unwrap().remaining() <= limits::MAX_REMOTE_CALL);
        headers.insert(TIMEOUT, "soon");
        headers.insert(TRACE_PARENT, "nonsense");
        assert!(context(Some(&headers)).is_ok());
        headers.insert(DEPTH, "9");
        assert!(matches!(context(Some(&headers)), Err(CallError::TooDeep)));
    }
}
