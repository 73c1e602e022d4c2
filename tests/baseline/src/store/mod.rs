//! The databases. Invariant: every method is atomic, and "nothing was written" and "nobody knows" are never mixed up.
//!
//! [`Store`] has the writes of a create and of what follows from it: there are two ways to do them, and the benchmark compares the shop with both. What is
//! rare on that path (repeats, refills, the catalog) is written once, in `rare`.

mod coalesced;
mod plain;
mod rare;
mod row;

use std::collections::BTreeMap;

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::PgPool;
use swiftcart_domain::outbox::OutboxEvent;
use swiftcart_provider_postgres::{Config, Postgres};
use uuid::Uuid;

pub(crate) use coalesced::Coalesced;
pub(crate) use plain::Plain;
pub(crate) use rare::StockLevel;

use crate::model::{Order, Placement, Settlement, Shortage};
use crate::payments::{Charge, Conclusion};

/// Why the store did not do its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StoreError {
    /// Nothing was written. Trying again may help.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It may have been written.
    #[error("outcome unknown: {0}")]
    Uncertain(String),
    /// Nothing was written: this constraint was broken.
    #[error("constraint {0}")]
    Conflict(String),
    /// Our own bug.
    #[error("internal: {0}")]
    Internal(String),
}

/// What became of a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// It is written, now or by an earlier try.
    Ours,
    /// Nothing was written: the key is taken.
    KeyTaken,
}

/// A confirmed order as its event tells it.
#[derive(Clone, Debug)]
pub(crate) struct Confirmed {
    pub(crate) event_id: Uuid,
    pub(crate) order_id: Uuid,
    pub(crate) skus: Vec<String>,
    pub(crate) quantities: Vec<i64>,
}

/// What became of a confirmed order.
#[derive(Clone, Debug)]
pub(crate) enum Applied {
    /// Taken from the shelf, now or by an earlier delivery.
    Done,
    /// Nothing was written: the order has ended. Nothing of this program ends one.
    Ended,
    /// Nothing was written: these skus do not exist.
    UnknownSku(Vec<String>),
    /// Nothing was written: these lines are short.
    Short(Vec<Shortage>),
    /// Nothing was written: another delivery of the event is being handled.
    Busy,
}

/// A mail that an event asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) event_id: Uuid,
    pub(crate) order_id: Uuid,
    /// The mail's kind.
    pub(crate) kind: &'static str,
}

/// The writes of a create and of what follows from it.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// Writes an order, its lines and its key.
    async fn place(&self, placement: &Placement) -> Result<Placed, StoreError>;
    /// Decides a PENDING order, with its event and its answer. False: it is decided, or another run holds the lease.
    async fn decide(&self, settlement: &Settlement) -> Result<bool, StoreError>;
    /// Writes the row of a charge, or counts an attempt on the open one that is there.
    async fn begin_charge(&self, order: &Order, method: &str) -> Result<Charge, StoreError>;
    /// Writes how a charge ended, with its event, if it is open; the row as it is now.
    async fn decide_charge(
        &self,
        order_id: Uuid,
        conclusion: &Conclusion,
        event: &OutboxEvent,
    ) -> Result<Charge, StoreError>;
    /// Takes a confirmed order from the shelf, with movements and inbox row.
    async fn apply(&self, order: &Confirmed) -> Result<Applied, StoreError>;
    /// Writes a mail's row before it is sent; the Message-ID to send it under, none if it was sent.
    async fn begin_mail(&self, wanted: &Wanted, message_id: &str) -> Result<Option<String>, StoreError>;
    /// Notes that the mail server took a mail, with the inbox row, or refused it.
    async fn finish_mail(&self, wanted: &Wanted, sent: bool) -> Result<(), StoreError>;
}

/// The databases, each with a pool of the size and settings that the shop's have.
#[derive(Clone)]
pub(crate) struct Databases {
    pub(crate) orders: Postgres,
    pub(crate) payments: Postgres,
    pub(crate) inventory: Postgres,
    pub(crate) notifications: Postgres,
}

impl Databases {
    /// Connects to all of them.
    pub(crate) async fn connect(urls: &BTreeMap<&'static str, String>) -> anyhow::Result<Self> {
        let connect = async |name: &str| {
            let url = urls.get(name).with_context(|| format!("no address of the database {name}"))?;
            database(url, None).await.with_context(|| format!("the database {name}"))
        };
        Ok(Self {
            orders: connect("orders").await?,
            payments: connect("payments").await?,
            inventory: connect("inventory").await?,
            notifications: connect("notifications").await?,
        })
    }
}

/// One database, with the defaults of the shop's links unless told otherwise.
pub(crate) async fn database(url: &str, max_connections: Option<u32>) -> anyhow::Result<Postgres> {
    let mut pairs = vec![("url".to_owned(), url.to_owned()), ("application_name".to_owned(), "baseline".to_owned())];
    pairs.extend(max_connections.map(|most| ("max_connections".to_owned(), most.to_string())));
    Ok(Postgres::connect(Config::from_pairs(pairs)?).await?)
}

/// A free connection of a pool: what fails here was never sent.
pub(crate) async fn acquire(database: &Postgres) -> Result<sqlx::pool::PoolConnection<sqlx::Postgres>, StoreError> {
    let pool: &PgPool = database.pool();
    pool.acquire().await.map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// What an error after sending means. A lost connection tells nothing about a statement that commits by itself.
pub(crate) fn after_sending(error: &sqlx::Error) -> StoreError {
    let sqlx::Error::Database(database) = error else { return StoreError::Uncertain(error.to_string()) };
    if let Some(constraint) = database.constraint() {
        return StoreError::Conflict(constraint.to_owned());
    }
    let code = database.code().unwrap_or_default();
    match code.get(..2).unwrap_or_default() {
        // The server ends the session: that may come after the commit.
        "57" if code.as_ref() != "57014" => StoreError::Uncertain(error.to_string()),
        "08" | "40" | "53" | "55" | "57" | "58" => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Internal(error.to_string()),
    }
}

/// A number of ours as a bigint of theirs.
pub(crate) fn bigint(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Internal(format!("{number} is no bigint")))
}
