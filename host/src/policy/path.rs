//! The name under which the state of a link is kept. Invariant: it says nothing about versions, so new code finds what the old has learned.

/// Which link: its ends and one of its interfaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path {
    /// Name of the caller.
    pub(crate) source: String,
    /// Name of the callee.
    pub(crate) target: String,
    /// `namespace:package/interface`.
    pub(crate) interface: String,
}

impl Path {
    pub(crate) fn new(source: &str, target: &str, interface: &str) -> Self {
        Self { source: source.to_owned(), target: target.to_owned(), interface: interface.to_owned() }
    }

    /// A name for one segment of a URL: none of its parts has a dot.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}.{}", self.source, self.target, self.interface.replace([':', '/'], "."))
    }
}
