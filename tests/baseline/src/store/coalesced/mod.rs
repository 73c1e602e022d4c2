//! The way of our own library: concurrent calls of one text run as one statement (`swiftcart_provider_postgres::Postgres::coalesce`). Invariant: the texts
//! are the shop's own files, so that the database does the same for both.

mod inventory;
mod mails;
mod orders;
mod payments;

use async_trait::async_trait;
use swiftcart_domain::outbox::OutboxEvent;
use swiftcart_provider_postgres::{Error, Postgres, RowSet, Statement, Value};
use uuid::Uuid;

use super::{Applied, Confirmed, Databases, Placed, Store, StoreError, Wanted};
use crate::model::{Order, Placement, Settlement};
use crate::payments::{Charge, Conclusion};

/// The store, one statement for all calls that wait together.
pub(crate) struct Coalesced(pub(crate) Databases);

#[async_trait]
impl Store for Coalesced {
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

/// Runs one statement together with the calls that wait beside it; its first row.
async fn run(database: &Postgres, sql: &str, params: Vec<Value>) -> Result<Option<Row>, StoreError> {
    let statement = Statement { sql: sql.to_owned(), params, expected_rows: None };
    let sets = database.coalesce(vec![statement]).await.map_err(sort)?;
    Ok(sets.into_iter().next().and_then(first_row))
}

fn sort(error: Error) -> StoreError {
    match error {
        Error::Conflict { constraint, .. } => StoreError::Conflict(constraint),
        Error::Unavailable(reason) => StoreError::Unavailable(reason),
        Error::Uncertain(reason) => StoreError::Uncertain(reason),
        Error::Stale { .. } | Error::Invalid(_) => StoreError::Internal(error.to_string()),
    }
}

fn first_row(set: RowSet) -> Option<Row> {
    let RowSet { columns, rows, .. } = set;
    rows.into_iter().next().map(|values| Row { columns, values })
}

fn missing() -> StoreError {
    StoreError::Internal("a statement gave no row".to_owned())
}

fn unknown(column: &str) -> StoreError {
    StoreError::Internal(format!("column `{column}` is missing or holds something unknown"))
}

fn uuid(id: Uuid) -> Value {
    Value::Uuid(id.to_string())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// One row by the names of its columns.
struct Row {
    columns: Vec<String>,
    values: Vec<Value>,
}

impl Row {
    fn get(&self, name: &str) -> Result<&Value, StoreError> {
        let found = self.columns.iter().zip(&self.values).find(|(column, _)| *column == name);
        found.map(|(_, value)| value).ok_or_else(|| unknown(name))
    }

    fn optional_text(&self, name: &str) -> Result<Option<&str>, StoreError> {
        match self.get(name)? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            _ => Err(unknown(name)),
        }
    }

    fn text(&self, name: &str) -> Result<&str, StoreError> {
        self.optional_text(name)?.ok_or_else(|| unknown(name))
    }

    fn uuid(&self, name: &str) -> Result<Uuid, StoreError> {
        let Value::Uuid(text) = self.get(name)? else { return Err(unknown(name)) };
        text.parse().map_err(|_| unknown(name))
    }

    fn integer(&self, name: &str) -> Result<i64, StoreError> {
        match self.get(name)? {
            Value::Int64(number) => Ok(*number),
            Value::Int32(number) => Ok(i64::from(*number)),
            _ => Err(unknown(name)),
        }
    }

    fn boolean(&self, name: &str) -> Result<bool, StoreError> {
        if let Value::Boolean(truth) = self.get(name)? { Ok(*truth) } else { Err(unknown(name)) }
    }
}
