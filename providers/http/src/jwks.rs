//! The issuer's keys, kept fresh by one task. Invariants: a set that was once good serves until a better one is there,
//! however long the issuer is away; at most one fetch runs at a time; unknown key ids cause at most one fetch per interval,
//! so that made-up ids cannot be used to flood the issuer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Uri, header::ACCEPT};
use http_body_util::{BodyExt, Empty, Limited};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    client::{Client, TimedBody, Timeouts},
    config::{ClientConfig, ServerConfig},
    erased::BoxError,
    error::Error,
    key_set::KeySet,
};

/// Longest key set that is read: dozens of RSA keys with certificates.
const LIMIT_BYTES: usize = 512 * 1024;
/// Pauses after failed fetches double from the first to the last.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Why there is no key for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The issuer's current set does not have it.
    Unknown,
    /// We cannot know: the set was never fetched, or cannot be fetched now.
    Unavailable,
}

pub(crate) struct Jwks {
    uri: Uri,
    client: Client,
    max_age: Duration,
    refresh_interval: Duration,
    timeout: Duration,
    state: watch::Sender<State>,
    wanted: Notify,
}

#[derive(Clone, Default)]
struct State {
    keys: Option<Arc<KeySet>>,
    /// Fetches that ended, well or not: whoever waits for one waits for this to change.
    fetches: u64,
    last_fetch: Option<Instant>,
    last_failed: bool,
}

impl Jwks {
    pub(crate) fn new(config: &ServerConfig) -> Result<Self, Error> {
        let uri = config.jwks_uri()?;
        let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let client = Client::new(ClientConfig { allowed_hosts: vec![host], ..ClientConfig::default() })?;
        Ok(Self {
            uri,
            client,
            max_age: Duration::from_secs(config.jwks_max_age_seconds),
            refresh_interval: Duration::from_millis(config.jwks_refresh_interval_ms),
            timeout: Duration::from_millis(config.jwks_timeout_ms),
            state: watch::Sender::new(State::default()),
            wanted: Notify::new(),
        })
    }

    /// Whether the keys were fetched at least once.
    pub(crate) fn ready(&self) -> bool {
        self.state.borrow().keys.is_some()
    }

    /// Changes whenever a fetch may have brought other keys.
    pub(crate) fn fetches(&self) -> u64 {
        self.state.borrow().fetches
    }

    /// The key for a token's header; waits for a fetch when the id is new and a fetch is due.
    pub(crate) async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, NoKey> {
        let before = self.state.borrow().clone();
        let Some(keys) = &before.keys else { return Err(NoKey::Unavailable) };
        if let Some(key) = keys.find(id, algorithm) {
            return Ok(key.clone());
        }
        // Without an id no newer set would make the choice for us.
        if id.is_none() {
            return Err(NoKey::Unknown);
        }
        let after = if self.refresh_is_due(&before) { self.refreshed(before.fetches).await? } else { before };
        match after.keys.as_ref().and_then(|keys| keys.find(id, algorithm)) {
            Some(key) => Ok(key.clone()),
            // The issuer may have rotated while we could not reach it, so this token may be good.
            None if after.last_failed => Err(NoKey::Unavailable),
            None => Err(NoKey::Unknown),
        }
    }

    /// Fetches at once, again at the maximal age, sooner when it failed or an unknown id came. Ends with `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut failures = 0_u32;
        loop {
            let fetched = tokio::select! {
                () = stop.cancelled() => return,
                fetched = tokio::time::timeout(self.timeout, self.fetch()) => fetched,
            };
            let fetched =
                fetched.unwrap_or_else(|_| Err(format!("no answer within {} ms", self.timeout.as_millis()).into()));
            failures = if fetched.is_ok() { 0 } else { failures.saturating_add(1) };
            self.store(fetched);
            let pause = if failures == 0 { self.max_age } else { retry_pause(failures).min(self.max_age) };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.wanted_and_due() => {}
            }
        }
    }

    fn refresh_is_due(&self, state: &State) -> bool {
        state.last_fetch.is_none_or(|last| last.elapsed() >= self.refresh_interval)
    }

    async fn refreshed(&self, seen: u64) -> Result<State, NoKey> {
        let mut states = self.state.subscribe();
        self.wanted.notify_one();
        // The fetch has its own time limit; ours only ends the wait should its task be gone.
        let limit = self.timeout.saturating_mul(2);
        match tokio::time::timeout(limit, states.wait_for(|state| state.fetches != seen)).await {
            Ok(Ok(state)) => Ok(state.clone()),
            Ok(Err(_)) | Err(_) => Err(NoKey::Unavailable),
        }
    }

    async fn wanted_and_due(&self) {
        loop {
            self.wanted.notified().await;
            // A wish from before the last fetch ended was fulfilled by it.
            if self.refresh_is_due(&self.state.borrow()) {
                return;
            }
        }
    }

    fn store(&self, fetched: Result<KeySet, BoxError>) {
        let outcome = if fetched.is_ok() { "fetched" } else { "failed" };
        metrics::counter!("swiftcart_http_jwks_fetches_total", "outcome" => outcome).increment(1);
        match &fetched {
            Ok(keys) => tracing::debug!(keys = keys.len(), "fetched the issuer's keys"),
            Err(error) => {
                tracing::warn!(error = %error, ready = self.ready(), "fetching the issuer's keys failed; the last good ones stay");
            }
        }
        self.state.send_modify(|state| {
            state.fetches = state.fetches.wrapping_add(1);
            state.last_fetch = Some(Instant::now());
            state.last_failed = fetched.is_err();
            if let Ok(keys) = fetched {
                state.keys = Some(Arc::new(keys));
            }
        });
    }

    async fn fetch(&self) -> Result<KeySet, BoxError> {
        let request = Request::get(self.uri.clone()).header(ACCEPT, "application/json").body(Empty::<Bytes>::new())?;
        let timeouts = Timeouts { connect: self.timeout, first_byte: self.timeout, between_bytes: self.timeout };
        let response = self.client.send(request, timeouts).await?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("status {}", response.status().as_u16()).into());
        }
        let body = TimedBody::new(response.into_body(), timeouts.between_bytes);
        let text = Limited::new(body, LIMIT_BYTES).collect().await?.to_bytes();
        Ok(KeySet::parse(&text)?)
    }
}

/// Doubling pauses, each between half and all of its length, so that many hosts do not ask in step.
fn retry_pause(failures: u32) -> Duration {
    let full = FIRST_RETRY.saturating_mul(1_u32 << failures.saturating_sub(1).min(16)).min(LAST_RETRY);
    full.mul_f64(rand::random_range(0.5..=1.0))
}
