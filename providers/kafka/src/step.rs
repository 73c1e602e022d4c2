//! Steps, for tests: what a consumer or a relay does by itself, when nobody asked for it. A host for tests can strike before and after each of them,
//! as it can at the effects of a call.
//!
//! Invariant: without the feature `crash-points` (no released program has it) everything here is of no size and does nothing.

#[cfg(not(feature = "crash-points"))]
mod absent;
#[cfg(feature = "crash-points")]
mod armed;

#[cfg(not(feature = "crash-points"))]
pub use absent::{Step, Steps};
#[cfg(feature = "crash-points")]
pub use armed::{Moment, Step, Steps, Strike, Watched, Watcher, watch_with};
