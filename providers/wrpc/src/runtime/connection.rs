//! The one connection to NATS. Invariant: once made it comes back by itself for as long as the program runs, subscriptions included.

use std::sync::Arc;

use anyhow::Context as _;
use async_nats::{Client, ConnectOptions, Event};
use nkeys::KeyPair;

use super::host_data::HostData;

/// What the SDK of wasmCloud takes when a host gives no address.
const DEFAULT_URL: &str = "nats://127.0.0.1:4222";

/// Connects as the host's data says.
///
/// # Errors
/// When the credentials or the address cannot be used, or NATS refuses us.
pub(crate) async fn connect(data: &HostData) -> anyhow::Result<Client> {
    let (jwt, seed) = (data.lattice_rpc_user_jwt.trim(), data.lattice_rpc_user_seed.trim());
    let options = if jwt.is_empty() || seed.is_empty() {
        ConnectOptions::new()
    } else {
        let key = Arc::new(KeyPair::from_seed(seed).map_err(|_| anyhow::anyhow!("the seed for NATS is not a seed"))?);
        ConnectOptions::with_jwt(jwt.to_owned(), move |nonce| {
            let key = key.clone();
            async move { key.sign(&nonce).map_err(async_nats::AuthError::new) }
        })
    };
    let url = if data.lattice_rpc_url.is_empty() { DEFAULT_URL } else { &data.lattice_rpc_url };
    options.name(&data.provider_key).event_callback(tell).connect(url).await.context("connecting to NATS")
}

async fn tell(event: Event) {
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("the connection to NATS is lost; it will be made again"),
        Event::SlowConsumer(_) => tracing::warn!("invocations come faster than they are served; some are dropped"),
        Event::ServerError(error) => tracing::warn!(%error, "NATS complains"),
        Event::ClientError(error) => tracing::warn!(%error, "the client of NATS complains"),
        other => tracing::debug!(event = %other, "NATS"),
    }
}
