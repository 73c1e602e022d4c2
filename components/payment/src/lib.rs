//! Payment: charges a buyer through the PSP, once per order whatever happens, knows afterwards what became of it, and gives the money back once when
//! the order comes to nothing.
//!
//! A charge is a row, then the PSP, then the outcome with its event. Invariants:
//!
//! * The row is written before the PSP is asked, and the PSP is asked under an idempotency key that is derived from the order id. So asking again,
//!   after a crash or by anybody else, is safe and is how the outcome is read back.
//! * Decided is decided: the row's outcome is written once, with its event in the same statement, and every later call answers from it.
//! * A refund is a row too, written with the inbox row of the event that wants it. One row per order, so it is given back once whoever asks.
//! * `unavailable` means: surely not charged, and the row bars any later charge. Where that is not sure the answer is `unknown`, and `settle` finds out.
//!
//! `psp.rs` speaks Stripe's protocol, `signature.rs` checks what Stripe sends by itself, `guest.rs` joins all to the WIT world; everything but `guest.rs` compiles and is tested natively.

pub mod endpoint;
pub mod error;
pub mod model;
pub mod ports;
pub mod psp;
pub mod refund;
pub mod service;
pub mod signature;
pub mod store;

#[cfg(test)]
mod fake;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(test)]
mod tests;
