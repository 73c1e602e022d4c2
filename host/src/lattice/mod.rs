//! The wasmCloud v1 control plane.

pub mod provider;
