//! Redis for components: atomic scripts (`wit/redis`) and plain keys (`wasi:keyvalue`).
//!
//! Invariants:
//! * `Unavailable` and `Invalid` (unless a script raised it half way) mean that nothing happened; if a command that changes something may
//!   have reached the server and no answer came, it is `Uncertain`.
//! * Nothing that changes data is ever sent twice.
//! * One connection carries all calls at once; a broken one is replaced by the next call that needs it.
//!
//! This crate knows neither WIT nor WebAssembly.

mod client;
mod config;
mod connection;
mod error;
mod keys;
mod limits;
mod reply;
mod script;

pub use client::Redis;
pub use config::{Config, ConfigError};
pub use error::Error;
pub use keys::KeyPage;
pub use reply::Item;
pub use script::Script;
