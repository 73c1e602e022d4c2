//! What the systems say, as plain values. Invariant: nothing here is judged or joined; an id is its text as the system gives it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Everything that was read.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The clock of the orders database when reading began, in microseconds since 1970.
    pub taken_at: i64,
    /// Orders by id, as they were when reading began.
    pub orders: BTreeMap<String, Order>,
    /// Orders that existed when reading ended: whatever was read meanwhile can only be about one of them.
    pub known: BTreeSet<String>,
    /// Orders that changed while the rest was read.
    pub moving: BTreeSet<String>,
    /// Idempotency keys.
    pub keys: Vec<Key>,
    /// The shop's own rows about charges, by order.
    pub payments: BTreeMap<String, Payment>,
    /// The PSP's books; `None` when it keeps none that we can read.
    pub ledger: Option<Ledger>,
    /// What lies on the shelf.
    pub stock: Vec<Stock>,
    /// Why.
    pub movements: Vec<Movement>,
    /// Which mails the shop noted.
    pub noted_mails: Vec<NotedMail>,
    /// Which mails arrived; `None` when there is no inbox to read.
    pub mailbox: Option<Vec<Mail>>,
    /// What is in the topics.
    pub events: Vec<Event>,
    /// For each topic that has lost its oldest messages: the time of the oldest that is left, in microseconds since 1970.
    pub forgotten_before: BTreeMap<String, i64>,
    /// Committed events that no topic has yet.
    pub unpublished: Vec<Unpublished>,
    /// What consumers have still to do.
    pub lags: Vec<Lag>,
    /// Messages in dead letter topics.
    pub dead_letters: BTreeMap<String, usize>,
    /// What clients were told.
    pub answers: Vec<Answer>,
}

/// An order's row with its lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// PENDING, CONFIRMED, FAILED or CANCELLED.
    pub state: String,
    /// Grows with every change that the buyer sees.
    pub version: i64,
    /// ISO 4217.
    pub currency: String,
    /// Minor units.
    pub total_amount: i64,
    /// When it last changed its state, in microseconds since 1970; of a PENDING order its creation.
    pub changed_at: i64,
    /// request, sweep or saga.
    pub decided_by: Option<String>,
    /// Why it failed.
    pub failure_code: Option<String>,
    /// The PSP's id of the payment.
    pub payment_id: Option<String>,
    /// pending, succeeded or failed.
    pub refund_state: Option<String>,
    /// Minor units.
    pub refund_amount: Option<i64>,
    /// Quantity by sku.
    pub lines: BTreeMap<String, i64>,
}

impl Order {
    /// Whether it was CONFIRMED at any time.
    #[must_use]
    pub fn was_confirmed(&self) -> bool {
        matches!(self.state.as_str(), "CONFIRMED" | "CANCELLED") || self.was_rejected()
    }

    /// Whether inventory took the confirmation back.
    #[must_use]
    pub fn was_rejected(&self) -> bool {
        self.failure_code.as_deref() == Some("out_of_stock_after_payment")
    }
}

/// A row of an idempotency key.
#[derive(Clone, Debug, Default)]
pub struct Key {
    /// The key.
    pub key: String,
    /// The order that it made.
    pub order_id: String,
    /// Whether the answer is stored.
    pub decided: bool,
}

/// The shop's row about a charge.
#[derive(Clone, Debug, Default)]
pub struct Payment {
    /// started, unknown, succeeded, declined or unavailable.
    pub state: String,
    /// Minor units; `None` in a tombstone, which was written before any request came.
    pub amount: Option<i64>,
    /// The PSP's id.
    pub payment_id: Option<String>,
    /// Its last change, in microseconds since 1970.
    pub changed_at: i64,
}

/// The PSP's books.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Payment intents that succeeded.
    pub charges: Vec<Charge>,
    /// Refunds that succeeded.
    pub refunds: Vec<Refund>,
}

/// Money that was taken.
#[derive(Clone, Debug, Default)]
pub struct Charge {
    /// The PSP's id of the payment.
    pub payment_id: String,
    /// The order that the shop named; `None` is a charge that nobody can explain.
    pub order_id: Option<String>,
    /// Minor units.
    pub amount: i64,
    /// Three capitals.
    pub currency: String,
}

/// Money that was given back.
#[derive(Clone, Debug, Default)]
pub struct Refund {
    /// The PSP's id.
    pub refund_id: String,
    /// Of which payment.
    pub payment_id: String,
    /// Minor units.
    pub amount: i64,
}

/// Stock of one sku: what the database has, and what Redis counts.
#[derive(Clone, Debug, Default)]
pub struct Stock {
    /// The product.
    pub sku: String,
    /// What the database says is on the shelf.
    pub on_hand: i64,
    /// What all movements add up to, read in the same statement.
    pub moved: i64,
    /// The counter compared with the shelf; several times where it did not agree at once, because stock moves while it is read.
    pub counted: Vec<Counted>,
}

/// One look at a counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// `available_stock:<sku>`; `None` when Redis does not have it (it is worked out when it is needed next).
    pub counter: Option<i64>,
    /// Held by reservations that no movement has taken out yet.
    pub reserved: i64,
    /// The shelf at that moment.
    pub on_hand: i64,
}

impl Counted {
    /// By how much the counter is wrong.
    #[must_use]
    pub fn drift(&self) -> i64 {
        self.counter.map_or(0, |counter| counter - (self.on_hand - self.reserved))
    }
}

/// A movement of stock for an order.
#[derive(Clone, Debug, Default)]
pub struct Movement {
    /// The product.
    pub sku: String,
    /// confirmed or return.
    pub kind: String,
    /// Signed.
    pub delta: i64,
    /// The order.
    pub order_id: String,
}

/// The shop's row about a mail.
#[derive(Clone, Debug, Default)]
pub struct NotedMail {
    /// The order.
    pub order_id: String,
    /// order_confirmed, order_failed or order_cancelled.
    pub kind: String,
    /// sending, sent, refused or unaddressed.
    pub state: String,
    /// Its Message-ID.
    pub message_id: String,
}

/// A mail in the inbox.
#[derive(Clone, Debug, Default)]
pub struct Mail {
    /// The order that it is about.
    pub order_id: String,
    /// What it tells.
    pub kind: String,
    /// Its Message-ID.
    pub message_id: String,
}

/// A message of a topic.
#[derive(Clone, Debug, Default)]
pub struct Event {
    /// Where it is.
    pub topic: String,
    /// The Kafka key.
    pub order_id: String,
    /// The member `eventId`; empty when the message is no event.
    pub event_id: String,
}

/// A row of an outbox that is not published.
#[derive(Clone, Debug, Default)]
pub struct Unpublished {
    /// Whose outbox.
    pub database: String,
    /// Its event.
    pub event_id: String,
    /// Where it will go.
    pub topic: String,
    /// When it was committed, in microseconds since 1970.
    pub created_at: i64,
}

/// How far a consumer group is behind in a topic.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Messages.
    pub messages: i64,
}

/// What a client was told about a create: the last answer with this status.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The order in the answer.
    pub order_id: String,
    /// Whose key it was, and which: two answers with the same must name the same order.
    #[serde(default)]
    pub user: String,
    /// The idempotency key.
    #[serde(default)]
    pub key: String,
}

/// What is judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// Only what has been as it is for so many seconds: on a live shop, effects of a younger change may be on their way.
    pub settled_seconds: u32,
}
