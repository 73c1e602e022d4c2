//! The shop's HTTP API: routes, shapes, and problem documents. Exports `wasi:http/incoming-handler`; calls `swiftcart:order/orders`,
//! `swiftcart:inventory/catalog` and `swiftcart:payment/webhooks`.
//!
//! What this crate keeps true:
//! - Nothing but HTTP: no prices, no states, no rules of orders. What passes here has the right shape, and its caller the right scope.
//! - Every error is an RFC 9457 document of a type that is listed in [`problem::Kind`].
//! - The same answer from below gives the same bytes, so that a replay is byte-identical.
//!
//! Rooms: `model` (what crosses the ports), `ports`, `http` (request and response), `json` (strict reading), `problem`, `route`,
//! `service` (one function per route), `render` (bodies), `guest` (bindings).

pub mod error;
#[cfg(target_arch = "wasm32")]
mod guest;
pub mod http;
pub mod json;
pub mod model;
pub mod ports;
pub mod problem;
pub mod render;
pub mod route;
pub mod service;
