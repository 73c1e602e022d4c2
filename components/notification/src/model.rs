//! The mails as text. Invariant: no I/O.

use std::fmt::Write as _;

use swiftcart_domain::event::Order;
use swiftcart_domain::money::amount;
use uuid::Uuid;

/// Which mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The order was confirmed.
    OrderConfirmed,
    /// The order failed after the buyer had been told to wait, or to be happy.
    OrderFailed,
    /// The buyer cancelled the order.
    OrderCancelled,
}

impl Kind {
    /// Its name in the table and in the header `Swiftcart-Mail-Kind`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "order_confirmed",
            Self::OrderFailed => "order_failed",
            Self::OrderCancelled => "order_cancelled",
        }
    }
}

/// The mail's id, without angle brackets.
#[must_use]
pub fn message_id(kind: Kind, order_id: Uuid, domain: &str) -> String {
    format!("{}.{order_id}@{domain}", kind.as_str())
}

/// Subject and text of the mail about a confirmed order.
#[must_use]
pub fn confirmed(order: &Order) -> (String, String) {
    let subject = format!("Your order {} is confirmed", order.order_id);
    let text = format!(
        "Thank you for your order.\n\nOrder {}\n\n{}\nTotal: {}\n\nThe payment went through and we are getting your order ready.\n",
        order.order_id,
        lines(order),
        amount(order.total_amount, order.currency.as_str())
    );
    (subject, text)
}

/// Subject and text of the mail about a failed order.
#[must_use]
pub fn failed(order: &Order, code: &str) -> (String, String) {
    let subject = format!("Your order {} could not be completed", order.order_id);
    let why = match code {
        "out_of_stock" | "out_of_stock_after_payment" => "Something in it is out of stock.",
        "payment_declined" => "The payment was declined.",
        "payment_unavailable" => "The payment could not be made.",
        _ => "Something went wrong on our side.",
    };
    let money =
        if code == "out_of_stock_after_payment" { "You get back what you paid." } else { "You were not charged." };
    let text = format!(
        "We are sorry: your order could not be completed. {why} {money}\n\nOrder {}\n\n{}\nTotal: {}\n",
        order.order_id,
        lines(order),
        amount(order.total_amount, order.currency.as_str())
    );
    (subject, text)
}

/// Subject and text of the mail about an order that its buyer cancelled.
#[must_use]
pub fn cancelled(order: &Order) -> (String, String) {
    let subject = format!("Your order {} is cancelled", order.order_id);
    let total = amount(order.total_amount, order.currency.as_str());
    let text = format!(
        "You cancelled this order. You get back the {total} that you paid, the way you paid it.\n\nOrder {}\n\n{}\nTotal: {total}\n",
        order.order_id,
        lines(order),
    );
    (subject, text)
}

fn lines(order: &Order) -> String {
    let currency = order.currency.as_str();
    order.items.iter().fold(String::new(), |mut text, item| {
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
    })
}
