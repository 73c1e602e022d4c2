//! Calling components and providers on other hosts. Invariant: a call ends by its deadline; `Unreachable` means that nobody took it, anything
//! else that went wrong on the way counts as "may have acted".

use std::collections::HashMap;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use async_nats::connection::State;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::OnceCell;
use wasmtime::component::{Type, Val};
use wrpc_transport::{Index as _, Invoke as _};
use wrpc_transport_nats::{Client, Reader};

use super::codec::{self, CodecError};
use super::{context, failure, prefix};
use crate::limits;
use crate::link::{Remote, Way};
use crate::runtime::{CallContext, CallError};

/// Where our hosts say why a call failed: a second result, which no function has.
const FAILURE_PATH: [usize; 1] = [1];

/// The road to other hosts of one lattice.
pub struct NatsRemote {
    nats: async_nats::Client,
    lattice: String,
    /// One per target of a link: each has an inbox of its own, so that a large answer of one target does not hold up the others.
    clients: Mutex<HashMap<String, Arc<OnceCell<Client>>>>,
}

impl NatsRemote {
    /// Calls over this connection, in this lattice.
    #[must_use]
    pub fn new(nats: async_nats::Client, lattice: &str) -> Self {
        Self { nats, lattice: lattice.to_owned(), clients: Mutex::new(HashMap::new()) }
    }

    async fn client(&self, target: &str) -> Result<Client, CallError> {
        let cell =
            self.clients.lock().unwrap_or_else(PoisonError::into_inner).entry(target.to_owned()).or_default().clone();
        let make = || Client::new(self.nats.clone(), prefix(&self.lattice, target), None);
        let client = cell.get_or_try_init(make).await.map_err(|error| {
            tracing::warn!(target_id = target, %error, "no inbox for calls to another host");
            CallError::Unreachable { component: target.to_owned() }
        })?;
        Ok(client.clone())
    }

    /// The call without its deadline.
    async fn converse(&self, way: &Way, params: Bytes, call: &CallContext) -> Result<Vec<Val>, CallError> {
        let lost = |reason: String| CallError::Lost { component: way.target.clone(), reason };
        // A message that waits for a connection would be delivered to a callee for whom nobody waits any more.
        if self.nats.connection_state() != State::Connected {
            return Err(CallError::Unreachable { component: way.target.clone() });
        }
        let client = self.client(&way.target).await?;
        let paths = [FAILURE_PATH.map(Some)];
        let (mut outgoing, incoming) = client
            .invoke(Some(context::headers(way, call)), &way.interface, &way.function, params, &paths)
            .await
            .map_err(|error| lost(format!("{error:#}")))?;
        // Waits for the callee's handshake, sends what did not fit into the first message, and closes.
        let sending = async move { outgoing.shutdown().await };
        let (mut sending, mut answer) = (pin!(sending), pin!(receive(way, incoming)));
        tokio::select! {
            sent = &mut sending => match sent {
                Ok(()) => answer.await,
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    Err(CallError::Unreachable { component: way.target.clone() })
                }
                Err(error) => Err(lost(format!("its parameters were not taken: {error}"))),
            },
            answer = &mut answer => answer,
        }
    }
}

#[async_trait]
impl Remote for NatsRemote {
    async fn call(&self, way: &Way, params: &[Val], results: &mut [Val], call: CallContext) -> Result<(), CallError> {
        let bytes = encode(way, params)?;
        let late = |_| CallError::DeadlineExceeded { component: way.target.clone() };
        let values = tokio::time::timeout(call.remaining(), self.converse(way, bytes, &call)).await.map_err(late)??;
        if values.len() != results.len() {
            let reason = format!("it answered with {} values instead of {}", values.len(), results.len());
            return Err(CallError::Lost { component: way.target.clone(), reason });
        }
        for (place, value) in results.iter_mut().zip(values) {
            *place = value;
        }
        Ok(())
    }
}

/// The parameters, one behind the other. What cannot be sent was not done.
fn encode(way: &Way, params: &[Val]) -> Result<Bytes, CallError> {
    let refused = |reason: String| CallError::Instantiate { component: way.target.clone(), reason };
    if params.len() != way.params.len() {
        return Err(refused(format!("{} parameters were given instead of {}", params.len(), way.params.len())));
    }
    let mut bytes = BytesMut::new();
    for (value, ty) in params.iter().zip(&way.params) {
        codec::encode(value, ty, &mut bytes).map_err(|error| refused(error.to_string()))?;
    }
    if bytes.len() > limits::MAX_REMOTE_BYTES {
        return Err(CallError::Overloaded { component: way.target.clone(), reason: failure::TOO_LARGE });
    }
    Ok(bytes.freeze())
}

/// Reads until the results are complete or the callee closes.
async fn receive(way: &Way, mut incoming: Reader) -> Result<Vec<Val>, CallError> {
    let lost = |reason: String| CallError::Lost { component: way.target.clone(), reason };
    let mut bytes = BytesMut::new();
    // Reading anew after each message would read a large answer many times over; after each doubling, twice at most.
    let mut next_try = 1;
    loop {
        bytes.reserve(64 << 10);
        let closed = incoming.read_buf(&mut bytes).await.map_err(|error| lost(error.to_string()))? == 0;
        if bytes.len() > limits::MAX_REMOTE_BYTES {
            return Err(lost("its answer is larger than a call between hosts may be".to_owned()));
        }
        if closed && let Some(error) = told(way, &incoming) {
            return Err(error);
        }
        if !closed && (bytes.len() < next_try || way.results.is_empty()) {
            continue;
        }
        next_try = bytes.len() * 2;
        match decode_all(&bytes, &way.results) {
            Ok(values) => return Ok(values),
            Err(CodecError::Truncated) if !closed => {}
            Err(CodecError::Truncated) if bytes.is_empty() => {
                return Err(lost("it closed without an answer".to_owned()));
            }
            Err(error) => return Err(lost(format!("its answer cannot be read: {error}"))),
        }
    }
}

/// Why the callee failed, if it said so. It says so before it closes, so the message is here if there is one.
fn told(way: &Way, incoming: &Reader) -> Option<CallError> {
    let mut channel = incoming.index(&FAILURE_PATH).ok()?;
    let mut bytes = BytesMut::with_capacity(limits::MAX_REMOTE_FAILURE_BYTES);
    tokio::task::unconstrained(channel.read_buf(&mut bytes)).now_or_never()?.ok()?;
    (!bytes.is_empty()).then(|| failure::read(&way.target, &bytes))
}

/// All values, with nothing behind them.
pub(super) fn decode_all(mut bytes: &[u8], types: &[Type]) -> Result<Vec<Val>, CodecError> {
    let mut source = codec::Source::new(&mut bytes);
    let values = types.iter().map(|ty| source.value(ty)).collect::<Result<Vec<Val>, CodecError>>()?;
    if bytes.is_empty() { Ok(values) } else { Err(CodecError::Invalid("there are bytes behind it")) }
}
