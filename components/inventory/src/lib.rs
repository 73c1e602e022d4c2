//! Inventory: what is on sale, at which price, and how much of it is left.
//!
//! Two numbers belong to a sku. `on_hand` in PostgreSQL is what lies on the shelf: it changes only together with a movement that says why, and is
//! never negative. The counter `available_stock:<sku>` in Redis is what may still be sold: `on_hand` minus open reservations. The rules:
//!
//! * Nothing is sold that is not there: a reservation takes all its lines out of the counters in one script, or none.
//! * The counter is never too high for longer than a step takes. A step that adds stock writes PostgreSQL first; one that takes stock away holds it
//!   in Redis first. A crash in between leaves the counter too low at worst, and the hold lapses after 15 minutes. One exception: a confirmed order whose
//!   reservation has lapsed or was lost is taken from the shelf at once, and the counter hears of it one step later, at the latest when the event is
//!   redelivered. What is promised meanwhile and cannot be kept is the saga's case (`inventory.rejected.v1`).
//! * Whenever a counter's value would be in doubt it is forgotten, not guessed. A missing counter is worked out from PostgreSQL and the open
//!   reservations ([`refill`]), under a ticket that is lost as soon as anything happens that would make the result wrong.
//!   What went wrong nevertheless is found by comparing, while orders flow ([`drift`]).
//! * Every step is idempotent: reservations by order id, events by the inbox and by "one movement per order and sku", adjustments by key.
//! * An order's end (cancelled, failed, rejected) is final, whether its confirmation was heard before or comes later.
//!
//! Redis keys: `available_stock:<sku>` (integer), `product:<sku>` (JSON cache), `reservation:<id>` (hash; a closed marker for a day after its end),
//! `reservations:expiry` (sorted set, score = ms), `stock_refill:<sku>` (ticket of a refill that is under way), `stock_doubt:<sku>` (a counter that
//! was found wrong once), `stock_drift_cursor` (where comparing goes on).
//!
//! `guest.rs` joins this to the WIT world; everything else compiles and is tested natively.

pub mod catalog;
pub mod consume;
pub mod counters;
pub mod drift;
pub mod error;
pub mod model;
pub mod ports;
pub mod refill;
pub mod service;
pub mod store;
pub mod sweep;

#[cfg(test)]
mod fake;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(test)]
mod tests;
