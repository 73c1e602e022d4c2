//! Runs components: fetch and verify, compile once, instantiate within limits, call. Knows nothing of links or capabilities.

pub mod artifact;
pub mod call;
pub mod component;
pub mod crash_point;
mod disk;
pub mod engine;
pub mod guest;
pub mod identity;
pub mod measure;
pub mod output;
pub mod pool;
pub mod registry;
pub mod slice;
pub mod trace;

pub use artifact::{Artifact, ArtifactError, ArtifactOptions, Artifacts};
pub use call::{CallContext, CallError};
pub use component::{Component, Slot};
pub use crash_point::Chain;
pub use engine::Engine;
pub use guest::Guest;
pub use pool::Lease;
pub use registry::{Credentials as RegistryCredentials, Registry, RegistryError, RegistryOptions};
pub use trace::TraceContext;
