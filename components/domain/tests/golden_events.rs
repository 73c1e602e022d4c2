//! Goal: the wire form of every event never changes by accident. Method: each is made from fixed values, compared byte by byte with its
//! golden file (`tests/golden/events`), and read back. `SWIFTCART_BLESS=1` writes the files anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

use std::path::PathBuf;

use serde_json::Value;
use swiftcart_domain::event::{self, *};
use swiftcart_domain::outbox::{DECIDED_BY, DecidedBy, OutboxEvent, trace_id};
use swiftcart_domain::seal;
use uuid::{Uuid, uuid};

const AT: i64 = 1_759_235_696_000_000;
const ORDER: Uuid = uuid!("01999a7b-3c80-7def-8123-456789abcdef");
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn order() -> Order {
    Order {
        order_id: ORDER,
        user_id: uuid!("67e55044-10b1-426f-9247-bb680e5fe0c8"),
        items: vec![
            Item { sku: "SKU-123".into(), qty: 2, unit_price: 1299 },
            Item { sku: "SKU-7".into(), qty: 1, unit_price: 50 },
        ],
        total_amount: 2648,
        currency: "USD".parse().unwrap(),
    }
}

fn order_payment(status: PaymentStatus) -> OrderPayment {
    OrderPayment { provider: "stripe".into(), payment_id: "pi_123".into(), status }
}

fn payment(status: PaymentStatus, decline_code: Option<&str>) -> Payment {
    Payment {
        provider: "stripe".into(),
        payment_id: "pi_123".into(),
        status,
        amount: 2648,
        currency: "USD".parse().unwrap(),
        decline_code: decline_code.map(str::to_owned),
    }
}

fn golden<E: Event + PartialEq + std::fmt::Debug>(name: &str, event: &E) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/events").join(name);
    let text = serde_json::to_string_pretty(event).unwrap() + "\n";
    if std::env::var_os("SWIFTCART_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}");
    let outbox = OutboxEvent::new(event, TRACEPARENT, None).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&outbox.payload).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
    assert_eq!(&event::decode::<E>(outbox.payload.as_bytes()).unwrap(), event);
    assert_eq!(outbox.topic, E::TOPIC);
    assert_eq!(outbox.key, ORDER.to_string());
    assert!(!outbox.payload.contains(": "), "published without white space");
}

#[test]
fn every_event_has_its_golden_form() {
    let (paid, refused) = (PaymentStatus::Succeeded, PaymentStatus::Failed);
    golden("orders.confirmed.v1.json", &OrderConfirmed::new(AT, order(), order_payment(paid)));
    let code = |code: &str| OrderFailure { code: code.to_owned() };
    golden("orders.failed.v1.json", &OrderFailed::new(AT, order(), None, code("out_of_stock")));
    golden(
        "orders.failed.v1.declined.json",
        &OrderFailed::new(AT, order(), Some(order_payment(refused)), code("payment_declined")),
    );
    golden(
        "orders.failed.v1.after-payment.json",
        &OrderFailed::new(AT, order(), Some(order_payment(paid)), code("out_of_stock_after_payment")),
    );
    golden("orders.cancelled.v1.json", &OrderCancelled::new(AT, order(), Some(order_payment(paid))));
    golden("payments.succeeded.v1.json", &PaymentSucceeded::new(AT, ORDER, payment(paid, None)));
    golden(
        "payments.failed.v1.json",
        &PaymentFailed::new(AT, ORDER, Some(payment(refused, Some("insufficient_funds")))),
    );
    golden("payments.failed.v1.no-payment.json", &PaymentFailed::new(AT, ORDER, None));
    let refund = Refund { refund_id: "re_9".into(), amount: 2648 };
    golden("payments.refunded.v1.json", &PaymentRefunded::new(AT, ORDER, payment(paid, None), refund));
    let refused = |refund_id: Option<&str>| FailedRefund {
        refund_id: refund_id.map(str::to_owned),
        amount: 2648,
        reason: "the PSP answered a refund with 400, type invalid_request_error, code charge_disputed".into(),
    };
    golden(
        "payments.refund-failed.v1.json",
        &PaymentRefundFailed::new(AT, ORDER, payment(paid, None), refused(Some("re_9"))),
    );
    golden(
        "payments.refund-failed.v1.no-refund.json",
        &PaymentRefundFailed::new(AT, ORDER, payment(paid, None), refused(None)),
    );
    let short = Shortage { sku: "SKU-123".into(), requested: 2, available: 1 };
    golden("inventory.rejected.v1.json", &InventoryRejected::new(AT, ORDER, vec![short]));
}

