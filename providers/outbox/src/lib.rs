//! The outbox relay: what a service committed to its outbox table reaches Kafka, at least once and in order per key.
//!
//! A service writes an event as a row in the transaction that makes it true. This crate reads rows that are not
//! published, sends them with the idempotent producer, and marks those that were acknowledged. Invariants:
//! - A row is marked only after its acknowledgement. A crash in between publishes it again: consumers keep an inbox of
//!   event ids.
//! - A row of a key is sent only when every earlier row of that key is acknowledged.
//! - One relay per table works at a time: it holds an advisory lock on the very connection that it reads and marks
//!   with. Others stand by.
//! - A row that can never be published blocks its own key only. It is counted, logged as an error with its event id,
//!   and tried again once a minute.
//!
//! Published rows are deleted by their service, not here.

mod blocked;
mod config;
mod error;
mod leader;
mod pace;
mod publish;
mod relay;
mod row;
mod table;
mod telemetry;

pub use config::Config;
pub use error::Error;
pub use relay::Relay;
