//! The host and the providers know no service of ours. Invariant: they run any component; a name of ours in their source would be
//! a compile-time arrow through the sandbox wall.
//!
//! The words themselves are ordinary English ("in order", `/v1/inventory`, `ORDER BY`, `BAD_GATEWAY`), so what is looked for are
//! forms that only a name has: a WIT package (`swiftcart:x`), a crate (`swiftcart-x`, `swiftcart_x`), an artifact (`x.wasm`), a
//! quoted word by itself, a topic (`orders.confirmed`), a folder of ours, and identifiers such as
//! `order_id` or `PaymentFailed` (only for the two words that have no technical meaning of their own).

use super::{Finding, SourceFile};

const SERVICES: [&str; 5] = ["order", "payment", "inventory", "notification", "gateway"];
const TOPICS: [&str; 5] = ["orders.", "payments.", "inventory.rejected", "notifications.", "stock."];
const FACTS: [&str; 7] = ["confirmed", "failed", "cancelled", "succeeded", "refunded", "refund-failed", "rejected"];
/// Services whose names, used as the first word of an identifier, can only mean the service.
const IN_IDENTIFIERS: [&str; 2] = ["order", "payment"];
/// Second words that make ordinary English of it: `order_by`, `ordered`.
const ENGLISH: [&str; 3] = ["by", "in", "of"];

/// Checks one file; files outside `host/src` and `providers/*/src` have no such rule.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    if !applies(&file.path) {
        return Vec::new();
    }
    let Some(text) = &file.text else { return Vec::new() };
    let found = |(number, line): (usize, &str)| {
        let name = literal(line).or_else(|| identifier(line))?;
        Some(file.finding_at(number, format!("`{name}` names a service of ours; this code runs any component")))
    };
    text.lines().enumerate().filter_map(found).collect()
}

fn applies(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts.as_slice(), ["host", "src", ..] | ["providers", _, "src", ..])
}

fn literal(line: &str) -> Option<String> {
    let of_service = SERVICES.iter().flat_map(|service| {
        [
            format!("swiftcart:{service}"),
            format!("swiftcart-{service}"),
            format!("swiftcart_{service}"),
            format!("{service}.wasm"),
            format!("\"{service}\""),
            format!("\"{service}s\""),
            format!("components/{service}"),
            format!("migrations/{service}"),
        ]
    });
    let of_topic = TOPICS.iter().flat_map(|topic| {
        FACTS.iter().map(move |fact| if topic.ends_with('.') { format!("{topic}{fact}") } else { (*topic).to_owned() })
    });
    of_service.chain(of_topic).find(|name| line.contains(name))
}

fn identifier(line: &str) -> Option<String> {
    let identifiers = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    for identifier in identifiers {
        let words = words(identifier);
        let [first, second, ..] = words.as_slice() else { continue };
        let service = IN_IDENTIFIERS.iter().any(|name| first == name || first.strip_suffix('s') == Some(name));
        if service && !ENGLISH.contains(&second.as_str()) {
            return Some(identifier.to_owned());
        }
    }
    None
}

/// `OrderConfirmed`, `order_confirmed` and `ORDER_CONFIRMED` are all `order`, `confirmed`.
fn words(identifier: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower_before = false;
    for c in identifier.chars() {
        if c == '_' || (c.is_uppercase() && lower_before) {
            words.push(String::new());
        }
        lower_before = c.is_lowercase();
        if let (Some(word), true) = (words.last_mut(), c != '_') {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    fn found(line: &str) -> bool {
        !check(&file("host/src/app.rs", line)).is_empty()
    }

    #[test]
    fn names_of_services_are_found() {
        for line in [
            r#"let export = "swiftcart:order/orders";"#,
            r#"load("gateway.wasm")"#,
            r#"if component == "order" {"#,
            r#"if topic.starts_with("orders.confirmed.v1") {"#,
            r#"topic == "inventory.rejected.v1""#,
            "use swiftcart_payment::model;",
            "let order_id = header;",
            "enum Event { PaymentFailed }",
            "const ORDERS_TOPIC: &str = X;",
            "// see components/inventory for the script",
        ] {
            assert!(found(line), "{line}");
        }
    }

    #[test]
    fn ordinary_english_is_not() {
        for line in [
            r#".route("/v1/inventory", get(inventory))"#,
            "// stops everything in the order of its start",
            "StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT",
            r#"let sql = "SELECT id FROM outbox ORDER BY id";"#,
            "use std::cmp::Ordering; Ordering::Relaxed",
            "fn order_by(self)",
            "notify.notified().await",
            "let in_order = true;",
            "//! swiftcart:postgres, swiftcart:redis",
        ] {
            assert!(!found(line), "{line}");
        }
    }

    #[test]
    fn other_folders_may_name_services() {
        assert!(check(&file("components/order/src/model.rs", "struct OrderId;")).is_empty());
        assert!(check(&file("tests/e2e/orders.rs", "order_id")).is_empty());
        assert!(!check(&file("providers/kafka/src/topics.rs", "let order_id = 1;")).is_empty());
    }
}
