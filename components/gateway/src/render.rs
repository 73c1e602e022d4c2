//! Bodies of answers. Invariant: the order of the members is fixed, so the same value always has the same bytes.

use serde::Serialize;
use swiftcart_domain::time;

use crate::model::{Line, Order, Page, Product};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OrderBody<'a> {
    order_id: &'a str,
    state: &'a str,
    items: Vec<ItemBody<'a>>,
    total_amount: u64,
    currency: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund: Option<RefundBody<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemBody<'a> {
    sku: &'a str,
    qty: u32,
    unit_price: u64,
}

#[derive(Serialize)]
struct FailureBody<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct RefundBody<'a> {
    state: &'a str,
    amount: u64,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PageBody<'a, T> {
    items: Vec<T>,
    next_cursor: Option<&'a str>,
}

fn order_body<'a>(order: &'a Order) -> OrderBody<'a> {
    let item = |line: &'a Line| ItemBody { sku: &line.sku, qty: line.quantity, unit_price: line.unit_price };
    OrderBody {
        order_id: &order.id,
        state: order.state.as_str(),
        items: order.lines.iter().map(item).collect(),
        total_amount: order.total_amount,
        currency: &order.currency,
        created_at: time::to_rfc3339(order.created_at),
        failure: order.failure.as_ref().map(|(code, message)| FailureBody { code, message }),
        refund: order.refund.as_ref().map(|(state, amount)| RefundBody { state, amount: *amount }),
    }
}

fn product_body(product: &Product) -> ProductBody<'_> {
    ProductBody {
        sku: &product.sku,
        name: &product.name,
        unit_price: product.unit_price,
        currency: &product.currency,
        available_stock: product.available_stock,
    }
}

fn bytes(body: &impl Serialize) -> Vec<u8> {
    // Strings and numbers always serialise.
    serde_json::to_vec(body).unwrap_or_default()
}

/// One order.
#[must_use]
pub fn order(order: &Order) -> Vec<u8> {
    bytes(&order_body(order))
}

/// A page of orders.
#[must_use]
pub fn orders(page: &Page<Order>) -> Vec<u8> {
    bytes(&PageBody { items: page.items.iter().map(order_body).collect(), next_cursor: page.next_cursor.as_deref() })
}

/// One product.
#[must_use]
pub fn product(product: &Product) -> Vec<u8> {
    bytes(&product_body(product))
}

/// A page of products.
#[must_use]
pub fn products(page: &Page<Product>) -> Vec<u8> {
    bytes(&PageBody { items: page.items.iter().map(product_body).collect(), next_cursor: page.next_cursor.as_deref() })
}
