//! Calls between hosts: wRPC over NATS, as wasmCloud v1 speaks it. Invariant: whoever calls learns what became of the call before its deadline,
//! and "may have acted" is never told as "did nothing".
//!
//! An entity is served under `LATTICE.ID`. A caller publishes the first bytes of its parameters to the subject of the function with an inbox
//! `I`; the callee answers on `I` with an inbox `J` of its own; further parameters go to `J.params`, results to `I.results`. An empty
//! message closes a channel. The protocol has no word for a failed callee, so ours adds one that others never see: it says why on
//! `I.results.1`, where a second result would be nested, and then closes `I.results`.

pub mod client;
pub mod codec;
pub mod server;

mod context;
mod exchange;
mod failure;

#[cfg(test)]
mod tests;

pub use client::NatsRemote;
pub use server::{Edges, ServeError, Server};

/// The interface under which `wasi:http/incoming-handler` is served: its resources have no form on the wire, so it has another shape there.
const HTTP_INSTANCE: &str = "wrpc:http/incoming-handler@0.1.0";

/// The function of [`HTTP_INSTANCE`].
const HTTP_FUNCTION: &str = "handle";

/// What subjects and queue groups of an entity begin with.
fn prefix(lattice: &str, id: &str) -> String {
    format!("{lattice}.{id}")
}
