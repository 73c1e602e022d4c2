//! The mail about a confirmed order. Invariant: no I/O.

use std::fmt::Write as _;

use swiftcart_domain::event::Order;
use swiftcart_domain::money::amount;

/// Its kind, in the table and in a header.
pub(crate) const ORDER_CONFIRMED: &str = "order_confirmed";

/// Subject and text.
pub(crate) fn confirmed(order: &Order) -> (String, String) {
    let currency = order.currency.as_str();
    let lines = order.items.iter().fold(String::new(), |mut text, item| {
        let sum = item.unit_price.saturating_mul(u64::from(item.qty));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {} x {} at {} = {}",
            item.qty,
            item.sku,
            amount(item.unit_price, currency),
            amount(sum, currency)
        );
        text
    });
    let subject = format!("Your order {} is confirmed", order.order_id);
    let text = format!(
        "Thank you for your order.\n\nOrder {}\n\n{lines}\nTotal: {}\n\nThe payment went through and we are getting your order ready.\n",
        order.order_id,
        amount(order.total_amount, currency)
    );
    (subject, text)
}
