//! Payment: charges a buyer through the PSP, once per order whatever happens, and knows afterwards what became of it.
//!
//! A charge is a row, then the PSP, then the outcome with its event. Invariants:
//!
//! * The row is written before the PSP is asked, and the PSP is asked under an idempotency key that is derived from the order id. So asking again,
//!   after a crash or by anybody else, is safe and is how the outcome is read back.
//! * Decided is decided: the row's outcome is written once, with its event in the same statement, and every later call answers from it.
//! * `unavailable` means: surely not charged, and the row bars any later charge. Where that is not sure the answer is `unknown`, and `settle` finds out.
//!
//! `psp.rs` speaks Stripe's protocol, `guest.rs` joins all to the WIT world; everything but `guest.rs` compiles and is tested natively.

pub mod endpoint;
pub mod error;
pub mod model;
pub mod ports;
pub mod psp;
pub mod service;
pub mod store;

#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(test)]
mod tests;
