//! The W3C trace context of the call that is being served, to be carried on in events.
//!
//! Invariant: reading it needs no link and gives no power over anything.

pub use crate::bindings::swiftcart::trace::context::TraceContext;

/// Where the trace context comes from; a port so that services are tested natively.
pub trait TraceSource {
    /// The context of the call that is being served.
    fn current(&self) -> TraceContext;
}

impl<T: TraceSource + ?Sized> TraceSource for &T {
    fn current(&self) -> TraceContext {
        (**self).current()
    }
}

/// The host's context; only inside a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linked;

impl TraceSource for Linked {
    fn current(&self) -> TraceContext {
        current()
    }
}

/// The context of the call that is being served; only inside a component.
#[must_use]
pub fn current() -> TraceContext {
    crate::bindings::swiftcart::trace::context::current()
}
