//! The edge and the client against real sockets: a real issuer of keys, raw HTTP on the wire, real TLS. Waiting is always for
//! a condition; the only times in here are the short limits under test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]
#![allow(missing_docs, unreachable_pub, reason = "tests")]

mod framing;
mod issuer;
mod lifecycle;
mod limits;
mod outgoing;
mod support;
mod tls;
mod token;
mod wire;
