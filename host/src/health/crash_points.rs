//! `/v1/crash-points` on the admin port of a host for tests: PUT sets a plan, DELETE ends it, GET tells what became of it. The released host
//! does not have this file.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::json;

use super::respond_json;
use crate::runtime::crash_point::armed::{Plan, arm, progress};

/// Where it is.
pub(super) const PATH: &str = "/v1/crash-points";
/// A plan is a handful of short fields.
const MAX_BODY_BYTES: usize = 16 << 10;

/// Answers a request to it.
pub(super) async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let bad = |text: String| respond_json(StatusCode::BAD_REQUEST, &json!({"status": text}));
    match *request.method() {
        Method::GET => {}
        Method::DELETE => arm(None),
        Method::PUT => {
            let body = match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return bad(error.to_string()),
            };
            match serde_json::from_slice::<Plan>(&body) {
                Ok(plan) => arm(Some(plan)),
                Err(error) => return bad(error.to_string()),
            }
        }
        _ => return respond_json(StatusCode::METHOD_NOT_ALLOWED, &json!({"status": "method not allowed"})),
    }
    let (plan, progress) = progress().unzip();
    respond_json(StatusCode::OK, &json!({"plan": plan, "progress": progress}))
}
