//! The calls that only read the books.

use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

use super::Psp;
use super::ledger::{self, Intent};
use super::wire::{Failure, Parameters};

pub(super) async fn intent(State(psp): State<Psp>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    psp.read(&headers, |ledger| {
        ledger.intent(&id).map(Intent::json).ok_or_else(|| Failure::missing("payment_intent", &id))
    })
    .await
}

pub(super) async fn refund(State(psp): State<Psp>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    psp.read(&headers, |ledger| {
        ledger.refund(&id).map(ledger::Refund::json).ok_or_else(|| Failure::missing("refund", &id))
    })
    .await
}

/// Newest first, of one intent if it is named.
pub(super) async fn refunds(State(psp): State<Psp>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    psp.read(&headers, |ledger| {
        let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
        parameters.only(&["payment_intent", "limit"])?;
        let limit = limit(&parameters)?;
        let intent = parameters.get("payment_intent");
        let mut found =
            ledger.refunds().iter().rev().filter(|refund| intent.is_none_or(|id| refund.payment_intent == id));
        let data: Vec<Value> = found.by_ref().take(limit).map(ledger::Refund::json).collect();
        Ok(json!({"object": "list", "url": "/v1/refunds", "has_more": found.next().is_some(), "data": data}))
    })
    .await
}

pub(super) async fn list(State(psp): State<Psp>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    psp.read(&headers, |ledger| {
        let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
        parameters.only(&["limit", "starting_after"])?;
        let limit = limit(&parameters)?;
        let mut newest_first = ledger.intents().iter().rev();
        if let Some(after) = parameters.get("starting_after") {
            newest_first.find(|intent| intent.id == after).ok_or_else(|| Failure::missing("payment_intent", after))?;
        }
        let data: Vec<Value> = newest_first.by_ref().take(limit).map(Intent::json).collect();
        Ok(json!({"object": "list", "url": "/v1/payment_intents", "has_more": newest_first.next().is_some(), "data": data}))
    })
    .await
}

pub(super) async fn search(State(psp): State<Psp>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    psp.read(&headers, |ledger| {
        let parameters = Parameters::parse(query.unwrap_or_default().as_bytes())?;
        parameters.only(&["query", "limit"])?;
        let limit = limit(&parameters)?;
        let (name, value) = metadata_query(parameters.required("query")?).ok_or_else(|| {
            Failure::parameter("parameter_invalid", "query", "This simulator searches by metadata only: metadata['name']:'value'.")
        })?;
        let found = ledger.intents().iter().rev().filter(|intent| intent.metadata.get(&name) == Some(&value));
        let data: Vec<Value> = found.map(Intent::json).take(limit).collect();
        Ok(json!({"object": "search_result", "url": "/v1/payment_intents/search", "has_more": false, "next_page": null, "data": data}))
    })
    .await
}

fn limit(parameters: &Parameters) -> Result<usize, Failure> {
    let limit = parameters.integer("limit")?.unwrap_or(10);
    usize::try_from(limit).ok().filter(|limit| (1..=100).contains(limit)).ok_or_else(|| {
        Failure::parameter("parameter_invalid_integer", "limit", "This value must be between 1 and 100.")
    })
}

/// `metadata['name']:'value'`, with single or double quotes.
fn metadata_query(query: &str) -> Option<(String, String)> {
    let query = query.trim().replace('"', "'");
    let (name, value) = query.strip_prefix("metadata['")?.split_once("']:'")?;
    Some((name.to_owned(), value.strip_suffix('\'')?.to_owned()))
}
