//! Strict reading of bodies: no unknown or repeated members, integers that are integers, and every value in its range.

use serde::Deserialize;
use swiftcart_domain::money::{Currency, LINES_MAX, QUANTITY_MAX, UNIT_PRICE_MAX, UNIT_PRICE_MIN};
use swiftcart_domain::sku;

use crate::model::Request;

/// The largest change of stock by hand.
const DELTA_MAX: i64 = 1_000_000_000;
/// The longest name of a product, in characters.
const NAME_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    items: Vec<Item>,
    currency: String,
    payment: Payment,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    sku: String,
    qty: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payment {
    method: String,
}

/// A product as it is put.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct NewProduct {
    pub(crate) name: String,
    pub(crate) unit_price: u64,
    pub(crate) currency: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Adjustment {
    delta: i64,
    reason: String,
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body: {error}"))
}

/// The body of a create.
pub(crate) fn create(body: &[u8]) -> Result<Request, String> {
    let Create { items, currency, payment } = read(body)?;
    if !(1..=LINES_MAX).contains(&items.len()) {
        return Err(format!("/items: must be an array of 1 to {LINES_MAX} items"));
    }
    for (index, item) in items.iter().enumerate() {
        if !sku::is_valid(&item.sku) {
            return Err(format!("/items/{index}/sku: must be a sku: 1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        if !(1..=QUANTITY_MAX).contains(&item.qty) {
            return Err(format!("/items/{index}/qty: must be an integer from 1 to {QUANTITY_MAX}"));
        }
        if items.iter().take(index).any(|earlier| earlier.sku == item.sku) {
            return Err(format!("/items/{index}/sku: occurs in another line too; order a sku in one line"));
        }
    }
    check_currency(&currency)?;
    if !(1..=255).contains(&payment.method.len()) || !payment.method.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("/payment/method: must be 1 to 255 visible ASCII characters".to_owned());
    }
    let lines = items.into_iter().map(|item| (item.sku, item.qty)).collect();
    Ok(Request { lines, currency, payment_method: payment.method })
}

/// The body of a product.
pub(crate) fn product(body: &[u8]) -> Result<NewProduct, String> {
    let product: NewProduct = read(body)?;
    let name = product.name.as_str();
    if !(1..=NAME_MAX).contains(&name.chars().count()) || name.trim() != name || name.chars().any(char::is_control) {
        return Err("/name: must be 1 to 200 characters without control characters or outer white space".to_owned());
    }
    if !(UNIT_PRICE_MIN..=UNIT_PRICE_MAX).contains(&product.unit_price) {
        return Err(format!("/unitPrice: must be an integer from {UNIT_PRICE_MIN} to {UNIT_PRICE_MAX}"));
    }
    check_currency(&product.currency)?;
    Ok(product)
}

/// The body of a restock. Corrections are the shop's alone.
pub(crate) fn restock(body: &[u8]) -> Result<i64, String> {
    let Adjustment { delta, reason } = read(body)?;
    if reason != "restock" {
        return Err("/reason: must be restock".to_owned());
    }
    if !(1..=DELTA_MAX).contains(&delta) {
        return Err(format!("/delta: must be an integer from 1 to {DELTA_MAX}"));
    }
    Ok(delta)
}

fn check_currency(text: &str) -> Result<(), String> {
    text.parse::<Currency>().map(drop).map_err(|_| "/currency: must be three capital letters".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_the_strict_form_is_read() {
        let body =
            |items: &str| format!(r#"{{"items":{items},"currency":"USD","payment":{{"method":"pm_card_visa"}}}}"#);
        let request = create(body(r#"[{"sku":"A","qty":2}]"#).as_bytes()).unwrap();
        assert_eq!((request.lines, request.currency.as_str()), (vec![("A".to_owned(), 2)], "USD"));
        for (items, place) in [
            ("[]", "/items:"),
            (r#"[{"sku":"A","qty":0}]"#, "/items/0/qty"),
            (r#"[{"sku":"A","qty":1001}]"#, "/items/0/qty"),
            (r#"[{"sku":"a b","qty":1}]"#, "/items/0/sku"),
            (r#"[{"sku":"A","qty":1},{"sku":"A","qty":1}]"#, "/items/1/sku"),
            (r#"[{"sku":"A","qty":1.0}]"#, "the body"),
            (r#"[{"sku":"A","qty":1,"qty":1}]"#, "the body"),
            (r#"[{"sku":"A","qty":1,"price":1}]"#, "the body"),
        ] {
            let refused = create(body(items).as_bytes()).unwrap_err();
            assert!(refused.starts_with(place), "{items}: {refused}");
        }
        assert!(create(b"{} x").is_err() && create(b"\xef\xbb\xbf{}").is_err());
        assert!(restock(br#"{"delta":-1,"reason":"restock"}"#).is_err());
    }
}
