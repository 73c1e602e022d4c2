//! Which component, in which version, does something: for logs, metrics and dead letters.

/// Who a guest is, for logs and dead letters.
#[derive(Debug)]
pub struct Identity {
    /// The component's name in the manifest.
    pub name: String,
    /// `sha256:<hex>` of its bytes.
    pub digest: String,
}
