//! The routes of orders.

use serde_json::{Value, json};
use swiftcart_domain::money::{Currency, LINES_MAX, QUANTITY_MAX};
use swiftcart_domain::{ids, sku};

use super::{
    Answer, Gateway, Query, RETRY_PENDING_SECONDS, bad_cursor, idempotency_key, internal, invalid, key_reused,
    not_found, refused, require_json, unavailable,
};
use crate::error::{CancelError, CreateError, QueryError, Refusal};
use crate::http::{NO_STORE, Request, Response};
use crate::json::{Document, Refused};
use crate::model::{Caller, Creation, Decision, NewOrder, Order, Shortage, State};
use crate::problem::{Kind, Problem};
use crate::render;

/// When to try a payment again, in seconds.
const RETRY_PAYMENT_SECONDS: u32 = 5;

impl Gateway<'_> {
    pub(super) fn create_order(&self, request: &Request, caller: &Caller) -> Answer {
        let key = idempotency_key(request)?;
        require_json(request)?;
        let order = new_order(&request.body).map_err(refused(request))?;
        match self.orders.create(caller, key, &order) {
            Ok(creation) => Ok(created(creation, request.trace_id())),
            Err(error) => Err(create_problem(error, request.trace_id())),
        }
    }

    pub(super) fn get_order(&self, request: &Request, caller: &Caller, order_id: &str) -> Answer {
        let trace = request.trace_id();
        check_order_id(request, order_id)?;
        let order = self.orders.get(caller, order_id).map_err(|error| query_problem(&error, trace))?;
        let etag = etag(&order);
        if request.none_match_hits(&etag) {
            let headers = vec![("etag", etag), ("cache-control", NO_STORE.to_owned())];
            return Ok(Response { status: 304, headers, body: Vec::new() });
        }
        Ok(Response::new(200, "application/json", NO_STORE, render::order(&order)).with("etag", etag))
    }

    /// Idempotent by nature: it takes no key and no body.
    pub(super) fn cancel_order(&self, request: &Request, caller: &Caller, order_id: &str) -> Answer {
        check_order_id(request, order_id)?;
        let order = self
            .orders
            .cancel(caller, order_id)
            .map_err(|error| cancel_problem(error, order_id, request.trace_id()))?;
        Ok(Response::new(200, "application/json", NO_STORE, render::order(&order)).with("etag", etag(&order)))
    }

    pub(super) fn list_orders(&self, request: &Request, caller: &Caller, query: &Query) -> Answer {
        let limit = query.limit(request)?;
        let bad_state = || invalid(request, "query parameter state: must be PENDING, CONFIRMED, FAILED or CANCELLED");
        let state = query.get("state").map(|text| State::parse(text).ok_or_else(bad_state)).transpose()?;
        let page = self
            .orders
            .list(caller, query.get("cursor"), state, limit)
            .map_err(|error| query_problem(&error, request.trace_id()))?;
        Ok(Response::new(200, "application/json", NO_STORE, render::orders(&page)))
    }
}

/// What is no order id names no order.
fn check_order_id(request: &Request, order_id: &str) -> Result<(), Problem> {
    match ids::parse_order_id(order_id) {
        Some(_) => Ok(()),
        None => Err(not_found(request.trace_id(), "There is no such order.")),
    }
}

fn etag(order: &Order) -> String {
    format!("\"{}\"", order.version)
}

