//! Crash points, for tests: the host can be told to die or to fail at the n-th effect of a call. An effect is one call of a capability or of
//! another component; effects are numbered over the whole chain that one request, message or tick sets off.
//!
//! Invariant: without the feature `crash-points` (the released host never has it) everything here is of no size and does nothing.

#[cfg(not(feature = "crash-points"))]
mod absent;
#[cfg(any(test, feature = "crash-points"))]
pub mod armed;

#[cfg(not(feature = "crash-points"))]
pub use absent::{Chain, Point, announce};
#[cfg(feature = "crash-points")]
pub use armed::{Chain, Point, announce};
