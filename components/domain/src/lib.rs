//! The vocabulary of the shop: money, ids, skus, events, time, and the sealed box for mail addresses.
//!
//! Invariant: everything here is pure. No I/O, no clock, no source of randomness: time and entropy are arguments. A service may
//! import this crate; this crate imports no service and no capability.
//!
//! The wire form of every event is kept by golden files in `tests/golden/events`.

pub mod event;
pub mod ids;
pub mod money;
pub mod outbox;
pub mod seal;
pub mod sku;
pub mod time;
