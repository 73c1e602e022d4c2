//! The writes of the notifications database, for any number of calls. Invariant: no parameter ever holds an address.

use swiftcart_provider_postgres::Postgres;

use super::super::{StoreError, Wanted};
use super::{missing, run, text, uuid};

/// The inbox's name of this consumer.
const CONSUMER: &str = "notification";

pub(super) const BEGIN: &str = include_str!("../../../../../components/notification/src/store/begin.sql");

pub(super) const FINISH: &str = include_str!("../../../../../components/notification/src/store/finish.sql");

pub(super) async fn begin(
    database: &Postgres,
    wanted: &Wanted,
    message_id: &str,
) -> Result<Option<String>, StoreError> {
    let params = vec![uuid(wanted.order_id), text(wanted.kind), uuid(wanted.event_id), text(message_id)];
    let row = run(database, BEGIN, params).await?.ok_or_else(missing)?;
    Ok(if row.boolean("send")? { Some(row.text("message_id")?.to_owned()) } else { None })
}

pub(super) async fn finish(database: &Postgres, wanted: &Wanted, sent: bool) -> Result<(), StoreError> {
    let state = if sent { "sent" } else { "refused" };
    let params = vec![uuid(wanted.order_id), text(wanted.kind), uuid(wanted.event_id), text(state), text(CONSUMER)];
    run(database, FINISH, params).await.map(drop)
}
