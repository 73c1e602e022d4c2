//! Redis: atomic Lua scripts.
//!
//! Invariant: a script travels with the component that runs it, and touches only the keys that it is given or documents.

pub use crate::bindings::swiftcart::redis::scripts::{Error, Item, Script};

/// The one Redis that a component's link grants.
pub trait Scripts {
    /// Runs a script atomically. A reply that is no list is a list of one item.
    ///
    /// # Errors
    /// See [`Error`]: only after [`Error::Uncertain`] is it unknown whether the script ran.
    fn run(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Vec<Item>, Error>;
}

impl<S: Scripts + ?Sized> Scripts for &S {
    fn run(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Vec<Item>, Error> {
        (**self).run(script, keys, arguments)
    }
}

/// The Redis behind the component's link; only inside a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linked;

impl Scripts for Linked {
    fn run(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Vec<Item>, Error> {
        crate::bindings::swiftcart::redis::scripts::run(script, keys, arguments)
    }
}

/// A script with its short name for metrics and logs.
pub fn script(name: &str, source: &str) -> Script {
    Script { name: name.to_owned(), source: source.to_owned() }
}
