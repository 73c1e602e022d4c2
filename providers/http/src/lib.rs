//! The HTTP provider: what comes in from the world and what goes out to it.
//!
//! [`Server`] is the edge. It hands a [`Handler`] only requests that are complete, within every cap, within their
//! rate, and whose token (if the path needs one) was verified; everything else is answered here with a problem
//! document (RFC 9457). The order of the checks, and why each stands at its height, is in `stack.rs`.
//!
//! [`Client`] is the only way out. It reaches the hosts of its allow-list and no other, and its errors say whether the
//! request may have reached the other side.
//!
//! Invariants:
//! - a handler never sees an `authorization` header, nor an `x-token-*` header that was not written here;
//! - a path that is not listed as public is never reached without a verified token;
//! - no token, query or claim is written to a log or a metric.

mod access_log;
mod answer;
mod body;
mod client;
mod config;
mod connection;
mod connector;
mod edge_body;
mod erased;
mod error;
mod hop_by_hop;
mod identity;
mod jwks;
mod key_set;
mod known_tokens;
mod outliving;
mod patience;
mod problem;
mod public_path;
mod rate_limit;
mod server;
mod shape;
mod stack;
mod tls;
mod token;
mod trace;
mod watched;

pub use answer::{Handler, HandlerError};
pub use client::{Client, TimedBody, Timeouts};
pub use config::{ClientConfig, ServerConfig};
pub use erased::{BoxError, ResponseBody};
pub use error::{ClientError, ConfigError, Error, Phase};
pub use outliving::Outliving;
pub use problem::Problem;
pub use public_path::PublicPath;
pub use server::Server;
