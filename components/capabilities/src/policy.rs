//! What the policies of a component's own links would do with a call.
//!
//! Invariant: asking needs no link, counts as no call and promises nothing.

/// Whether the breaker of the link for this interface (`namespace:package/interface`) refuses calls now; only inside a component.
#[must_use]
pub fn refuses(interface: &str) -> bool {
    crate::bindings::swiftcart::policy::links::refuses(interface)
}
