//! The client: sends one command and sorts what comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use redis::{Client, Cmd, RedisError, Value};

use crate::config::Config;
use crate::connection::Shared;
use crate::error::{Effect, Error};
use crate::script::Digests;

const CALLS: &str = "swiftcart_redis_calls_total";
const DURATION: &str = "swiftcart_redis_call_duration_seconds";

/// One Redis. Clones share the connection.
#[derive(Clone)]
pub struct Redis {
    shared: Arc<Shared>,
    pub(crate) digests: Arc<Digests>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Nothing inside is worth showing, and the address holds a password.
        formatter.debug_struct("Redis").finish_non_exhaustive()
    }
}

impl Redis {
    /// Makes the connection, so that a wrong address or password is found now. Fails with `Unavailable` or `Invalid`; the caller decides
    /// whether to try again.
    pub async fn connect(config: Config) -> Result<Self, Error> {
        describe_counter!(CALLS, "Commands by kind and outcome");
        describe_histogram!(DURATION, Unit::Seconds, "From asking for the connection to the answer");
        let info = config.connection_info().map_err(|error| Error::Invalid(error.to_string()))?;
        let client = Client::open(info)
            .map_err(|error| Error::Invalid(format!("the address of redis is not usable: {}", error.category())))?;
        let shared = Shared::new(
            client,
            Duration::from_millis(config.response_timeout_ms),
            Duration::from_millis(config.connect_timeout_ms),
        );
        shared.get().await?;
        Ok(Self { shared: Arc::new(shared), digests: Arc::default() })
    }

    /// Asks the server for a sign of life.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call("ping", &redis::cmd("PING"), Effect::Reads).await.map(drop)
    }

    /// Sends one command. `kind` is the word for metrics.
    pub(crate) async fn call(&self, kind: &'static str, command: &Cmd, effect: Effect) -> Result<Value, Error> {
        let started = Instant::now();
        let result = match self.send(command).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::after_send(&error, effect)),
            Err(not_sent) => Err(not_sent),
        };
        record(kind, started, result.as_ref().err());
        result
    }

    /// The outer error means that nothing was sent. The inner one is the server's word, or the end of the connection.
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Error> {
        let mut live = self.shared.get().await?;
        let result = live.connection.send_packed_command(command).await;
        if let Err(error) = &result
            && (error.is_io_error() || error.is_unrecoverable_error())
        {
            // A time-out too: a server that is stuck or unreachable must be noticed by connecting, which is certain to send nothing.
            self.shared.discard(&live);
        }
        Ok(result.and_then(Value::extract_error))
    }
}

/// Counts one call.
pub(crate) fn record(kind: &'static str, started: Instant, error: Option<&Error>) {
    counter!(CALLS, "kind" => kind, "outcome" => error.map_or("ok", Error::outcome)).increment(1);
    histogram!(DURATION, "kind" => kind).record(started.elapsed().as_secs_f64());
}
