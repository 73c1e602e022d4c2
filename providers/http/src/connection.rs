//! One accepted connection: TLS if configured, then HTTP/1.1 or HTTP/2, request by request into the stack. Invariant: every
//! wait for the peer has an end, and on shutdown requests that were begun are answered before the connection closes.

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use hyper::{rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::ServerConfig, shape::hard_header_limit_bytes, stack::Stack, watched::Watched};

/// hyper panics when given less.
const LEAST_READ_BUFFER_BYTES: usize = 8 * 1024;
/// Streams of one HTTP/2 connection; the least that RFC 9113, 6.5.2 recommends.
const MAX_STREAMS: u32 = 100;
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Connections {
    http: auto::Builder<Tracked>,
    tls: Option<TlsAcceptor>,
    stack: Arc<Stack>,
    /// Limit for the TLS handshake, the first bytes, and a peer that does not read.
    limit: Duration,
}

/// hyper's own tasks (HTTP/2 streams) belong to the server like all others.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

impl Connections {
    pub(crate) fn new(config: &ServerConfig, tls: Option<TlsAcceptor>, stack: Arc<Stack>, tasks: TaskTracker) -> Self {
        let head_bytes = hard_header_limit_bytes(config.header_limit_bytes, config.uri_limit_bytes);
        let mut http = auto::Builder::new(Tracked(tasks));
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.request_timeout())
            // A head that does not fit into the buffer is answered with a bare 431.
            .max_buf_size(head_bytes.max(LEAST_READ_BUFFER_BYTES));
        http.http2()
            .timer(TokioTimer::new())
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(HTTP2_PING_INTERVAL)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT);
        Self { http, tls, stack, limit: config.request_timeout() }
    }

    pub(crate) async fn serve(&self, stream: TcpStream, peer: SocketAddr, shutdown: CancellationToken) {
        // Answers are small and complete; waiting to fill a packet would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = %error, "set_nodelay");
        }
        let Some(tls) = &self.tls else { return self.speak(stream, peer, shutdown).await };
        match tokio::time::timeout(self.limit, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.speak(stream, peer, shutdown).await,
            Ok(Err(error)) => tracing::debug!(error = %error, "TLS handshake"),
            Err(_) => tracing::debug!("TLS handshake took too long"),
        }
    }

    async fn speak<S>(&self, stream: S, peer: SocketAddr, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = service_fn(|request| {
            let stack = Arc::clone(&self.stack);
            async move { Ok::<_, Infallible>(stack.serve(request, peer.ip()).await) }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(Watched::new(stream, self.limit)), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            // Peers hang up in every way there is; what matters was recorded per request.
            tracing::debug!(error = %error, "connection ended");
        }
    }
}
