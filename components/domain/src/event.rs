//! The events that services publish and consume, as JSON. Invariant: the order of the members is the seed document's, the wire form is
//! kept by golden files, and no event holds anything about a person but the user id.
//!
//! A reader takes no offence at members that it does not know, so that a producer may add some.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids;
use crate::money::Currency;
use crate::time;

/// What each event type is called, where it goes, and who sends it.
pub trait Event: Serialize + DeserializeOwned {
    /// The member `eventType`.
    const TYPE: EventType;
    /// The Kafka topic.
    const TOPIC: &'static str;
    /// The CloudEvents source.
    const SOURCE: &'static str;

    /// Its id: one per order and type, and for those of refunds one per refund that the PSP has an id for.
    fn event_id(&self) -> Uuid;
    /// RFC 3339.
    fn occurred_at(&self) -> &str;
    /// The order that it is about: the Kafka key.
    fn order_id(&self) -> Uuid;
    /// What the document says about its type.
    fn event_type(&self) -> EventType;
}

/// The member `eventType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    /// An order was paid for.
    OrderConfirmed,
    /// An order came to nothing.
    OrderFailed,
    /// The buyer took a confirmed order back.
    OrderCancelled,
    /// The PSP charged.
    PaymentSucceeded,
    /// The PSP did not charge and will not.
    PaymentFailed,
    /// The PSP gave the money back.
    PaymentRefunded,
    /// The PSP will not give the money back, or what it gave has come back.
    PaymentRefundFailed,
    /// Inventory cannot honour a confirmed order.
    InventoryRejected,
}

impl EventType {
    /// Its text on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrderConfirmed => "OrderConfirmed",
            Self::OrderFailed => "OrderFailed",
            Self::OrderCancelled => "OrderCancelled",
            Self::PaymentSucceeded => "PaymentSucceeded",
            Self::PaymentFailed => "PaymentFailed",
            Self::PaymentRefunded => "PaymentRefunded",
            Self::PaymentRefundFailed => "PaymentRefundFailed",
            Self::InventoryRejected => "InventoryRejected",
        }
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// The product.
    pub sku: String,
    /// How many.
    pub qty: u32,
    /// Minor units.
    pub unit_price: u64,
}

/// The order that an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// UUIDv7.
    pub order_id: Uuid,
    /// The buyer.
    pub user_id: Uuid,
    /// The lines, in the order of the request.
    pub items: Vec<Item>,
    /// Minor units.
    pub total_amount: u64,
    /// ISO 4217.
    pub currency: Currency,
}

/// What became of a payment. A later refund does not rewrite it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Charged.
    Succeeded,
    /// Not charged.
    Failed,
}

/// The payment of an order, in an order's event. It is there if and only if the PSP gave a payment id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderPayment {
    /// `stripe`.
    pub provider: String,
    /// The PSP's id.
    pub payment_id: String,
    /// What became of it.
    pub status: PaymentStatus,
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderFailure {
    /// snake_case, for example `out_of_stock`.
    pub code: String,
}

/// `orders.confirmed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderConfirmed {
    /// One per order.
    pub event_id: Uuid,
    /// Always `OrderConfirmed`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order: Order,
    /// How it was paid.
    pub payment: OrderPayment,
}

/// `orders.failed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderFailed {
    /// One per order.
    pub event_id: Uuid,
    /// Always `OrderFailed`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order: Order,
    /// The payment that was tried, if the PSP gave it an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<OrderPayment>,
    /// Why.
    pub failure: OrderFailure,
}

/// `orders.cancelled.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// One per order.
    pub event_id: Uuid,
    /// Always `OrderCancelled`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order: Order,
    /// How it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<OrderPayment>,
}

/// A payment, in a payment's event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    /// `stripe`.
    pub provider: String,
    /// The PSP's id.
    pub payment_id: String,
    /// What became of it.
    pub status: PaymentStatus,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Currency,
    /// The PSP's reason for a decline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decline_code: Option<String>,
}

/// A refund.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    /// The PSP's id.
    pub refund_id: String,
    /// Minor units.
    pub amount: u64,
}

/// A refund that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedRefund {
    /// The PSP's id, if it ever made one of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<String>,
    /// What is still owed, in minor units.
    pub amount: u64,
    /// For people.
    pub reason: String,
}

/// `payments.succeeded.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentSucceeded {
    /// One per order.
    pub event_id: Uuid,
    /// Always `PaymentSucceeded`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order_id: Uuid,
    /// What was charged.
    pub payment: Payment,
}

/// `payments.failed.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentFailed {
    /// One per order.
    pub event_id: Uuid,
    /// Always `PaymentFailed`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order_id: Uuid,
    /// What was not charged, if the PSP gave it an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<Payment>,
}

