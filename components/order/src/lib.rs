//! Orders: from the request to a decided state, and back from there. Exports `swiftcart:order/orders`, `swiftcart:timer/handler` and, for
//! what inventory and payment say about confirmed orders, `swiftcart:kafka/handler`.
//!
//! A create is five steps (prices, intent, reservation, charge, outcome); a kill between any two leaves the order PENDING under a lease,
//! and either the same request (same idempotency key) or the sweep goes on from there. What this crate keeps true:
//!
//! - An order leaves PENDING once, in one statement with its event and the stored answer, and only by the holder of the latest lease.
//! - A CONFIRMED order is taken back once, by its buyer or by the saga, in one statement with its event and the refund it is owed.
//! - What an event does is written together with its inbox row.
//! - No transaction is open while another service is called.
//! - A run that cannot know what an earlier run did asks the payment service before it decides anything but success.
//! - A mail address is only ever written as a sealed box.
//!
//! Rooms: `model` (states, decisions), `ports` (what the use cases need), `service` (the use cases), `store` (SQL), `guest` (bindings).

pub mod error;
#[cfg(target_arch = "wasm32")]
mod guest;
pub mod model;
pub mod ports;
pub mod service;
pub mod store;
