//! SwiftCart's host: runs any WebAssembly component of a wadm application manifest, with capabilities in the process.
//!
//! The host knows components as bytes and WIT; no name of a service occurs in it. Layers, from the top: `app` puts everything together;
//! `capability` adapts WIT to the provider libraries; `link` decides where an import leads; `policy` what happens on the way; `runtime` runs components; `manifest` is pure.

pub mod app;
pub mod capability;
pub mod config;
pub mod dead_letters;
pub mod health;
pub mod lattice;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod policy;
pub mod runtime;
pub mod shutdown;
pub mod telemetry;
pub mod workload;
