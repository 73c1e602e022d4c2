//! The one connection that all calls share, and its replacement when it breaks.
//!
//! The client library's own `ConnectionManager` reports a failed reconnect and a connection that broke with a command in flight by the
//! same error. The difference is the whole point here ("did not run" or "may have run"), so the two phases are kept apart:
//! [`Shared::get`] connects and sends nothing, and whoever sends tells [`Shared::discard`] when the connection has failed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisResult};
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::limits::{CONNECT_ATTEMPTS, FIRST_CONNECT_BACKOFF, PIPELINE_BUFFER};

/// One connection. Clones are the same connection.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) connection: MultiplexedConnection,
    /// Set as soon as the library notices that the connection is closed, even if nobody is using it.
    closed: Arc<AtomicBool>,
}

/// Filled once, by the first call that needs it; the others wait for that.
type Slot = Arc<OnceCell<Live>>;

/// Gives out the connection.
pub(crate) struct Shared {
    client: Client,
    response_timeout: Duration,
    connect_timeout: Duration,
    /// Locked only for the moment of reading or replacing it.
    slot: Mutex<Slot>,
}

impl Shared {
    pub(crate) fn new(client: Client, response_timeout: Duration, connect_timeout: Duration) -> Self {
        Self { client, response_timeout, connect_timeout, slot: Mutex::new(Slot::default()) }
    }

    /// The live connection, made if there is none. Nothing of the caller's has been sent when this fails.
    pub(crate) async fn get(&self) -> Result<Live, Error> {
        let slot = self.current_slot();
        match tokio::time::timeout(self.connect_timeout, slot.get_or_try_init(|| self.connect())).await {
            Ok(Ok(live)) => Ok(live.clone()),
            Ok(Err(error)) => Err(Error::Unavailable(format!("cannot connect: {error}"))),
            Err(_) => Err(Error::Unavailable(format!("cannot connect within {} ms", self.connect_timeout.as_millis()))),
        }
    }

    /// Lets the next call make a new connection. Calls that are in flight on the old one keep it until they are answered or time out.
    pub(crate) fn discard(&self, broken: &Live) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.get().is_some_and(|live| Arc::ptr_eq(&live.closed, &broken.closed)) {
            *slot = Slot::default();
        }
    }

    fn current_slot(&self) -> Slot {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.get().is_some_and(|live| live.closed.load(Ordering::Acquire)) {
            *slot = Slot::default();
        }
        Arc::clone(&slot)
    }

    async fn connect(&self) -> RedisResult<Live> {
        let mut backoff = FIRST_CONNECT_BACKOFF;
        let mut attempt = 1;
        loop {
            match self.connect_once().await {
                Ok(live) => return Ok(live),
                Err(error) if attempt == CONNECT_ATTEMPTS => {
                    tracing::warn!(%error, attempt, "cannot connect to redis");
                    return Err(error);
                }
                Err(_) => {
                    tokio::time::sleep(backoff).await;
                    backoff *= 2;
                    attempt += 1;
                }
            }
        }
    }

    async fn connect_once(&self) -> RedisResult<Live> {
        let closed = Arc::new(AtomicBool::new(false));
        let notice = Arc::clone(&closed);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    notice.store(true, Ordering::Release);
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        tracing::info!("connected to redis");
        Ok(Live { connection, closed })
    }
}
