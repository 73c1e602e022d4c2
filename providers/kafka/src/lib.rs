//! Kafka as plain async Rust: the one place of the repository that speaks to a broker. It knows no WIT and no service.
//!
//! What it promises:
//! - **Published means acknowledged.** [`Producer::send_all`] reports a record as sent only after all in-sync replicas
//!   have it; the producer is idempotent, so that its own retries neither double nor reorder records.
//! - **Nothing is lost.** [`Consumer`] commits an offset only when that message and every earlier one of its partition
//!   are handled or safely among the dead letters. Delivery is at least once: handlers keep an inbox of event ids.
//! - **Order per key.** Messages of one key are handled one after the other, also while one of them is being tried
//!   again; other keys go on meanwhile.
//!
//! Pure decisions live apart from the wire, with tests that need no broker: `lanes` (who may run), `watermark`
//! (what may be committed), `backoff` (when to try again), [`dead_letter`] (what is buried and how). `dispatcher` joins
//! them; `poller` is the only file that touches a consumer of librdkafka.

mod assignment;
mod backoff;
mod config;
mod connection;
mod consumer;
mod context;
pub mod dead_letter;
mod delivery;
mod dispatcher;
mod error;
mod lanes;
mod message;
mod poller;
mod producer;
mod served;
mod status;
pub mod step;
mod telemetry;
mod throttle;
mod topics;
mod watch;
mod watermark;

pub use config::{ConsumerConfig, ProducerConfig};
pub use connection::{Connection, read_pairs, take_keys};
pub use consumer::Consumer;
pub use error::{ConfigError, Error, ProduceError};
pub use message::{Failure, Handler, Header, Message, Record};
pub use producer::Producer;
pub use status::Status;
pub use topics::ensure_topics;
