//! The edge server: it binds, accepts, and ends. Invariants: every task belongs to the server and is gone when
//! [`Server::run`] has returned; after a shutdown is asked for, no connection is accepted and no begun request is dropped
//! before the drain time-out.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    answer::{Answers, Handler},
    body::BodyCaps,
    config::ServerConfig,
    connection::Connections,
    error::Error,
    jwks::Jwks,
    known_tokens::KnownTokens,
    rate_limit::RateLimit,
    shape::Shape,
    stack::Stack,
    tls,
    token::TokenCheck,
};

/// Pause after the system could not accept (usually: out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long cancelled tasks are waited for after the drain time-out.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The edge HTTP server. Made by [`Server::bind`], served by [`Server::run`].
pub struct Server {
    listener: Mutex<Option<TcpListener>>,
    address: SocketAddr,
    stack: Arc<Stack>,
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
    drain_timeout: Duration,
    /// Handlers, and hyper's tasks for HTTP/2 streams.
    tasks: TaskTracker,
    /// Ends the handlers when nobody waits for them any longer.
    abort: CancellationToken,
}

/// Takes the port, alone or beside other processes that agree to it.
fn listen(address: SocketAddr, reuse_port: bool) -> std::io::Result<TcpListener> {
    /// Connections that wait to be accepted; the system caps it at its own limit.
    const BACKLOG: u32 = 1024;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As TcpListener::bind does: a restarted server need not wait for old connections to time out.
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(reuse_port)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Server {
    /// Checks the configuration and takes the port, without accepting on it yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// A wrong configuration, an unusable certificate, or a port that cannot be taken.
    pub async fn bind(config: ServerConfig, handler: Arc<dyn Handler>) -> Result<Self, Error> {
        config.validate()?;
        let tls = tls::acceptor(&config)?;
        let (tasks, abort) = (TaskTracker::new(), CancellationToken::new());
        let stack = Arc::new(Stack {
            shape: Shape { header_limit_bytes: config.header_limit_bytes, uri_limit_bytes: config.uri_limit_bytes },
            token_check: TokenCheck {
                issuer: config.issuer.clone(),
                audience: config.audience.clone(),
                clock_skew: Duration::from_secs(config.clock_skew_seconds),
                public_paths: config.public_paths.clone(),
                jwks: Jwks::new(&config)?,
                known: KnownTokens::default(),
            },
            rate_limit: RateLimit::new(config.requests_per_second, config.burst),
            in_flight: Arc::new(Semaphore::new(config.max_in_flight)),
            body_caps: BodyCaps { limit_bytes: config.body_limit_bytes, timeout: config.request_timeout() },
            answers: Answers::new(handler, config.answer_timeout(), tasks.clone(), abort.clone()),
        });
        let bound = |source| Error::Bind { address: config.address, source };
        let listener = listen(config.address, config.reuse_port).map_err(bound)?;
        let address = listener.local_addr().map_err(bound)?;
        Ok(Self {
            listener: Mutex::new(Some(listener)),
            address,
            connections: Arc::new(Connections::new(&config, tls, Arc::clone(&stack), tasks.clone())),
            stack,
            places: Arc::new(Semaphore::new(config.max_connections)),
            drain_timeout: Duration::from_millis(config.drain_timeout_ms),
            tasks,
            abort,
        })
    }

    /// The address that was taken, with its real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Whether tokens can be checked: the issuer's keys were fetched at least once. They are fetched by [`Server::run`], so
    /// this is `false` before.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.stack.token_check.jwks.ready()
    }

    /// Serves until `shutdown`, then answers what was begun, for at most the drain time-out.
    ///
    /// # Errors
    /// [`Error::AlreadyRun`] the second time.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<(), Error> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(Error::AlreadyRun)?;
        // Should this future be dropped half-way, the handlers end with it, like the tasks of the sets below.
        let abort = self.abort.clone().drop_guard();
        let mut upkeep = JoinSet::new();
        let upkeep_stop = CancellationToken::new();
        let (stack, stop) = (Arc::clone(&self.stack), upkeep_stop.clone());
        upkeep.spawn(async move { stack.token_check.jwks.run(stop).await });
        let (stack, stop) = (Arc::clone(&self.stack), upkeep_stop.clone());
        upkeep.spawn(async move { stack.rate_limit.sweep(stop).await });

        let mut open = JoinSet::new();
        self.accept(listener, &mut open, &shutdown).await;
        // The listener is closed: whoever comes now is refused by the system and tries another host.
        self.drain(&mut open).await;
        drop(abort);
        self.tasks.close();
        if tokio::time::timeout(ABORT_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!("a request did not end when it was cancelled");
        }
        upkeep_stop.cancel();
        while upkeep.join_next().await.is_some() {}
        Ok(())
    }

    async fn accept(&self, listener: TcpListener, open: &mut JoinSet<()>, shutdown: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, open, shutdown),
                    Err(error) => {
                        tracing::warn!(error = %error, "accepting");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                // Ended connections are collected here, or their results would pile up.
                Some(_) = open.join_next() => {}
            }
        }
    }

    /// Layer 1 of the stack: the connection limit.
    fn admit(&self, stream: TcpStream, peer: SocketAddr, open: &mut JoinSet<()>, shutdown: &CancellationToken) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            // Closing is the honest answer: a client left waiting in the queue could not tell us from a dead host.
            metrics::counter!("swiftcart_http_rejected_connections_total").increment(1);
            return;
        };
        let (connections, shutdown) = (Arc::clone(&self.connections), shutdown.clone());
        open.spawn(async move {
            let _gauge = OpenGauge::new();
            connections.serve(stream, peer, shutdown).await;
            drop(place);
        });
    }

    async fn drain(&self, open: &mut JoinSet<()>) {
        let drained = tokio::time::timeout(self.drain_timeout, async {
            while open.join_next().await.is_some() {}
            // Also those whose client went away.
            self.tasks.close();
            self.tasks.wait().await;
        });
        if drained.await.is_err() {
            tracing::warn!(
                connections = open.len(),
                requests = self.tasks.len(),
                "the drain time-out passed; closing what is left"
            );
            open.shutdown().await;
        }
    }
}

/// Counts a connection as open as long as it lives, however its task ends.
struct OpenGauge;

impl OpenGauge {
    fn new() -> Self {
        metrics::gauge!("swiftcart_http_open_connections").increment(1.0);
        Self
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        metrics::gauge!("swiftcart_http_open_connections").decrement(1.0);
    }
}