#[test]
fn order_confirmed_has_the_members_of_the_seed_and_no_other() {
    let event =
        serde_json::to_value(OrderConfirmed::new(AT, order(), order_payment(PaymentStatus::Succeeded))).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut top = names(&event);
    top.sort();
    assert_eq!(top, ["eventId", "eventType", "occurredAt", "order", "payment"]);
    let mut inner = names(&event["order"]);
    inner.sort();
    assert_eq!(inner, ["currency", "items", "orderId", "totalAmount", "userId"]);
    let text =
        serde_json::to_string(&OrderConfirmed::new(AT, order(), order_payment(PaymentStatus::Succeeded))).unwrap();
    let places: Vec<_> = [
        "eventId",
        "eventType",
        "occurredAt",
        "\"order\"",
        "orderId",
        "userId",
        "items",
        "sku",
        "qty",
        "unitPrice",
        "totalAmount",
        "currency",
        "\"payment\"",
        "provider",
        "paymentId",
        "status",
    ]
    .iter()
    .map(|name| text.find(name).unwrap())
    .collect();
    assert!(places.is_sorted(), "the seed's order: {text}");
}

#[test]
fn headers_are_cloud_events_in_binary_mode() {
    let event = OrderConfirmed::new(AT, order(), order_payment(PaymentStatus::Succeeded));
    let outbox = OutboxEvent::new(&event, TRACEPARENT, Some("a=b"))
        .unwrap()
        .with_header(DECIDED_BY, DecidedBy::Request.as_str())
        .with_header(seal::HEADER, "c2VhbGVk");
    let headers: Value = serde_json::from_str(&outbox.headers_json()).unwrap();
    assert_eq!(
        headers,
        serde_json::json!({
            "ce_specversion": "1.0", "ce_id": event.event_id.to_string(), "ce_type": "swiftcart.orders.confirmed.v1",
            "ce_source": "/swiftcart/order", "ce_time": "2025-09-30T12:34:56.000000Z", "content-type": "application/json",
            "traceparent": TRACEPARENT, "tracestate": "a=b", "swiftcart-decided-by": "request", "swiftcart-sealed-email": "c2VhbGVk",
        })
    );
    assert!(!OutboxEvent::new(&event, "", Some("a=b")).unwrap().headers.contains_key("tracestate"));
}

#[test]
fn a_consumer_refuses_another_event_and_takes_new_members() {
    let failed = OrderFailed::new(AT, order(), None, OrderFailure { code: "out_of_stock".into() });
    let text = serde_json::to_vec(&failed).unwrap();
    assert!(matches!(event::decode::<OrderCancelled>(&text), Err(DecodeError::Type { .. })));
    assert!(matches!(event::decode::<OrderConfirmed>(&text), Err(DecodeError::Shape(_))));
    let mut more = serde_json::to_value(&failed).unwrap();
    more["later"] = Value::from(1);
    assert_eq!(event::decode::<OrderFailed>(more.to_string().as_bytes()).unwrap(), failed);
}

#[test]
fn a_trace_id_is_taken_out_of_a_traceparent() {
    assert_eq!(trace_id(TRACEPARENT), "4bf92f3577b34da6a3ce929d0e0e4736");
    for bad in ["", "00", "00-xyz-1-01", "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01"] {
        assert_eq!(trace_id(bad), "");
    }
}
