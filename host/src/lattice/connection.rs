//! Connections to NATS: one for control messages, events and buckets, one for calls. Both come back by themselves when the server does.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event};
use secrecy::ExposeSecret;

use super::LatticeError;
use crate::config::{LatticeConfig, NatsServer};
use crate::limits;

/// Both connections.
#[derive(Clone)]
pub struct Connections {
    /// For control messages, events and buckets.
    pub control: Client,
    /// For calls.
    pub calls: Client,
}

impl Connections {
    /// Connects; a server that does not answer is waited for, as long as [`limits::NATS_START`].
    ///
    /// # Errors
    /// When a server cannot be reached or refuses the login.
    pub async fn open(config: &LatticeConfig, host: &str) -> Result<Self, LatticeError> {
        let control = connect(&config.control, &format!("{host} control")).await?;
        let calls = connect(&config.calls, &format!("{host} calls")).await?;
        Ok(Self { control, calls })
    }
}

async fn connect(server: &NatsServer, name: &str) -> Result<Client, LatticeError> {
    let fail = |reason: String| LatticeError::Connect { url: server.url.clone(), reason };
    let deadline = tokio::time::Instant::now() + limits::NATS_START;
    loop {
        let options = options(server, name).await.map_err(|error| fail(error.to_string()))?;
        match options.connect(server.url.as_str()).await {
            Ok(client) => return Ok(client),
            Err(error) if is_final(&error) || tokio::time::Instant::now() >= deadline => {
                return Err(fail(error.to_string()));
            }
            Err(error) => {
                tracing::warn!(url = server.url, %error, "NATS is not there yet");
                tokio::time::sleep(limits::CONNECT_RETRY).await;
            }
        }
    }
}

/// Waiting does not mend a login that is refused, nor a certificate that is not trusted.
fn is_final(error: &ConnectError) -> bool {
    matches!(error.kind(), ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation)
        || distrusts(error)
}

fn distrusts(error: &ConnectError) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        // What an I/O error was made of is not among its sources.
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let inside = inside.and_then(|inside| inside.downcast_ref::<rustls::Error>());
        if matches!(inside, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        next = error.source();
    }
    false
}

async fn options(server: &NatsServer, name: &str) -> Result<ConnectOptions, std::io::Error> {
    let mut options = ConnectOptions::new()
        .name(name)
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(limits::NATS_REQUEST))
        .event_callback(|event| async move {
            match event {
                Event::Connected => tracing::info!("connected to NATS"),
                Event::Disconnected => tracing::warn!("NATS is gone; reconnecting"),
                Event::SlowConsumer(subscription) => {
                    tracing::error!(subscription, "messages are dropped: too many wait")
                }
                other => tracing::debug!(%other, "NATS"),
            }
        });
    match (&server.credentials, &server.jwt, &server.seed) {
        (Some(file), ..) => options = options.credentials_file(file).await?,
        (None, Some(jwt), Some(seed)) => {
            let key = nkeys::KeyPair::from_seed(seed.expose_secret()).map_err(std::io::Error::other)?;
            let key = Arc::new(key);
            options = options.jwt(jwt.expose_secret().to_owned(), move |nonce| {
                let key = key.clone();
                async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
            });
        }
        (None, None, Some(seed)) => options = options.nkey(seed.expose_secret().to_owned()),
        (None, _, None) => {}
    }
    if let Some(file) = &server.tls_ca {
        options = options.add_root_certificates(file.clone());
    }
    if server.tls_first {
        options = options.tls_first();
    }
    Ok(options.require_tls(server.tls || server.tls_first))
}
