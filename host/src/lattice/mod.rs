//! The host as a member of a wasmCloud v1 lattice: the control plane that drives it, calls to and from other hosts, and providers that are
//! processes of their own.

pub mod provider;
pub mod rpc;
