//! HTTP in and out. Invariant: what is wrong with the caller is said before anything of the body is read, and work that was begun is not cut off because
//! a client goes away.

mod answer;
mod body;
mod token;
mod trace;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use swiftcart_domain::{ids, sku};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) use token::Tokens;

use crate::app::App;
use crate::model::{Caller, Trace};
use crate::store::StoreError;
use token::Identity;

/// Longest body, as at the shop's edge.
const BODY_LIMIT_BYTES: usize = 64 * 1024;
/// Requests between admission and the end of their answer.
const MAX_IN_FLIGHT: usize = 512;
/// How often users that used nothing of their quota lately are forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What requests need besides the service itself.
pub(crate) struct Edge {
    app: Arc<App>,
    tokens: Tokens,
    limiter: DefaultKeyedRateLimiter<Uuid>,
    in_flight: Semaphore,
}

impl Edge {
    pub(crate) fn new(app: Arc<App>, tokens: Tokens, quota: Quota) -> Self {
        Self { app, tokens, limiter: RateLimiter::keyed(quota), in_flight: Semaphore::new(MAX_IN_FLIGHT) }
    }

    /// Keeps the keys fresh and the table of the rate limit small.
    pub(crate) async fn maintain(&self, stop: CancellationToken) {
        let sweep = async {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(SWEEP_INTERVAL) => self.limiter.retain_recent(),
                }
            }
        };
        tokio::join!(self.tokens.refresh(stop.clone()), sweep);
    }

    /// Who asks, if the scope and the rate allow it.
    async fn admit(&self, headers: &HeaderMap, scope: &str, trace: &Trace) -> Result<Identity, Response> {
        let identity = self.tokens.check(headers).await.map_err(|why| answer::unauthorized(&why, trace))?;
        if self.limiter.check_key(&identity.user_id).is_err() {
            return Err(answer::rate_limited(trace));
        }
        if !identity.scope.split(' ').any(|granted| granted == scope) {
            return Err(answer::forbidden(scope, trace));
        }
        Ok(identity)
    }
}

/// The whole API.
pub(crate) fn router(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/orders", post(create_order))
        .route("/orders/{id}", get(get_order))
        .route("/products/{sku}", get(get_product).put(put_product))
        .route("/products/{sku}/stock", post(restock))
        .route("/healthz", get(async || "ok"))
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .with_state(edge)
}

async fn create_order(State(edge): State<Arc<Edge>>, headers: HeaderMap, bytes: Bytes) -> Response {
    let trace = trace::adopt(&headers);
    match create(&edge, &headers, &bytes, &trace).await {
        Ok(response) | Err(response) => response,
    }
}

async fn create(edge: &Edge, headers: &HeaderMap, bytes: &Bytes, trace: &Trace) -> Result<Response, Response> {
    let Identity { user_id, email, .. } = edge.admit(headers, "orders:write", trace).await?;
    let _in_flight = edge.in_flight.try_acquire().map_err(|_| answer::overloaded(trace))?;
    let key = idempotency_key(headers, trace)?;
    require_json(headers, trace)?;
    let request = body::create(bytes).map_err(|why| answer::invalid(&why, trace))?;
    let (app, of) = (Arc::clone(&edge.app), trace.clone());
    // A task of its own: a client that goes away must not leave an order half way.
    let created = tokio::spawn(async move { app.create(Caller { user_id, email }, key, request, of).await });
    match created.await {
        Ok(Ok(creation)) => Ok(answer::created(&creation)),
        Ok(Err(error)) => Err(answer::not_created(error, trace)),
        Err(error) => {
            tracing::error!(%error, trace_id = trace.id(), "a create ended without an answer");
            Err(answer::internal(trace))
        }
    }
}

async fn get_order(State(edge): State<Arc<Edge>>, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let trace = trace::adopt(&headers);
    let identity = match edge.admit(&headers, "orders:read", &trace).await {
        Ok(identity) => identity,
        Err(response) => return response,
    };
    let Some(order_id) = ids::parse_order_id(&id) else {
        return answer::not_found("There is no such order.", &trace);
    };
    match edge.app.databases.read(order_id).await {
        Ok(Some(held)) if held.order.user_id == identity.user_id => answer::order(&held.order),
        Ok(_) => answer::not_found("There is no such order.", &trace),
        Err(error) => failed(&error, &trace),
    }
}

