//! `POST /v1/breakers/{id}` with `{"force": "open" | "closed" | "auto"}`. Invariant: whoever changes a breaker says so in JSON with its media
//! type, which no page in a browser can do across origins without being asked first.

use http::header::{ALLOW, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use serde::Deserialize;
use serde_json::json;

use super::{JSON, REQUEST_TIMEOUT, respond_json};
use crate::policy::{Forced, Guards};

/// What paths of one breaker begin with.
pub(super) const PREFIX: &str = "/v1/breakers/";
/// The body has about 20 bytes.
const MAX_BODY_BYTES: usize = 1 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    force: Force,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Force {
    Open,
    Closed,
    Auto,
}

/// Changes one breaker and shows it.
pub(super) async fn change(guards: &Guards, parts: &Parts, body: Incoming) -> Response<Full<Bytes>> {
    let refuse = |status, why: &str| respond_json(status, &json!({"status": why}));
    if parts.method != Method::POST {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let media_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if media_type.and_then(|value| value.split(';').next()).map(str::trim) != Some(JSON) {
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body must be application/json");
    }
    let reading = Limited::new(body, MAX_BODY_BYTES).collect();
    let bytes = match tokio::time::timeout(REQUEST_TIMEOUT, reading).await {
        Ok(Ok(body)) => body.to_bytes(),
        _ => return refuse(StatusCode::BAD_REQUEST, "the body did not come, or is too large"),
    };
    let Ok(change) = serde_json::from_slice::<Change>(&bytes) else {
        return refuse(StatusCode::BAD_REQUEST, r#"expected {"force": "open"}, "closed" or "auto""#);
    };
    let forced = match change.force {
        Force::Open => Some(Forced::Open),
        Force::Closed => Some(Forced::Closed),
        Force::Auto => None,
    };
    let id = parts.uri.path().strip_prefix(PREFIX).unwrap_or_default();
    match guards.force(id, forced) {
        Some(breaker) => respond_json(StatusCode::OK, &breaker),
        None => refuse(StatusCode::NOT_FOUND, "there is no such breaker; GET /v1/breakers lists them"),
    }
}
