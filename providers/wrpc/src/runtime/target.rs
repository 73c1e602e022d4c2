//! Calls of a function of a component, wherever in the lattice it runs. Invariant: the failure says whether the component may have acted.

use std::time::Duration;

use async_nats::{Client, HeaderMap};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;
use tokio_util::codec::{Decoder, Encoder as _, FramedRead};
use wrpc_transport::{Invoke as _, TupleDecode, TupleEncode};
use wrpc_transport_nats::{ParamWriter, Reader};

type Transport = wrpc_transport_nats::Client;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// Nobody serves it: nothing was done.
    #[error("{0} is not running anywhere in the lattice")]
    NotRunning(String),
    /// The call did not leave: nothing was done.
    #[error("NATS is not there: {0}")]
    NotSent(String),
    /// It may have acted.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// It may have acted: it trapped, or its host is gone.
    #[error("the call broke off: {0}")]
    BrokenOff(String),
}

impl Failed {
    /// Whether something may have been done.
    pub(crate) fn may_have_acted(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::BrokenOff(_))
    }
}

/// A component as a callee.
pub(crate) struct Target {
    nats: Client,
    lattice: String,
    own_id: String,
    id: String,
    link_name: String,
    /// Made by the first call: a link may be put before NATS is back.
    transport: OnceCell<Transport>,
}

impl Target {
    /// The component `id`, called by us under a link's name.
    pub(crate) fn new(nats: Client, lattice: &str, own_id: &str, id: &str, link_name: &str) -> Self {
        Self {
            nats,
            lattice: lattice.to_owned(),
            own_id: own_id.to_owned(),
            id: id.to_owned(),
            link_name: link_name.to_owned(),
            transport: OnceCell::new(),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn nats(&self) -> &Client {
        &self.nats
    }

    /// What its subjects begin with.
    pub(super) fn prefix(&self) -> String {
        format!("{}.{}", self.lattice, self.id)
    }

    /// Calls a function whose parameters and results stream nothing. `trace` are the headers of a W3C trace context.
    ///
    /// # Errors
    /// When there is no answer in time.
    pub(crate) async fn call<P, R>(
        &self,
        instance: &str,
        function: &str,
        parameters: P,
        trace: &[(&str, &str)],
        limit: Duration,
    ) -> Result<R, Failed>
    where
        P: TupleEncode<ParamWriter>,
        R: TupleDecode<Reader>,
        <R::Decoder as Decoder>::Error: std::fmt::Display,
    {
        let mut encoded = BytesMut::new();
        P::Encoder::default()
            .encode(parameters, &mut encoded)
            .map_err(|_| Failed::NotSent("the parameters cannot be encoded".to_owned()))?;
        let calling = self.answer::<R>(instance, function, encoded.freeze(), self.headers(trace, limit));
        tokio::time::timeout(limit, calling).await.unwrap_or(Err(Failed::TimedOut(limit)))
    }

    async fn answer<R>(
        &self,
        instance: &str,
        function: &str,
        parameters: Bytes,
        headers: HeaderMap,
    ) -> Result<R, Failed>
    where
        R: TupleDecode<Reader>,
        <R::Decoder as Decoder>::Error: std::fmt::Display,
    {
        let not_sent = |error: anyhow::Error| Failed::NotSent(format!("{error:#}"));
        let paths: [Box<[Option<usize>]>; 0] = [];
        let transport = self.transport().await.map_err(not_sent)?;
        let (mut outgoing, incoming) =
            transport.invoke(Some(headers), instance, function, parameters, paths).await.map_err(not_sent)?;
        outgoing.shutdown().await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotConnected => Failed::NotRunning(self.id.clone()),
            _ => Failed::BrokenOff(error.to_string()),
        })?;
        match FramedRead::new(incoming, R::Decoder::default()).next().await {
            Some(Ok(results)) => Ok(results),
            Some(Err(error)) => Err(Failed::BrokenOff(error.to_string())),
            None => Err(Failed::BrokenOff("the callee gave no answer".to_owned())),
        }
    }

    async fn transport(&self) -> anyhow::Result<&Transport> {
        self.transport.get_or_try_init(|| Transport::new(self.nats.clone(), self.prefix(), None)).await
    }

    /// Who calls over which link, with the headers of a W3C trace context.
    pub(crate) fn headers(&self, trace: &[(&str, &str)], limit: Duration) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("source-id", self.own_id.as_str());
        headers.insert("target-id", self.id.as_str());
        headers.insert("link-name", self.link_name.as_str());
        headers.insert("swiftcart-timeout-ms", limit.as_millis().to_string());
        for (name, value) in trace {
            // A header with a line break would be two.
            if !value.contains(['\r', '\n']) {
                headers.insert(*name, *value);
            }
        }
        headers
    }
}
