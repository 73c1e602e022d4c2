//! The wasmCloud v1 control plane: what makes this host a member of a lattice.

pub mod rpc;
