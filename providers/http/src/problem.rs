//! Problem documents (RFC 9457) for everything the edge refuses itself. Invariant: the text is fixed here; nothing of the
//! request, the token or an inner error is repeated to the client.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use crate::{erased::ResponseBody, trace::TraceContext};

/// The problems that the edge itself answers with; the name is the end of the `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// 400: framing or head that HTTP does not allow.
    InvalidRequest,
    /// 401: no token, or one that does not hold.
    Unauthorized,
    /// 408: the request was not complete in time.
    RequestTimeout,
    /// 413: the body is over the cap.
    PayloadTooLarge,
    /// 414: path and query are over the cap.
    UriTooLong,
    /// 429: over the rate.
    RateLimited,
    /// 431: the headers are over the cap.
    HeadersTooLarge,
    /// 500: our own bug.
    Internal,
    /// 503: too much at once.
    Overloaded,
    /// 503: something we need does not answer.
    Unavailable,
}

impl Problem {
    /// The name in kebab-case, as in the `type` and in the metric's `reason`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::Unauthorized => "unauthorized",
            Self::RequestTimeout => "request-timeout",
            Self::PayloadTooLarge => "payload-too-large",
            Self::UriTooLong => "uri-too-long",
            Self::RateLimited => "rate-limited",
            Self::HeadersTooLarge => "headers-too-large",
            Self::Internal => "internal",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status that goes with the name.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is not valid HTTP",
            Self::Unauthorized => "A valid access token is needed",
            Self::RequestTimeout => "The request took too long to arrive",
            Self::PayloadTooLarge => "The request body is too large",
            Self::UriTooLong => "The URI is too long",
            Self::RateLimited => "Too many requests",
            Self::HeadersTooLarge => "The request headers are too large",
            Self::Internal => "An error on our side",
            Self::Overloaded => "Too busy at the moment",
            Self::Unavailable => "Not available at the moment",
        }
    }
}

/// A decision of one layer not to let a request pass.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) problem: Problem,
    detail: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The connection cannot be used further, because the rest of the request is still on its way.
    close: bool,
}

impl Refusal {
    pub(crate) fn new(problem: Problem, detail: &'static str) -> Self {
        Self { problem, detail, headers: Vec::new(), close: false }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with(RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// `http1`: the `connection` header exists there only (RFC 9113, 8.2.2).
    pub(crate) fn into_response(self, trace: &TraceContext, http1: bool) -> Response<ResponseBody> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Document<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            trace_id: String,
        }
        let status = self.problem.status();
        let document = Document {
            r#type: format!("/problems/{}", self.problem.name()),
            title: self.problem.title(),
            status: status.as_u16(),
            detail: self.detail,
            trace_id: trace.trace_id(),
        };
        // Strings and a number always serialise; an empty body would still carry the status.
        let text = serde_json::to_vec(&document).unwrap_or_default();
        let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        if self.close && http1 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    // Goal: the wire form is exactly this, field by field.
    #[tokio::test]
    async fn wire_form() {
        let trace = TraceContext::for_tests();
        let response =
            Refusal::new(Problem::Overloaded, "Try again soon.").retry_after(1).closing().into_response(&trace, true);
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.headers()["connection"], "close");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"type":"/problems/overloaded","title":"Too busy at the moment","status":503,"detail":"Try again soon.","traceId":"0af7651916cd43dd8448eb211c80319c"}"#
        );
    }
}
