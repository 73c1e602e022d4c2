//! The programs as a host meets them: started with a line of data, linked, asked, given other settings, called over wRPC by the stock client, ended.
//! Servers are real: NATS, PostgreSQL, Redis, Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

#[path = "../../src/bindings.rs"]
mod bindings;
mod consumer;
mod database;
mod edge;
mod keyvalue;
mod stage;
