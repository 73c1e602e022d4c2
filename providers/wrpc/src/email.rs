//! `swiftcart:email/sender` over `providers/email`.

use async_trait::async_trait;
use swiftcart_provider_email as library;

use crate::bindings::swiftcart::email::sender::{Error, Message};
use crate::runtime::{Caller, Clients, ConnectError, Library, Pairs, Program, Start, Started};

const INTERFACE: &str = "swiftcart:email/sender";

/// The program.
pub struct Email;

struct MailServer;

#[async_trait]
impl Program for Email {
    const NAME: &'static str = "email";

    async fn start(start: &Start) -> anyhow::Result<Started> {
        let clients = Clients::new(MailServer, start.own.clone());
        let serving = clients.clone();
        let send = move |caller, (message,)| {
            let clients = serving.clone();
            async move { (send(&clients, caller, message).await,) }
        };
        let server = &start.server;
        server.serve::<(Message,), (Result<(), Error>,), _, _>("swiftcart:email/sender@0.1.0", "send", send).await?;
        Ok(Started::new(clients))
    }
}

#[async_trait]
impl Library for MailServer {
    type Client = library::Mailer;

    async fn connect(&self, pairs: Pairs) -> Result<library::Mailer, ConnectError> {
        let refused = |error: library::ConfigError| ConnectError::Refused(error.to_string());
        library::Mailer::new(library::Config::from_pairs(pairs).map_err(refused)?).map_err(refused)
    }

    async fn ping(&self, client: &library::Mailer) -> Result<(), String> {
        client.ping().await.map_err(|error| error.to_string())
    }

    async fn close(&self, client: library::Mailer) {
        client.close().await;
    }
}

async fn send(clients: &Clients<MailServer>, caller: Caller, message: Message) -> Result<(), Error> {
    let client = clients.client(&caller, INTERFACE).await.map_err(|none| Error::Unavailable(none.to_string()))?;
    let header = |header: crate::bindings::swiftcart::email::sender::Header| library::Header {
        name: header.name,
        value: header.value,
    };
    let mail = library::Mail {
        to: message.to,
        subject: message.subject,
        text: message.text,
        message_id: message.message_id,
        headers: message.headers.into_iter().map(header).collect(),
    };
    client.send(&mail).await.map_err(|failure| match failure {
        library::Error::Invalid(reason) => Error::Invalid(reason),
        library::Error::Rejected(reason) => Error::Rejected(reason),
        library::Error::Unavailable(reason) => Error::Unavailable(reason),
        library::Error::Uncertain(reason) => Error::Uncertain(reason),
    })
}
