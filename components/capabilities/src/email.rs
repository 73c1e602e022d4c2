//! E-mail: one plain text mail per call.
//!
//! Invariant: the sender address is the link's; a component cannot choose it.

pub use crate::bindings::swiftcart::email::sender::{Error, Header, Message};

/// The mail server that a component's link grants.
pub trait Mailer {
    /// Hands one mail to the server. `Ok` means that the server took responsibility for it.
    ///
    /// # Errors
    /// See [`Error`]: only after [`Error::Uncertain`] is it unknown whether the mail was sent.
    fn send(&self, message: &Message) -> Result<(), Error>;
}

impl<M: Mailer + ?Sized> Mailer for &M {
    fn send(&self, message: &Message) -> Result<(), Error> {
        (**self).send(message)
    }
}

/// The mail server behind the component's link; only inside a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linked;

impl Mailer for Linked {
    fn send(&self, message: &Message) -> Result<(), Error> {
        crate::bindings::swiftcart::email::sender::send(message)
    }
}
