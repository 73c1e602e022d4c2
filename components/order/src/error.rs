//! What can go wrong, as closed enums: one for each use case and one for each port. Invariant: a case says whether trying again may help
//! and whether something may have been written.

use swiftcart_capabilities::kafka;
use uuid::Uuid;

use crate::model::Order;

/// Why an order was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// These skus do not exist.
    #[error("unknown skus: {0:?}")]
    UnknownSku(Vec<String>),
    /// These skus are sold in another currency.
    #[error("other currency: {0:?}")]
    CurrencyMismatch(Vec<String>),
    /// The total is outside what may be charged.
    #[error("amount out of range")]
    AmountOutOfRange,
    /// The idempotency key was used with another request.
    #[error("idempotency key reused")]
    KeyReused,
    /// The first request with this key still runs; ask again after this many seconds.
    #[error("idempotency key in flight, {0} s")]
    KeyInFlight(u32),
    /// Surely not charged, and the key is free. The id is there if an order was written: it has failed.
    #[error("payment unavailable, order {0:?}")]
    PaymentUnavailable(Option<Uuid>),
    /// A store or service cannot be reached; the same request with the same key may be tried again. The id is there if the order was written.
    #[error("unavailable, order {0:?}")]
    Unavailable(Option<Uuid>),
    /// Our own bug or a wrong setting; the text is for the log.
    #[error("internal: {0}")]
    Internal(String),
}

/// Why a question about orders has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// No such order, or another user's.
    #[error("not found")]
    NotFound,
    /// The cursor is none of ours.
    #[error("bad cursor")]
    BadCursor,
    /// The database cannot be reached.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// Our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

/// Why an order was not cancelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// No such order, or another user's.
    #[error("not found")]
    NotFound,
    /// It is PENDING; ask again after this many seconds.
    #[error("not settled, {0} s")]
    NotSettled(u32),
    /// It has failed.
    #[error("order {} has failed", .0.id)]
    OrderFailed(Box<Order>),
    /// Nothing was done: the database cannot be reached.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It is not known whether the order is cancelled. The same call again is safe.
    #[error("outcome unknown: {0}")]
    Uncertain(String),
    /// Our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

/// Why a timer's work was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TickError {
    /// The manifest names a timer that this component does not have.
    #[error("no timer is named `{0}`; there are `order-sweep` and `order-retention`")]
    UnknownTimer(String),
    /// The database said no.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the database said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written. Trying again may help.
    #[error("database unavailable: {0}")]
    Unavailable(String),
    /// It is not known whether the transaction took place.
    #[error("commit uncertain: {0}")]
    Uncertain(String),
    /// Nothing was written. Our own bug.
    #[error("database refused: {0}")]
    Internal(String),
}

/// Why inventory did not do something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StockError {
    /// Not done, or not known whether done; the same call again is safe.
    #[error("inventory unavailable: {0}")]
    Unavailable(String),
    /// A bug.
    #[error("inventory failed: {0}")]
    Internal(String),
}

/// Why a mail address was not sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealerError {
    /// The component's config has no key.
    #[error("set `mail_seal_public_key` (base64 of an X25519 public key) in the config of the order component")]
    NoKey,
    /// The key in the config is none.
    #[error("`mail_seal_public_key` in the config of the order component is wrong: {0}")]
    BadKey(String),
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(text) | StoreError::Uncertain(text) => Self::Unavailable(text),
            StoreError::Internal(text) => Self::Internal(text),
        }
    }
}

impl From<StoreError> for kafka::Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(text) => Self::DependencyDown(format!("PostgreSQL: {text}")),
            StoreError::Uncertain(text) => Self::Retry(format!("PostgreSQL, outcome unknown: {text}")),
            StoreError::Internal(text) => Self::internal(&text),
        }
    }
}
