//! The usual way, well done: sqlx, a pool per database, prepared statements, and for each write one statement that is its own transaction, so one round
//! trip. Only what must hold a lock before it looks has a transaction of two.

mod inventory;
mod mails;
mod orders;
mod payments;

use async_trait::async_trait;
use sqlx::Postgres as Pg;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use swiftcart_domain::outbox::OutboxEvent;
use swiftcart_provider_postgres::Postgres;
use uuid::Uuid;

use super::{Applied, Confirmed, Databases, Placed, Store, StoreError, Wanted, acquire, after_sending};
use crate::model::{Order, Placement, Settlement};
use crate::payments::{Charge, Conclusion};

/// The store, one statement per write.
pub(crate) struct Plain(pub(crate) Databases);

#[async_trait]
impl Store for Plain {
    async fn place(&self, placement: &Placement) -> Result<Placed, StoreError> {
        orders::place(&self.0.orders, placement).await
    }

    async fn decide(&self, settlement: &Settlement) -> Result<bool, StoreError> {
        orders::decide(&self.0.orders, settlement).await
    }

    async fn begin_charge(&self, order: &Order, method: &str) -> Result<Charge, StoreError> {
        payments::begin(&self.0.payments, order, method).await
    }

    async fn decide_charge(
        &self,
        order_id: Uuid,
        conclusion: &Conclusion,
        event: &OutboxEvent,
    ) -> Result<Charge, StoreError> {
        match payments::decide(&self.0.payments, order_id, conclusion, event).await? {
            Some(charge) => Ok(charge),
            None => self.0.find_charge(order_id).await,
        }
    }

    async fn apply(&self, order: &Confirmed) -> Result<Applied, StoreError> {
        inventory::apply(&self.0.inventory, order).await
    }

    async fn begin_mail(&self, wanted: &Wanted, message_id: &str) -> Result<Option<String>, StoreError> {
        mails::begin(&self.0.notifications, wanted, message_id).await
    }

    async fn finish_mail(&self, wanted: &Wanted, sent: bool) -> Result<(), StoreError> {
        mails::finish(&self.0.notifications, wanted, sent).await
    }
}

/// Runs a statement that commits by itself; its first row. The answer is read to its end, for only the end tells that it is committed.
async fn run(database: &Postgres, query: Query<'_, Pg, PgArguments>) -> Result<Option<PgRow>, StoreError> {
    let mut connection = acquire(database).await?;
    query.fetch_optional(&mut *connection).await.map_err(|error| after_sending(&error))
}

/// The same for a statement that always has a row.
async fn run_one(database: &Postgres, query: Query<'_, Pg, PgArguments>) -> Result<PgRow, StoreError> {
    run(database, query).await?.ok_or_else(|| StoreError::Internal("a statement gave no row".to_owned()))
}
