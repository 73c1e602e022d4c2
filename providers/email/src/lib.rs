//! E-mail for components: one plain text mail per call, handed to one SMTP server.
//!
//! Invariants:
//! * `Invalid`, `Rejected` and `Unavailable` mean that the mail was not sent. Once its text is on the way and no answer comes, it is `Uncertain`.
//! * A mail's text is sent at most once per call; only what goes before it is tried again, when a kept connection turns out to be dead.
//! * The sender is the link's. No text of the caller can add a header, a recipient or an SMTP command.
//!
//! This crate knows neither WIT nor WebAssembly.

mod compose;
mod config;
mod connection;
mod error;
mod limits;
mod mailer;

pub use compose::{Header, Mail};
pub use config::{Config, ConfigError};
pub use error::Error;
pub use mailer::Mailer;
