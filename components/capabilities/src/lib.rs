//! The host's capabilities as the services see them: typed ports over the WIT imports `swiftcart:{postgres,redis,email,trace,policy}`.
//!
//! Invariant: a service names a port trait ([`postgres::Database`], [`redis::Scripts`], [`email::Mailer`], [`trace::TraceSource`]) and never the
//! bindings, so that everything but its `guest.rs` compiles and is tested natively. The `Linked` type of each module is the real thing: it exists
//! on every target but answers only inside a component. What a component does not call does not become one of its imports.

mod bindings;
pub mod email;
pub mod http;
pub mod kafka;
pub mod policy;
pub mod postgres;
pub mod redis;
pub mod trace;
