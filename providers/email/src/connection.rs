//! Connections to the mail server: made, kept for the next mail, and given up. No mail is known here.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::DEFAULT_MECHANISMS;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::config::{Encryption, Server};
use crate::error::Error;
use crate::limits::MAX_IDLE;

/// The kept connections and the right to have more.
pub(crate) struct Connections {
    server: Server,
    timeout: Duration,
    permits: Semaphore,
    /// The most recently used last. Locked only to push and pop.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl Connections {
    pub(crate) fn new(server: Server, timeout: Duration, max_connections: usize) -> Self {
        Self { server, timeout, permits: Semaphore::new(max_connections), idle: Mutex::default() }
    }

    /// Waits for the right to use a connection.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        match tokio::time::timeout(self.timeout, self.permits.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::Unavailable("the mailer is closed".to_owned())),
            Err(_) => Err(Error::Unavailable("all connections to the mail server are busy".to_owned())),
        }
    }

    /// A kept connection. It may be dead by now, so the caller must be ready to take a fresh one.
    pub(crate) fn kept(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < MAX_IDLE);
        idle.pop().map(|kept| kept.connection)
    }

    /// Keeps a connection on which no mail is under way.
    pub(crate) fn keep(&self, connection: AsyncSmtpConnection) {
        if self.permits.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(Idle { connection, since: Instant::now() });
    }

    /// Connects and logs in. Whatever goes wrong, no mail was mentioned yet, so it is `Unavailable`.
    pub(crate) async fn fresh(&self) -> Result<AsyncSmtpConnection, Error> {
        match tokio::time::timeout(self.timeout, self.connect()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(Error::Unavailable(format!("cannot connect: {error}"))),
            Err(_) => Err(Error::Unavailable(format!("cannot connect within {} ms", self.timeout.as_millis()))),
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let Server { host, port, encryption, credentials, hello } = &self.server;
        let at_once = match encryption {
            Encryption::Always(parameters) => Some(parameters.clone()),
            _ => None,
        };
        let address = (host.trim_matches(['[', ']']), *port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(address, Some(self.timeout), hello, at_once, None).await?;
        match encryption {
            Encryption::Required(parameters) => connection.starttls(parameters.clone(), hello).await?,
            Encryption::Opportunistic(parameters) if connection.can_starttls() => {
                connection.starttls(parameters.clone(), hello).await?
            }
            _ => {}
        }
        if let Some(credentials) = credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    /// Says goodbye on the idle connections. Nobody gets a connection after this.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for mut kept in idle {
            // A server that does not answer to QUIT loses nothing.
            let _ = tokio::time::timeout(self.timeout, kept.connection.quit()).await;
        }
    }
}
