//! What follows from an order's event: stock, a mail, and for an order that failed the note that nothing is owed. Invariant: an event is applied once
//! however often it comes, and its offset is committed only after that.

use std::sync::Arc;

use async_trait::async_trait;
use swiftcart_domain::event::{self, Event, OrderConfirmed, OrderFailed};
use swiftcart_domain::outbox::{self, DecidedBy};
use swiftcart_domain::seal;
use swiftcart_provider_email::{Error as MailError, Header, Mail};
use swiftcart_provider_kafka::{Failure, Handler, Message};

use crate::app::App;
use crate::mail;
use crate::store::{Applied, Confirmed, StoreError, Wanted};

/// The right side of Message-IDs.
const MESSAGE_ID_DOMAIN: &str = "mail.swiftcart.invalid";

/// Makes reservations durable, or gives them back.
pub(crate) struct Inventory(pub(crate) Arc<App>);

/// Mails the buyer.
pub(crate) struct Notification(pub(crate) Arc<App>);

/// Notes that nothing is owed for an order that came to nothing.
pub(crate) struct Payment(pub(crate) Arc<App>);

#[async_trait]
impl Handler for Inventory {
    async fn handle(&self, message: &Message) -> Result<(), Failure> {
        match message.topic.as_str() {
            OrderConfirmed::TOPIC => self.confirmed(decode(message)?).await,
            OrderFailed::TOPIC => {
                let event: OrderFailed = decode(message)?;
                // Never confirmed, so never applied.
                self.0.stock.release(event.order.order_id).await.map_err(failed)
            }
            other => Err(not_ours(other)),
        }
    }

    fn version(&self) -> String {
        version()
    }
}

impl Inventory {
    /// PostgreSQL first, then Redis: redelivered after a crash between the two, the first step finds its inbox row and the second is repeated.
    async fn confirmed(&self, event: OrderConfirmed) -> Result<(), Failure> {
        let order_id = event.order.order_id;
        let quantities = event.order.items.iter().map(|item| i64::from(item.qty)).collect();
        let skus = event.order.items.into_iter().map(|item| item.sku).collect();
        let order = Confirmed { event_id: event.event_id, order_id, skus, quantities };
        match self.0.store.apply(&order).await.map_err(failed)? {
            Applied::Done => self.0.stock.apply(order_id, &order.skus).await.map_err(failed),
            Applied::Busy => {
                Err(Failure::Retry(format!("another delivery of event {} is being handled", order.event_id)))
            }
            Applied::UnknownSku(skus) => {
                Err(Failure::Reject(format!("order {order_id} has skus that do not exist: {}", skus.join(", "))))
            }
            Applied::Short(shortages) => Err(Failure::Reject(format!(
                "order {order_id} is short of {shortages:?}; the shop has a saga for that"
            ))),
            Applied::Ended => Err(Failure::Reject(format!("order {order_id} has ended; the shop puts its stock back"))),
        }
    }
}

#[async_trait]
impl Handler for Notification {
    async fn handle(&self, message: &Message) -> Result<(), Failure> {
        match message.topic.as_str() {
            OrderConfirmed::TOPIC => self.confirmed(decode(message)?, message.header(seal::HEADER)).await,
            // The answer to the request told the buyer; nothing else decides an order here.
            OrderFailed::TOPIC if message.header(outbox::DECIDED_BY) == Some(DecidedBy::Request.as_str()) => Ok(()),
            other => Err(not_ours(other)),
        }
    }

    fn version(&self) -> String {
        version()
    }
}

impl Notification {
    async fn confirmed(&self, event: OrderConfirmed, sealed: Option<&str>) -> Result<(), Failure> {
        let order_id = event.order.order_id;
        let wanted = Wanted { event_id: event.event_id, order_id, kind: mail::ORDER_CONFIRMED };
        let message_id = format!("{}.{order_id}@{MESSAGE_ID_DOMAIN}", mail::ORDER_CONFIRMED);
        let Some(sealed) = sealed else {
            return self.0.databases.unaddressed(&wanted, &message_id).await.map_err(failed);
        };
        let to = seal::from_header(sealed)
            .and_then(|sealed| seal::open(&self.0.seal_secret_key, &sealed))
            .map_err(|error| Failure::Reject(format!("header {}: {error}", seal::HEADER)))?;
        let Some(message_id) = self.0.store.begin_mail(&wanted, &message_id).await.map_err(failed)? else {
            return Ok(());
        };
        let (subject, text) = mail::confirmed(&event.order);
        let header = |name: &str, value: String| Header { name: name.to_owned(), value };
        let headers = vec![
            header("Swiftcart-Mail-Kind", wanted.kind.to_owned()),
            header("Swiftcart-Order-Id", order_id.to_string()),
        ];
        match self.0.mailer.send(&Mail { to, subject, text, message_id, headers }).await {
            Ok(()) => self.0.store.finish_mail(&wanted, true).await.map_err(failed),
            // Mail servers like to repeat addresses: what they said is not passed on.
            Err(MailError::Unavailable(_)) => Err(Failure::DependencyDown("the mail server is away".to_owned())),
            Err(MailError::Uncertain(_)) => Err(Failure::Retry("the mail server gave no answer".to_owned())),
            Err(MailError::Rejected(_) | MailError::Invalid(_)) => {
                self.0.store.finish_mail(&wanted, false).await.map_err(failed)?;
                Err(Failure::Reject("the mail server refused it for good".to_owned()))
            }
        }
    }
}

#[async_trait]
impl Handler for Payment {
    async fn handle(&self, message: &Message) -> Result<(), Failure> {
        if message.topic != OrderFailed::TOPIC {
            return Err(not_ours(&message.topic));
        }
        let event: OrderFailed = decode(message)?;
        let order_id = event.order.order_id;
        if self.0.databases.note_failed(order_id, event.event_id).await.map_err(failed)? {
            Ok(())
        } else {
            Err(Failure::Reject(format!("order {order_id} failed and may have been charged; the shop gives that back")))
        }
    }

    fn version(&self) -> String {
        version()
    }
}

fn version() -> String {
    concat!("swiftcart-baseline ", env!("CARGO_PKG_VERSION")).to_owned()
}

fn decode<E: Event>(message: &Message) -> Result<E, Failure> {
    event::decode(&message.payload).map_err(|error| Failure::Reject(error.to_string()))
}

fn not_ours(topic: &str) -> Failure {
    Failure::Reject(format!("nothing here handles such an event of {topic}"))
}

fn failed(error: StoreError) -> Failure {
    match error {
        StoreError::Unavailable(reason) => Failure::DependencyDown(reason),
        error => Failure::Retry(error.to_string()),
    }
}