async fn get_product(State(edge): State<Arc<Edge>>, headers: HeaderMap, Path(sku): Path<String>) -> Response {
    let trace = trace::adopt(&headers);
    match show(&edge.app, &sku, &trace).await {
        Ok(response) | Err(response) => response,
    }
}

async fn show(app: &App, sku: &str, trace: &Trace) -> Result<Response, Response> {
    check_sku(sku, trace)?;
    let products = app.products(&[sku.to_owned()]).await.map_err(|error| failed(&error, trace))?;
    let Some(product) = products.get(sku) else { return Err(answer::not_found("There is no such product.", trace)) };
    let available = app.available(sku).await.map_err(|error| failed(&error, trace))?;
    Ok(answer::product(product, available, false))
}

async fn put_product(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    Path(sku): Path<String>,
    bytes: Bytes,
) -> Response {
    let trace = trace::adopt(&headers);
    match put(&edge, &headers, &sku, &bytes, &trace).await {
        Ok(response) | Err(response) => response,
    }
}

async fn put(edge: &Edge, headers: &HeaderMap, sku: &str, bytes: &Bytes, trace: &Trace) -> Result<Response, Response> {
    edge.admit(headers, "inventory:write", trace).await?;
    check_sku(sku, trace)?;
    require_json(headers, trace)?;
    let new = body::product(bytes).map_err(|why| answer::invalid(&why, trace))?;
    let failed = |error: StoreError| failed(&error, trace);
    let put = edge.app.databases.put_product(sku, &new.name, new.unit_price, &new.currency);
    let (product, created) = put.await.map_err(failed)?;
    // Should this fail, the caller repeats the call, or the cached copy ends by itself.
    edge.app.stock.remember(std::slice::from_ref(&product)).await.map_err(failed)?;
    Ok(answer::product(&product, edge.app.available(sku).await.map_err(failed)?, created))
}

async fn restock(State(edge): State<Arc<Edge>>, headers: HeaderMap, Path(sku): Path<String>, bytes: Bytes) -> Response {
    let trace = trace::adopt(&headers);
    match add(&edge, &headers, &sku, &bytes, &trace).await {
        Ok(response) | Err(response) => response,
    }
}

async fn add(edge: &Edge, headers: &HeaderMap, sku: &str, bytes: &Bytes, trace: &Trace) -> Result<Response, Response> {
    edge.admit(headers, "inventory:write", trace).await?;
    check_sku(sku, trace)?;
    require_json(headers, trace)?;
    let delta = body::restock(bytes).map_err(|why| answer::invalid(&why, trace))?;
    if !edge.app.restock(sku, delta).await.map_err(|error| failed(&error, trace))? {
        return Err(answer::not_found("There is no such product.", trace));
    }
    show(&edge.app, sku, trace).await
}

fn check_sku(text: &str, trace: &Trace) -> Result<(), Response> {
    if sku::is_valid(text) {
        Ok(())
    } else {
        Err(answer::invalid("the path: the sku must be 1 to 64 of A-Z a-z 0-9 . _ -", trace))
    }
}

fn failed(error: &StoreError, trace: &Trace) -> Response {
    match error {
        StoreError::Unavailable(_) | StoreError::Uncertain(_) => {
            tracing::warn!(%error, trace_id = trace.id(), "a store did not answer");
            answer::unavailable(None, trace)
        }
        StoreError::Conflict(_) | StoreError::Internal(_) => {
            tracing::error!(%error, trace_id = trace.id(), "a store refused");
            answer::internal(trace)
        }
    }
}

/// Checks that the body is said to be JSON in UTF-8.
fn require_json(headers: &HeaderMap, trace: &Trace) -> Result<(), Response> {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let utf_8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if json && utf_8 && !headers.contains_key("content-encoding") { Ok(()) } else { Err(answer::not_json(trace)) }
}

/// The idempotency key: at most one header, 1 to 255 visible ASCII characters.
fn idempotency_key(headers: &HeaderMap, trace: &Trace) -> Result<Option<String>, Response> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(answer::invalid("header Idempotency-Key: occurs more than once", trace));
    }
    let fits = |text: &&str| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match key.to_str().ok().filter(fits) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(answer::invalid("header Idempotency-Key: must be 1 to 255 visible ASCII characters", trace)),
    }
}
