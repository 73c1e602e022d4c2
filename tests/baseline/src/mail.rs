//! The mail about a confirmed order. Invariant: no I/O; amounts are shown exactly, with the decimals of their currency.

use std::fmt::Write as _;

use swiftcart_domain::event::Order;

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

/// Minor units as people write them: `USD 12.99`, `JPY 1299`, `KWD 1.299`. Decimals as in ISO 4217.
fn amount(minor: u64, currency: &str) -> String {
    let decimals = match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND"
        | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    if decimals == 0 {
        return format!("{currency} {minor}");
    }
    let unit = 10_u64.pow(decimals);
    format!("{currency} {}.{:0width$}", minor / unit, minor % unit, width = decimals as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        for (minor, currency, text) in
            [(1299, "USD", "USD 12.99"), (5, "EUR", "EUR 0.05"), (1299, "JPY", "JPY 1299"), (1299, "KWD", "KWD 1.299")]
        {
            assert_eq!(amount(minor, currency), text);
        }
    }
}
