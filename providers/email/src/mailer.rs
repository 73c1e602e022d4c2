//! Sends one mail, in two exchanges that are kept apart because their failures mean different things.
//!
//! First the mail is announced: MAIL, RCPT, DATA. Until the server has said "go ahead" (354) it has nothing, so a kept connection that turns
//! out to be dead is replaced and the announcement made again. Then the text goes out, once, and only a clear answer settles it
//! (RFC 5321, 4.1.1.4: with its 250 the server takes responsibility).

use std::sync::Arc;
use std::time::{Duration, Instant};

use lettre::Message;
use lettre::message::Mailbox;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Noop, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailParameter};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::compose::{Mail, compose};
use crate::config::{Config, ConfigError};
use crate::connection::Connections;
use crate::error::{Error, Failure};

const MAILS: &str = "swiftcart_email_mails_total";
const DURATION: &str = "swiftcart_email_send_duration_seconds";

/// One mail server. Clones share its connections.
#[derive(Clone)]
pub struct Mailer {
    connections: Arc<Connections>,
    from: Mailbox,
    timeout: Duration,
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Mailer").finish_non_exhaustive()
    }
}

impl Mailer {
    /// Nothing connects yet: a mail server that is down must not stop anything but mails. Use [`Mailer::ping`] to look.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        describe_counter!(MAILS, "Mails by outcome");
        describe_histogram!(DURATION, Unit::Seconds, "From the call to the server's answer");
        let timeout = Duration::from_millis(config.timeout_ms);
        let connections = Connections::new(config.server()?, timeout, config.max_connections);
        Ok(Self { connections: Arc::new(connections), from: config.sender()?, timeout })
    }

    /// Hands one mail to the server. `Ok` means that the server took responsibility for it.
    pub async fn send(&self, mail: &Mail) -> Result<(), Error> {
        let started = Instant::now();
        let result = match compose(mail, &self.from) {
            Ok(message) => self.deliver(&message).await,
            Err(error) => Err(error),
        };
        counter!(MAILS, "outcome" => result.as_ref().map_or_else(Error::outcome, |()| "sent")).increment(1);
        histogram!(DURATION).record(started.elapsed().as_secs_f64());
        result
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), Error> {
        let _permit = self.connections.permit().await?;
        if let Some(mut kept) = self.connections.kept()
            && self.exchange(async { kept.command(Noop).await.map(drop) }).await.is_ok()
        {
            self.connections.keep(kept);
            return Ok(());
        }
        let fresh = self.connections.fresh().await?;
        self.connections.keep(fresh);
        Ok(())
    }

    /// Says goodbye to the server. Mails after this fail with `Unavailable`.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    async fn deliver(&self, message: &Message) -> Result<(), Error> {
        let _permit = self.connections.permit().await?;
        let mut connection = self.announced(message).await?;
        let text = message.formatted();
        match self.exchange(async { connection.message(&text).await.map(drop) }).await {
            Ok(()) => {
                self.connections.keep(connection);
                Ok(())
            }
            Err(Failure::Answered(error)) => {
                self.reset_and_keep(connection).await;
                Err(error)
            }
            Err(Failure::Closing(error)) => Err(error),
            Err(Failure::Lost(message)) => Err(Error::Uncertain(message)),
        }
    }

    /// A connection on which the server waits for the text of this mail.
    async fn announced(&self, message: &Message) -> Result<AsyncSmtpConnection, Error> {
        if let Some(mut kept) = self.connections.kept() {
            match self.exchange(announce(&mut kept, message)).await {
                Ok(()) => return Ok(kept),
                Err(Failure::Answered(error)) => {
                    self.reset_and_keep(kept).await;
                    return Err(error);
                }
                // It died while it was kept.
                Err(Failure::Closing(_) | Failure::Lost(_)) => {}
            }
        }
        let mut fresh = self.connections.fresh().await?;
        match self.exchange(announce(&mut fresh, message)).await {
            Ok(()) => Ok(fresh),
            Err(Failure::Answered(error)) => {
                self.reset_and_keep(fresh).await;
                Err(error)
            }
            Err(Failure::Closing(error)) => Err(error),
            Err(Failure::Lost(message)) => Err(Error::Unavailable(message)),
        }
    }

    /// After a refusal the server forgets the mail and goes on; if it does not, the connection is dropped.
    async fn reset_and_keep(&self, mut connection: AsyncSmtpConnection) {
        if self.exchange(async { connection.command(Rset).await.map(drop) }).await.is_ok() {
            self.connections.keep(connection);
        }
    }

    /// Puts the time limit on one exchange and sorts its failure.
    async fn exchange(
        &self,
        work: impl Future<Output = Result<(), lettre::transport::smtp::Error>>,
    ) -> Result<(), Failure> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::of(&error)),
            Err(_) => {
                Err(Failure::Lost(format!("the mail server did not answer within {} ms", self.timeout.as_millis())))
            }
        }
    }
}

/// MAIL, RCPT, DATA. The text is pure ASCII (`compose` encodes it), so only the addresses may need an extension.
async fn announce(
    connection: &mut AsyncSmtpConnection,
    message: &Message,
) -> Result<(), lettre::transport::smtp::Error> {
    let envelope = message.envelope();
    let needs_utf8 =
        !envelope.to().iter().chain(envelope.from()).all(|address| AsRef::<str>::as_ref(address).is_ascii());
    // If the server does not offer the extension it will refuse the address itself, with a better reason than we have.
    let parameters = if needs_utf8 && connection.server_info().supports_feature(Extension::SmtpUtfEight) {
        vec![MailParameter::SmtpUtfEight]
    } else {
        Vec::new()
    };
    let from = lettre::transport::smtp::commands::Mail::new(envelope.from().cloned(), parameters);
    connection.command(from).await?;
    for recipient in envelope.to() {
        connection.command(Rcpt::new(recipient.clone(), Vec::new())).await?;
    }
    connection.command(Data).await.map(drop)
}
