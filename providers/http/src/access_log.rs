//! One log line and one set of metrics per request. Invariant: every request that was begun is recorded exactly once, when
//! its answer has ended or its client has gone; neither query, header, body nor identity is recorded.

use std::time::Instant;

use http::{Method, StatusCode, request::Parts};

use crate::{problem::Problem, trace::TraceContext};

/// A longer path is cut in the log.
const PATH_LIMIT_CHARS: usize = 256;

/// Records itself when dropped, because a request can end in many places.
pub(crate) struct AccessRecord {
    method: Method,
    path: String,
    trace_id: String,
    started: Instant,
    /// `None` while there is no answer: the client went away first.
    status: Option<StatusCode>,
    /// The whole answer was handed to the connection.
    complete: bool,
}

impl AccessRecord {
    pub(crate) fn begin(parts: &Parts, trace: &TraceContext) -> Self {
        metrics::gauge!("swiftcart_http_in_flight_requests").increment(1.0);
        Self {
            method: parts.method.clone(),
            path: parts.uri.path().chars().take(PATH_LIMIT_CHARS).collect(),
            trace_id: trace.trace_id(),
            started: Instant::now(),
            status: None,
            complete: false,
        }
    }

    pub(crate) fn refused(&mut self, problem: Problem) {
        metrics::counter!("swiftcart_http_rejected_requests_total", "reason" => problem.name()).increment(1);
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    pub(crate) fn complete(&mut self) {
        self.complete = true;
    }
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let method = method_label(&self.method);
        metrics::gauge!("swiftcart_http_in_flight_requests").decrement(1.0);
        metrics::counter!("swiftcart_http_requests_total", "method" => method, "status_class" => status_class(self.status)).increment(1);
        metrics::histogram!("swiftcart_http_request_duration_seconds", "method" => method)
            .record(elapsed.as_secs_f64());
        tracing::info!(
            target: "swiftcart::access",
            method,
            path = %self.path,
            status = self.status.map_or(0, |status| status.as_u16()),
            duration_ms = elapsed.as_secs_f64() * 1000.0,
            complete = self.complete,
            trace_id = %self.trace_id,
            "request"
        );
    }
}

/// A client can invent methods, and each new label value would be a new time series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_class(status: Option<StatusCode>) -> &'static str {
    match status.map(|status| status.as_u16() / 100) {
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
        None => "client_gone",
    }
}
