//! The accept loop of both servers. Invariant: a handler can end its own connection without an answer (a fault that clients must survive),
//! and a shutdown is bounded even when a handler hangs on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// How long open requests may go on after a shutdown was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Lets a handler cut the connection that its request came on.
#[derive(Clone, Default)]
pub struct Connection(Arc<Notify>);

impl Connection {
    /// Closes the connection without an answer; the caller must not return a response afterwards.
    pub async fn cut(&self) -> axum::response::Response {
        self.0.notify_one();
        std::future::pending().await
    }
}

/// Binds a loopback address. Both servers have calls that nobody but the developer may reach, so any other address is refused.
///
/// # Errors
/// When the address is not a loopback address or is in use.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    ensure!(address.ip().is_loopback(), "{address} is not a loopback address; a simulator listens on 127.0.0.1 only");
    TcpListener::bind(address).await.with_context(|| format!("listening on {address}"))
}

/// Serves until `shutdown` resolves, then lets open requests finish within a second.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut connections = JoinSet::new();
    let (stop, _) = watch::channel(());
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, router.clone(), stop.subscribe()))),
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop((listener, stop));
    // A handler that hangs on purpose never ends, so the wait has a bound.
    let _ = tokio::time::timeout(SHUTDOWN_GRACE, async { while connections.join_next().await.is_some() {} }).await;
}

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let this = Connection::default();
    let service = TowerToHyperService::new(router.layer(Extension(this.clone())));
    let builder = Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            result = &mut served => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = this.0.notified() => return,
            _ = stop.changed(), if !stopping => {
                // An idle connection closes at once, a busy one after its answer.
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Resolves at ctrl-c or SIGTERM.
pub async fn stop_signal() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}