/// Reads the body of a create.
fn new_order(body: &[u8]) -> Result<NewOrder, Refused> {
    let document = Document::parse(body)?;
    let root = document.root().object(&["items", "currency", "payment"])?;
    let mut lines: Vec<(String, u32)> = Vec::new();
    for item in root.member("items")?.array(1..=LINES_MAX)? {
        let line = item.object(&["sku", "qty"])?;
        let name = line.member("sku")?;
        let text = name.text(sku::is_valid, "a sku: 1 to 64 of A-Z a-z 0-9 . _ -")?;
        if lines.iter().any(|(known, _)| known == text) {
            return name.refuse("occurs in another line too; order a sku in one line");
        }
        lines.push((text.to_owned(), line.member("qty")?.integer(1..=QUANTITY_MAX)?));
    }
    let currency =
        root.member("currency")?.text(|text| text.parse::<Currency>().is_ok(), "three capital letters")?.to_owned();
    let payment = root.member("payment")?.object(&["method"])?;
    let fits = |text: &str| (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    let payment_method = payment.member("method")?.text(fits, "1 to 255 visible ASCII characters")?.to_owned();
    Ok(NewOrder { lines, currency, payment_method })
}

/// The answer to a decided or pending create. A replay has the bytes of the first answer, its trace id included.
fn created(creation: Creation, request_trace: &str) -> Response {
    let trace = if creation.trace_id.is_empty() { request_trace } else { &creation.trace_id };
    let response = match &creation.decision {
        Decision::Confirmed(order) => told(201, order),
        Decision::Pending(order) => told(202, order).with("retry-after", RETRY_PENDING_SECONDS.to_string()),
        Decision::Refused(order, refusal) => refusal_problem(order, refusal, trace).response(),
    };
    if creation.replayed { response.with("idempotent-replayed", "true") } else { response }
}

fn told(status: u16, order: &Order) -> Response {
    Response::new(status, "application/json", NO_STORE, render::order(order))
        .with("location", format!("/orders/{}", order.id))
}

fn refusal_problem(order: &Order, refusal: &Refusal, trace: &str) -> Problem {
    let problem = |kind, detail: &str| Problem::new(kind, trace, detail).order(order.id.clone());
    match refusal {
        Refusal::Declined { code, message } => {
            problem(Kind::PaymentDeclined, message).member("declineCode", code.as_str())
        }
        Refusal::OutOfStock(shortages) => {
            let skus: Vec<&str> = shortages.iter().map(|short| short.sku.as_str()).collect();
            let short = |short: &Shortage| json!({"sku": short.sku, "requested": short.requested, "available": short.available});
            problem(Kind::OutOfStock, &format!("Short of {}.", skus.join(", ")))
                .member("shortages", shortages.iter().map(short).collect::<Value>())
        }
        Refusal::Failed => failed_problem(order, trace),
    }
}

fn failed_problem(order: &Order, trace: &str) -> Problem {
    let (code, message) = order.failure.clone().unwrap_or_default();
    let problem = Problem::new(Kind::OrderFailed, trace, &message)
        .order(order.id.clone())
        .member("failure", json!({"code": code, "message": message}));
    match &order.refund {
        Some((state, amount)) => problem.member("refund", json!({"state": state, "amount": amount})),
        None => problem,
    }
}

fn cancel_problem(error: CancelError, order_id: &str, trace: &str) -> Problem {
    match error {
        CancelError::NotFound => not_found(trace, "There is no such order."),
        CancelError::NotSettled(seconds) => Problem::new(
            Kind::OrderNotSettled,
            trace,
            "The order is pending; it can be cancelled once it is confirmed.",
        )
        .order(order_id.to_owned())
        .retry_after(seconds.max(1)),
        CancelError::OrderFailed(order) => failed_problem(&order, trace),
        CancelError::Unavailable => unavailable(trace).order(order_id.to_owned()),
        CancelError::Internal => internal(trace),
    }
}

fn create_problem(error: CreateError, trace: &str) -> Problem {
    let semantic = |kind, detail: String| Problem::new(kind, trace, detail);
    match error {
        CreateError::UnknownSku(skus) => {
            semantic(Kind::UnknownSku, format!("Unknown: {}.", skus.join(", "))).member("skus", skus)
        }
        CreateError::CurrencyMismatch(skus) => {
            semantic(Kind::CurrencyMismatch, format!("Sold in another currency: {}.", skus.join(", ")))
                .member("skus", skus)
        }
        CreateError::AmountOutOfRange => {
            semantic(Kind::AmountOutOfRange, "The total is too small or too large to be charged.".to_owned())
        }
        CreateError::KeyReused => key_reused(trace),
        CreateError::KeyInFlight(seconds) => {
            semantic(Kind::IdempotencyKeyInFlight, "Send the same request again later.".to_owned())
                .retry_after(seconds.max(1))
        }
        CreateError::PaymentUnavailable(order_id) => {
            semantic(Kind::PaymentUnavailable, "Nothing was charged. Send the same request again.".to_owned())
                .retry_after(RETRY_PAYMENT_SECONDS)
                .order(order_id)
        }
        CreateError::Unavailable(order_id) => unavailable(trace).order(order_id),
        CreateError::Internal => internal(trace),
    }
}

fn query_problem(error: &QueryError, trace: &str) -> Problem {
    match error {
        QueryError::NotFound => not_found(trace, "There is no such order."),
        QueryError::BadCursor => bad_cursor(trace),
        QueryError::Unavailable => unavailable(trace),
        QueryError::Internal => internal(trace),
    }
}
