//! From an order's event to a mail. Invariant: the row is written before the mail is handed over and marked after it, so that a redelivered event
//! sends again only what nobody can know to be sent.

use swiftcart_capabilities::email::{self, Header, Mailer, Message};
use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{self, Event, Order, OrderCancelled, OrderConfirmed, OrderFailed};
use swiftcart_domain::outbox::DecidedBy;
use swiftcart_domain::seal::{self, SecretKey};

use crate::error::without_addresses;
use crate::model::{self, Kind};
use crate::ports::{Begun, End, Store, Wanted};

/// Deletes old rows.
pub const RETENTION: &str = "notification-retention";

/// An event as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Says which event it is.
    pub topic: &'a str,
    /// JSON.
    pub payload: &'a [u8],
    /// The header with the buyer's address, sealed, in base64.
    pub sealed_email: Option<&'a str>,
    /// The header that says who decided the order.
    pub decided_by: Option<&'a str>,
}

/// The use case with what it works on.
pub struct Notification<S, M> {
    /// The database.
    pub store: S,
    /// The mail server.
    pub mailer: M,
    /// Opens addresses; or why there is no key.
    pub secret_key: Result<SecretKey, String>,
    /// The right side of Message-IDs.
    pub message_id_domain: String,
}

impl<S: Store, M: Mailer> Notification<S, M> {
    /// Handles one event.
    ///
    /// # Errors
    /// [`Failure`] says what becomes of the message.
    pub fn consume(&self, incoming: &Incoming<'_>) -> Result<(), Failure> {
        match incoming.topic {
            OrderConfirmed::TOPIC => {
                let event: OrderConfirmed = decode(incoming.payload)?;
                self.notify(
                    event.event_id,
                    Kind::OrderConfirmed,
                    &event.order,
                    incoming.sealed_email,
                    model::confirmed(&event.order),
                )
            }
            OrderFailed::TOPIC => {
                let event: OrderFailed = decode(incoming.payload)?;
                if incoming.decided_by == Some(DecidedBy::Request.as_str()) {
                    // The answer to the request told the buyer.
                    return Ok(());
                }
                let mail = model::failed(&event.order, &event.failure.code);
                self.notify(event.event_id, Kind::OrderFailed, &event.order, incoming.sealed_email, mail)
            }
            OrderCancelled::TOPIC => {
                let event: OrderCancelled = decode(incoming.payload)?;
                self.notify(
                    event.event_id,
                    Kind::OrderCancelled,
                    &event.order,
                    incoming.sealed_email,
                    model::cancelled(&event.order),
                )
            }
            other => Err(Failure::Reject(format!("notification does not consume the topic {other}"))),
        }
    }

    /// One tick of a timer; how many things were done.
    ///
    /// # Errors
    /// [`Failure`]; `Reject` for a timer that is not ours.
    pub fn tick(&self, timer: &str) -> Result<u32, Failure> {
        match timer {
            RETENTION => self.store.prune().map(|rows| u32::try_from(rows).unwrap_or(u32::MAX)),
            other => Err(Failure::Reject(format!("notification has no timer {other}"))),
        }
    }

    fn notify(
        &self,
        event_id: uuid::Uuid,
        kind: Kind,
        order: &Order,
        sealed: Option<&str>,
        mail: (String, String),
    ) -> Result<(), Failure> {
        let wanted = Wanted { event_id, order_id: order.order_id, kind };
        let message_id = model::message_id(kind, order.order_id, &self.message_id_domain);
        let Some(sealed) = sealed else {
            return self.store.unaddressed(&wanted, &message_id);
        };
        let to = self.open(sealed)?;
        let Begun::Send(message_id) = self.store.begin(&wanted, &message_id)? else {
            return Ok(());
        };
        let (subject, text) = mail;
        let header = |name: &str, value: String| Header { name: name.to_owned(), value };
        let message = Message {
            to,
            subject,
            text,
            message_id,
            headers: vec![
                header("Swiftcart-Mail-Kind", kind.as_str().to_owned()),
                header("Swiftcart-Order-Id", order.order_id.to_string()),
            ],
        };
        match self.mailer.send(&message) {
            Ok(()) => self.store.finish(&wanted, End::Sent),
            Err(email::Error::Unavailable(reason)) => {
                Err(Failure::DependencyDown(format!("mail server: {}", without_addresses(&reason))))
            }
            Err(email::Error::Uncertain(reason)) => {
                Err(Failure::Retry(format!("mail server, outcome unknown: {}", without_addresses(&reason))))
            }
            Err(email::Error::Rejected(reason)) => {
                self.refused(&wanted, "the mail server refused it for good", &reason)
            }
            Err(email::Error::Invalid(reason)) => self.refused(&wanted, "the mail is malformed", &reason),
        }
    }

    fn refused(&self, wanted: &Wanted, what: &str, reason: &str) -> Result<(), Failure> {
        self.store.finish(wanted, End::Refused)?;
        Err(Failure::Reject(format!("{what}: {}", without_addresses(reason))))
    }

    fn open(&self, sealed: &str) -> Result<String, Failure> {
        // Without a key no message can be handled, and none of them is to blame.
        let key = self.secret_key.as_ref().map_err(|reason| Failure::DependencyDown(reason.clone()))?;
        let address = seal::from_header(sealed).and_then(|sealed| seal::open(key, &sealed));
        address.map_err(|error| Failure::Reject(format!("header {}: {error}", seal::HEADER)))
    }
}

fn decode<E: Event>(payload: &[u8]) -> Result<E, Failure> {
    event::decode(payload).map_err(|error| Failure::Reject(error.to_string()))
}
