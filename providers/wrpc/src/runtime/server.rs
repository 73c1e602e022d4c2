//! Serves functions over wRPC. Invariants: an invocation that hangs or breaks off disturbs no other one; one whose parameters have arrived
//! when the server ends is still answered, within a bound.
//!
//! `wrpc_transport`'s own server decodes the parameters of one invocation after the other, so that a caller that stops half way stops the
//! function for everybody. Here each has a task and a time limit of its own.

use std::pin::pin;
use std::sync::Arc;

use anyhow::Context as _;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder, FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wrpc_transport::{Serve, TupleDecode, TupleEncode};
use wrpc_transport_nats::{NatsContext, Reader as Incoming, SubjectWriter as Outgoing};

use crate::limits;

type Transport = wrpc_transport_nats::Client;

/// Who makes a call, as the headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The component's id.
    pub(crate) source_id: String,
    /// The name of the link that the component chose.
    pub(crate) link_name: String,
}

impl Caller {
    fn of(context: &NatsContext) -> Self {
        let header = |name: &str| context.headers.as_ref()?.get(name).map(|value| value.as_str().to_owned());
        Self {
            source_id: header("source-id").unwrap_or_default(),
            link_name: header("link-name").filter(|name| !name.is_empty()).unwrap_or_else(|| "default".to_owned()),
        }
    }
}

/// Serves under one prefix. Dropped before `finish`, it leaves running invocations to their end.
pub(crate) struct Server {
    transport: Transport,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Server {
    /// A server for what the lattice knows as `id`. All servers of one id share the load.
    ///
    /// # Errors
    /// When NATS is not there.
    pub(crate) async fn new(nats: async_nats::Client, lattice: &str, id: &str) -> anyhow::Result<Self> {
        let prefix = format!("{lattice}.{id}");
        let transport = Transport::new(nats, prefix.as_str(), Some(prefix.as_str().into())).await?;
        Ok(Self {
            transport,
            permits: Arc::new(Semaphore::new(limits::MAX_INVOCATIONS)),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        })
    }

    /// Serves one function from now on. `handle` gives the results as a tuple.
    ///
    /// # Errors
    /// When NATS is not there.
    pub(crate) async fn serve<P, R, F, Fut>(
        &self,
        instance: &'static str,
        function: &'static str,
        handle: F,
    ) -> anyhow::Result<()>
    where
        P: TupleDecode<Incoming> + Send + 'static,
        P::Decoder: Send,
        <P::Decoder as Decoder>::Error: std::error::Error + Send + Sync + 'static,
        R: TupleEncode<Outgoing> + Send + 'static,
        R::Encoder: Send,
        <R::Encoder as Encoder<R>>::Error: std::error::Error + Send + Sync + 'static,
        F: Fn(Caller, P) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let paths: [Box<[Option<usize>]>; 0] = [];
        let invocations = self
            .transport
            .serve(instance, function, paths)
            .await
            .with_context(|| format!("serving {instance}.{function}"))?;
        let (permits, tasks, stop) = (self.permits.clone(), self.tasks.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let mut invocations = pin!(invocations);
            // NATS may have handed us some that we have not looked at yet.
            let mut ended = pin!(lingered(&stop));
            loop {
                let Ok(permit) = permits.clone().acquire_owned().await else { return };
                let invocation = tokio::select! {
                    biased;
                    () = &mut ended => return,
                    invocation = invocations.next() => invocation,
                };
                let (context, outgoing, incoming) = match invocation {
                    Some(Ok(invocation)) => invocation,
                    Some(Err(error)) => {
                        tracing::debug!(instance, function, error = format!("{error:#}"), "an invocation broke off");
                        continue;
                    }
                    None => return,
                };
                let (handle, stop) = (handle.clone(), stop.clone());
                tasks.spawn(async move {
                    let caller = Caller::of(&context);
                    let source = caller.source_id.clone();
                    if let Err(error) = one(caller, outgoing, incoming, handle, &stop).await {
                        tracing::warn!(instance, function, source, error = format!("{error:#}"), "no answer was given");
                    }
                    drop(permit);
                });
            }
        });
        Ok(())
    }

    /// Takes no more invocations, and waits for those that have arrived, within the bound.
    pub(crate) async fn finish(&self) {
        self.stop.cancel();
        self.tasks.close();
        if timeout(limits::DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!(running = self.tasks.len(), "some invocations do not end; they are cut off");
        }
    }
}

/// Returns a moment after the stop.
async fn lingered(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(limits::LINGER).await;
}

/// One invocation. When it fails nothing is answered: the caller sees its channel closed, for wRPC has no other word for it.
async fn one<P, R, F, Fut>(
    caller: Caller,
    outgoing: Outgoing,
    incoming: Incoming,
    handle: F,
    stop: &CancellationToken,
) -> anyhow::Result<()>
where
    P: TupleDecode<Incoming>,
    <P::Decoder as Decoder>::Error: std::error::Error + Send + Sync + 'static,
    R: TupleEncode<Outgoing>,
    <R::Encoder as Encoder<R>>::Error: std::error::Error + Send + Sync + 'static,
    F: Fn(Caller, P) -> Fut,
    Fut: Future<Output = R>,
{
    let mut decoder = FramedRead::new(incoming.take(limits::MAX_PARAMETER_BYTES), P::Decoder::default());
    let parameters = tokio::select! {
        arrived = timeout(limits::PARAMETERS, decoder.next()) => arrived.context("the parameters did not arrive in time")?,
        () = lingered(stop) => anyhow::bail!("the parameters had not arrived when the program was ended"),
    };
    let parameters =
        parameters.context("the parameters are incomplete")?.context("the parameters are not as expected")?;
    let results = handle(caller, parameters).await;
    let answering = async {
        let mut encoder = FramedWrite::new(outgoing, R::Encoder::default());
        encoder.send(results).await.context("sending the results")?;
        encoder.into_inner().shutdown().await.context("closing the results")
    };
    timeout(limits::ANSWER, answering).await.context("the answer could not be handed over in time")?
}
