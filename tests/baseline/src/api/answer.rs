//! Answers: bodies whose members have a fixed order, so that the same value always has the same bytes, and problem documents (RFC 9457).

use axum::body::Body;
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use swiftcart_domain::time;
use uuid::Uuid;

use super::token::NoIdentity;
use crate::catalog::Product;
use crate::create::CreateError;
use crate::model::{Creation, Decision, Failure, Order, Trace};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// When to look again after a 202, to try again after a 503, and to try a payment again; in seconds.
const RETRY_PENDING: &str = "5";
const RETRY_UNAVAILABLE: &str = "2";
const RETRY_PAYMENT: &str = "5";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderBody<'a> {
    order_id: String,
    state: &'a str,
    items: Vec<ItemBody<'a>>,
    total_amount: u64,
    currency: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a Failure>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemBody<'a> {
    sku: &'a str,
    qty: u32,
    unit_price: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProductBody<'a> {
    sku: &'a str,
    name: &'a str,
    unit_price: u64,
    currency: &'a str,
    available_stock: u64,
}

fn respond(status: StatusCode, kind: HeaderValue, body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

fn with(mut response: Response, name: HeaderName, value: &str) -> Response {
    // Numbers, ids and fixed texts are always valid.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
    response
}

fn order_body(order: &Order) -> Vec<u8> {
    let body = OrderBody {
        order_id: order.id.to_string(),
        state: order.state.as_str(),
        items: order
            .lines
            .iter()
            .map(|line| ItemBody { sku: &line.sku, qty: line.quantity, unit_price: line.unit_price })
            .collect(),
        total_amount: order.total_amount,
        currency: order.currency.as_str(),
        created_at: time::to_rfc3339(order.created_at),
        failure: order.failure.as_ref(),
    };
    // Strings and numbers always serialise.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// 200 with an order.
pub(super) fn order(order: &Order) -> Response {
    with(respond(StatusCode::OK, JSON, order_body(order)), ETAG, &format!("\"{}\"", order.version))
}

/// 200 or 201 with a product.
pub(super) fn product(product: &Product, available_stock: u64, created: bool) -> Response {
    let Product { sku, name, unit_price, currency, .. } = product;
    let body = ProductBody { sku, name, unit_price: *unit_price, currency, available_stock };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    respond(status, JSON, serde_json::to_vec(&body).unwrap_or_default())
}

/// A problem document; `more` are its further members.
pub(super) fn problem(
    status: StatusCode,
    name: &str,
    title: &str,
    detail: &str,
    trace_id: &str,
    more: &[(&str, Value)],
) -> Response {
    let mut body = json!({
        "type": format!("/problems/{name}"), "title": title, "status": status.as_u16(), "detail": detail, "traceId": trace_id,
    });
    if let Some(members) = body.as_object_mut() {
        members.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
    respond(status, PROBLEM, body.to_string().into_bytes())
}

/// 400.
pub(super) fn invalid(detail: &str, trace: &Trace) -> Response {
    problem(StatusCode::BAD_REQUEST, "invalid-request", "The request is not valid", detail, trace.id(), &[])
}

/// 404.
pub(super) fn not_found(detail: &str, trace: &Trace) -> Response {
    problem(StatusCode::NOT_FOUND, "not-found", "There is no such thing", detail, trace.id(), &[])
}

/// 503, with the order if one was written.
pub(super) fn unavailable(order_id: Option<Uuid>, trace: &Trace) -> Response {
    let title = "Not available at the moment";
    let detail = "Try the same request again.";
    let more: Vec<(&str, Value)> = order_id.map(|id| ("orderId", json!(id))).into_iter().collect();
    let response = problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", title, detail, trace.id(), &more);
    with(response, RETRY_AFTER, RETRY_UNAVAILABLE)
}

/// 503 before anything was done.
pub(super) fn overloaded(trace: &Trace) -> Response {
    let title = "Too busy at the moment";
    let detail = "Too many requests are being processed. Try again soon.";
    with(problem(StatusCode::SERVICE_UNAVAILABLE, "overloaded", title, detail, trace.id(), &[]), RETRY_AFTER, "1")
}

/// 429.
pub(super) fn rate_limited(trace: &Trace) -> Response {
    let title = "Too many requests";
    let detail = "Wait for the time in Retry-After.";
    with(problem(StatusCode::TOO_MANY_REQUESTS, "rate-limited", title, detail, trace.id(), &[]), RETRY_AFTER, "1")
}

/// 500.
pub(super) fn internal(trace: &Trace) -> Response {
    let title = "An error on our side";
    let detail = "This is logged under the trace id.";
    problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", title, detail, trace.id(), &[])
}

/// 415.
pub(super) fn not_json(trace: &Trace) -> Response {
    let title = "The request body has the wrong media type";
    let detail = "The body must be application/json in UTF-8, without a content coding.";
    problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", title, detail, trace.id(), &[])
}

/// 401, or 503 while the keys cannot be had.
pub(super) fn unauthorized(why: &NoIdentity, trace: &Trace) -> Response {
    let (challenge, detail) = match why {
        NoIdentity::KeysUnavailable => return unavailable(None, trace),
        NoIdentity::Missing => ("Bearer realm=\"swiftcart\"", "Send a bearer token."),
        NoIdentity::Invalid(why) => ("Bearer realm=\"swiftcart\", error=\"invalid_token\"", *why),
    };
    let title = "A valid access token is needed";
    let response = problem(StatusCode::UNAUTHORIZED, "unauthorized", title, detail, trace.id(), &[]);
    with(response, WWW_AUTHENTICATE, challenge)
}

/// 403.
pub(super) fn forbidden(scope: &str, trace: &Trace) -> Response {
    let title = "The access token does not allow this";
    let detail = format!("This call needs the scope {scope}.");
    let response = problem(StatusCode::FORBIDDEN, "forbidden", title, &detail, trace.id(), &[]);
    with(response, WWW_AUTHENTICATE, &format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\""))
}

/// The answer to a decided or pending create. A replay has the bytes of the first answer, its trace id included.
pub(super) fn created(creation: &Creation) -> Response {
    let told = |status, order: &Order| {
        with(respond(status, JSON, order_body(order)), LOCATION, &format!("/orders/{}", order.id))
    };
    let refused = |order: &Order, status, name, title, detail: &str, more: (&str, Value)| {
        let more = [("orderId", json!(order.id)), more];
        problem(status, name, title, detail, &creation.trace_id, &more)
    };
    let response = match &creation.decision {
        Decision::Confirmed { order } => told(StatusCode::CREATED, order),
        Decision::Pending { order } => with(told(StatusCode::ACCEPTED, order), RETRY_AFTER, RETRY_PENDING),
        Decision::Declined { order, decline } => {
            let more = ("declineCode", json!(decline.code));
            let title = "The payment was declined";
            refused(order, StatusCode::PAYMENT_REQUIRED, "payment-declined", title, &decline.message, more)
        }
        Decision::OutOfStock { order, shortages } => {
            let skus: Vec<&str> = shortages.iter().map(|short| short.sku.as_str()).collect();
            let detail = format!("Short of {}.", skus.join(", "));
            let more = ("shortages", json!(shortages));
            refused(order, StatusCode::CONFLICT, "out-of-stock", "There is not enough stock", &detail, more)
        }
        Decision::Failed { order } => {
            let message = order.failure.as_ref().map(|failure| failure.message.as_str()).unwrap_or_default();
            let more = ("failure", json!(order.failure));
            refused(order, StatusCode::CONFLICT, "order-failed", "The order has failed", message, more)
        }
    };
    if creation.replayed { with(response, IDEMPOTENT_REPLAYED, "true") } else { response }
}

/// Why there is no order, or none yet.
pub(super) fn not_created(error: CreateError, trace: &Trace) -> Response {
    let semantic = |name, title, detail: &str, more: &[(&str, Value)]| {
        problem(StatusCode::UNPROCESSABLE_ENTITY, name, title, detail, trace.id(), more)
    };
    match error {
        CreateError::UnknownSku(skus) => {
            let detail = format!("Unknown: {}.", skus.join(", "));
            semantic("unknown-sku", "Some products do not exist", &detail, &[("skus", json!(skus))])
        }
        CreateError::CurrencyMismatch(skus) => {
            let detail = format!("Sold in another currency: {}.", skus.join(", "));
            let title = "Some products are sold in another currency";
            semantic("currency-mismatch", title, &detail, &[("skus", json!(skus))])
        }
        CreateError::AmountOutOfRange => {
            let detail = "The total is too small or too large to be charged.";
            semantic("amount-out-of-range", "The total is outside what can be charged", detail, &[])
        }
        CreateError::KeyReused => {
            let title = "The idempotency key was used with another request";
            semantic("idempotency-key-reused", title, "This key belongs to another request. Use a new one.", &[])
        }
        CreateError::KeyInFlight(seconds) => {
            let title = "The first request with this idempotency key is still running";
            let detail = "Send the same request again later.";
            let response = problem(StatusCode::CONFLICT, "idempotency-key-in-flight", title, detail, trace.id(), &[]);
            with(response, RETRY_AFTER, &seconds.max(1).to_string())
        }
        CreateError::PaymentUnavailable(order_id) => {
            let title = "Payments are not available at the moment";
            let detail = "Nothing was charged. Send the same request again.";
            let more = [("orderId", json!(order_id))];
            let status = StatusCode::SERVICE_UNAVAILABLE;
            with(problem(status, "payment-unavailable", title, detail, trace.id(), &more), RETRY_AFTER, RETRY_PAYMENT)
        }
        CreateError::Unavailable(order_id) => unavailable(order_id, trace),
        CreateError::Internal(error) => {
            tracing::error!(error, trace_id = trace.id(), "create");
            internal(trace)
        }
    }
}
