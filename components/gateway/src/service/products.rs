//! The routes of products and stock.

use swiftcart_domain::money::{Currency, UNIT_PRICE_MAX, UNIT_PRICE_MIN};
use swiftcart_domain::sku;

use super::{Answer, Gateway, Query, catalog_problem, idempotency_key, invalid, refused, require_json};
use crate::http::{NO_STORE, Request, Response};
use crate::json::{Document, Refused};
use crate::model::{Adjustment, Caller, Reason};
use crate::problem::Problem;
use crate::render;

/// Stock changes all the time: a cache must ask.
const NO_CACHE: &str = "no-cache";
/// The largest change of stock by hand.
const DELTA_MAX: i64 = 1_000_000_000;
/// The longest name of a product, in characters.
const NAME_MAX: usize = 200;

fn check_sku(request: &Request, text: &str) -> Result<(), Problem> {
    if sku::is_valid(text) {
        Ok(())
    } else {
        Err(invalid(request, "the path: the sku must be 1 to 64 of A-Z a-z 0-9 . _ -"))
    }
}

impl Gateway<'_> {
    pub(super) fn list_products(&self, request: &Request, query: &Query) -> Answer {
        let limit = query.limit(request)?;
        let page = self
            .catalog
            .list(query.get("cursor"), limit)
            .map_err(|error| catalog_problem(error, request.trace_id()))?;
        Ok(Response::new(200, "application/json", NO_CACHE, render::products(&page)))
    }

    pub(super) fn get_product(&self, request: &Request, sku: &str) -> Answer {
        check_sku(request, sku)?;
        let product = self.catalog.get(sku).map_err(|error| catalog_problem(error, request.trace_id()))?;
        Ok(Response::new(200, "application/json", NO_CACHE, render::product(&product)))
    }

    pub(super) fn put_product(&self, request: &Request, sku: &str) -> Answer {
        check_sku(request, sku)?;
        require_json(request)?;
        let (name, unit_price, currency) = new_product(&request.body).map_err(refused(request))?;
        let (product, created) = self
            .catalog
            .put(sku, &name, unit_price, &currency)
            .map_err(|error| catalog_problem(error, request.trace_id()))?;
        let response =
            Response::new(if created { 201 } else { 200 }, "application/json", NO_STORE, render::product(&product));
        Ok(if created { response.with("location", format!("/products/{sku}")) } else { response })
    }

    pub(super) fn adjust_stock(&self, request: &Request, caller: &Caller, sku: &str) -> Answer {
        check_sku(request, sku)?;
        let key = idempotency_key(request)?.map(|key| (caller.user_id.clone(), key.to_owned()));
        require_json(request)?;
        let (delta, reason) = adjustment(&request.body).map_err(refused(request))?;
        let (product, replayed) = self
            .catalog
            .adjust(sku, &Adjustment { delta, reason, key })
            .map_err(|error| catalog_problem(error, request.trace_id()))?;
        let response = Response::new(200, "application/json", NO_STORE, render::product(&product));
        Ok(if replayed { response.with("idempotent-replayed", "true") } else { response })
    }
}

fn new_product(body: &[u8]) -> Result<(String, u64, String), Refused> {
    let document = Document::parse(body)?;
    let root = document.root().object(&["name", "unitPrice", "currency"])?;
    let fits = |text: &str| {
        (1..=NAME_MAX).contains(&text.chars().count()) && text.trim() == text && !text.chars().any(char::is_control)
    };
    let expected = "1 to 200 characters without control characters or outer white space";
    let name = root.member("name")?.text(fits, expected)?.to_owned();
    let unit_price = root.member("unitPrice")?.integer(UNIT_PRICE_MIN..=UNIT_PRICE_MAX)?;
    let currency =
        root.member("currency")?.text(|text| text.parse::<Currency>().is_ok(), "three capital letters")?.to_owned();
    Ok((name, unit_price, currency))
}

fn adjustment(body: &[u8]) -> Result<(i64, Reason), Refused> {
    let document = Document::parse(body)?;
    let root = document.root().object(&["delta", "reason"])?;
    let place = root.member("delta")?;
    let delta = place.integer(-DELTA_MAX..=DELTA_MAX)?;
    if delta == 0 {
        return place.refuse("must not be 0");
    }
    let known = |text: &str| matches!(text, "restock" | "correction");
    let reason = match root.member("reason")?.text(known, "restock or correction")? {
        "restock" if delta < 0 => {
            return place.refuse("must be positive for a restock; take stock away with a correction");
        }
        "restock" => Reason::Restock,
        _ => Reason::Correction,
    };
    Ok((delta, reason))
}