/// `payments.refunded.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefunded {
    /// One per order.
    pub event_id: Uuid,
    /// Always `PaymentRefunded`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order_id: Uuid,
    /// What had been charged.
    pub payment: Payment,
    /// What was given back.
    pub refund: Refund,
}

/// `payments.refund-failed.v1`: somebody has to give the money back by hand. A [`PaymentRefunded`] tells if that happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefundFailed {
    /// One per refund.
    pub event_id: Uuid,
    /// Always `PaymentRefundFailed`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order_id: Uuid,
    /// What had been charged.
    pub payment: Payment,
    /// What was not given back.
    pub refund: FailedRefund,
}

/// One line that inventory cannot honour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shortage {
    /// The product.
    pub sku: String,
    /// How many were ordered.
    pub requested: u32,
    /// How many there are.
    pub available: u64,
}

/// `inventory.rejected.v1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryRejected {
    /// One per order.
    pub event_id: Uuid,
    /// Always `InventoryRejected`.
    pub event_type: EventType,
    /// RFC 3339, UTC.
    pub occurred_at: String,
    /// The order.
    pub order_id: Uuid,
    /// The lines that are short.
    pub lines: Vec<Shortage>,
}

macro_rules! event {
    ($name:ident, $topic:literal, $source:literal, |$this:ident| $order_id:expr, { $($field:ident: $type:ty),* }, order: $of:expr) => {
        impl Event for $name {
            const TYPE: EventType = EventType::$name;
            const TOPIC: &'static str = $topic;
            const SOURCE: &'static str = $source;

            fn event_id(&self) -> Uuid {
                self.event_id
            }
            fn occurred_at(&self) -> &str {
                &self.occurred_at
            }
            fn order_id(&self) -> Uuid {
                let $this = self;
                $order_id
            }
            fn event_type(&self) -> EventType {
                self.event_type
            }
        }

        impl $name {
            /// A new event; `occurred_at_micros` counts from 1970-01-01T00:00:00Z.
            #[must_use]
            pub fn new(occurred_at_micros: i64, $($field: $type),*) -> Self {
                Self {
                    event_id: ids::event_id(&$of, EventType::$name.as_str()),
                    event_type: EventType::$name,
                    occurred_at: time::to_rfc3339(occurred_at_micros),
                    $($field),*
                }
            }
        }
    };
}

event!(OrderConfirmed, "orders.confirmed.v1", "/swiftcart/order", |it| it.order.order_id,
    { order: Order, payment: OrderPayment }, order: order.order_id);
event!(OrderFailed, "orders.failed.v1", "/swiftcart/order", |it| it.order.order_id,
    { order: Order, payment: Option<OrderPayment>, failure: OrderFailure }, order: order.order_id);
event!(OrderCancelled, "orders.cancelled.v1", "/swiftcart/order", |it| it.order.order_id,
    { order: Order, payment: Option<OrderPayment> }, order: order.order_id);
event!(PaymentSucceeded, "payments.succeeded.v1", "/swiftcart/payment", |it| it.order_id,
    { order_id: Uuid, payment: Payment }, order: order_id);
event!(PaymentFailed, "payments.failed.v1", "/swiftcart/payment", |it| it.order_id,
    { order_id: Uuid, payment: Option<Payment> }, order: order_id);
event!(PaymentRefunded, "payments.refunded.v1", "/swiftcart/payment", |it| it.order_id,
    { order_id: Uuid, payment: Payment, refund: Refund }, order: order_id);
event!(PaymentRefundFailed, "payments.refund-failed.v1", "/swiftcart/payment", |it| it.order_id,
    { order_id: Uuid, payment: Payment, refund: FailedRefund }, order: order_id);
event!(InventoryRejected, "inventory.rejected.v1", "/swiftcart/inventory", |it| it.order_id,
    { order_id: Uuid, lines: Vec<Shortage> }, order: order_id);

/// Why a message is not the event that a consumer wants.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON of this event.
    #[error("not the JSON of the event: {0}")]
    Shape(#[from] serde_json::Error),
    /// Another event's JSON.
    #[error("eventType is {}, wanted {}", found.as_str(), wanted.as_str())]
    Type {
        /// What it says.
        found: EventType,
        /// What was wanted.
        wanted: EventType,
    },
}

/// Reads an event from a message's payload.
///
/// # Errors
/// When it is not that event's JSON: trying again will not help.
pub fn decode<E: Event>(payload: &[u8]) -> Result<E, DecodeError> {
    let event: E = serde_json::from_slice(payload)?;
    if event.event_type() == E::TYPE {
        Ok(event)
    } else {
        Err(DecodeError::Type { found: event.event_type(), wanted: E::TYPE })
    }
}
