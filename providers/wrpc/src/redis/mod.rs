//! `swiftcart:redis/scripts` and `wrpc:keyvalue` over `providers/redis`.

mod keyvalue;
mod scripts;

use async_trait::async_trait;
use swiftcart_provider_redis as library;

use crate::runtime::{Clients, ConnectError, Library, Pairs, Program, Start, Started};

/// The program.
pub struct Redis;

/// The library, as the runtime sees it.
pub(crate) struct KeyValue;

#[async_trait]
impl Program for Redis {
    const NAME: &'static str = "redis";

    async fn start(start: &Start) -> anyhow::Result<Started> {
        let clients = Clients::new(KeyValue, start.own.clone());
        scripts::serve(&start.server, &clients).await?;
        keyvalue::serve(&start.server, &clients).await?;
        Ok(Started::new(clients))
    }
}

#[async_trait]
impl Library for KeyValue {
    type Client = library::Redis;

    async fn connect(&self, pairs: Pairs) -> Result<library::Redis, ConnectError> {
        let config = library::Config::from_pairs(pairs).map_err(|error| ConnectError::Refused(error.to_string()))?;
        library::Redis::connect(config).await.map_err(|error| match error {
            library::Error::Unavailable(_) => ConnectError::Away(error.to_string()),
            _ => ConnectError::Refused(error.to_string()),
        })
    }

    async fn ping(&self, client: &library::Redis) -> Result<(), String> {
        client.ping().await.map_err(|error| error.to_string())
    }

    async fn close(&self, _client: library::Redis) {
        // Redis takes a closed connection for a goodbye.
    }
}
