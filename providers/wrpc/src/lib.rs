//! The provider libraries as programs of their own, for any lattice of wasmCloud v1: what the host does in-process for a built-in
//! capability, a program does here over wRPC. A program translates between WIT values and a library; what it does to the outside is the
//! library's business.
//!
//! Invariants:
//! * A call is served with the settings of the link of the component that makes it, and of no other.
//! * Whatever the lattice sends can neither stop a program nor make it print a secret; only a shutdown ends it.
//! * Every task has an owner, and ends before the program does.

mod bindings;
mod email;
mod http;
mod kafka;
mod limits;
mod postgres;
mod redis;
mod runtime;

pub use runtime::{Program, run};

/// The programs by their technology.
pub mod programs {
    pub use crate::email::Email;
    pub use crate::http::Http;
    pub use crate::kafka::Kafka;
    pub use crate::postgres::Postgres;
    pub use crate::redis::Redis;
}
