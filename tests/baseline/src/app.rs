//! Everything that requests and events work on.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use swiftcart_domain::seal::{PublicKey, SecretKey};
use swiftcart_provider_email::Mailer;

use crate::psp::Psp;
use crate::stock::Stock;
use crate::store::{Databases, Store};

/// The whole service.
pub(crate) struct App {
    /// The writes that the benchmark compares.
    pub(crate) store: Arc<dyn Store>,
    /// Everything else in the databases.
    pub(crate) databases: Databases,
    pub(crate) stock: Stock,
    pub(crate) psp: Psp,
    pub(crate) mailer: Mailer,
    /// Whom mail addresses are sealed for, and who opens them.
    pub(crate) seal_public_key: PublicKey,
    pub(crate) seal_secret_key: SecretKey,
}

/// Microseconds since 1970-01-01T00:00:00Z.
pub(crate) fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
