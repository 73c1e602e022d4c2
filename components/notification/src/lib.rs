//! Notification: writes to the buyer when an order was confirmed, when it failed after the buyer had been told to wait or to be happy, and
//! when it was cancelled.
//!
//! Invariants: one mail per order and kind; its Message-ID is worked out from both, so that a mail that had to be handed over twice (the process died
//! between the mail server's yes and our row) can be seen as one. The buyer's address comes as a sealed box in a header of the event, is opened only
//! to send the mail, and is never stored, logged or part of an error.
//!
//! `guest.rs` joins this to the WIT world; everything else compiles and is tested natively.

pub mod error;
pub mod model;
pub mod ports;
pub mod service;
pub mod store;

#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(test)]
mod tests;
