//! Everything outside the product that a shop needs, started for real on this machine without Docker: servers, simulators, the host.
//! Invariant: nothing listens beyond 127.0.0.1, no port is fixed, and only processes that were started here are ever stopped here.
//!
//! `tools` finds or installs programs, `service` runs one of them each, `shop` puts them together with the host, `client` talks to the shop,
//! `lattice` and `wash` to a lattice.

pub mod client;
mod eventually;
pub mod lattice;
mod place;
mod process;
pub mod service;
pub mod shop;
pub mod tools;
pub mod wash;

pub use eventually::eventually;
pub use place::Place;
pub use process::{Lifetime, ProcessId, StopSignal};
