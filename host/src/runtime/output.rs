//! A guest's standard output and error as log lines, so that a panic message inside the sandbox is not lost. Never blocks the guest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};

use super::identity::Identity;
use crate::limits;

/// One stream of one guest.
#[derive(Clone)]
pub struct GuestOutput {
    identity: Arc<Identity>,
    stream: &'static str,
    line: Vec<u8>,
}

impl GuestOutput {
    /// `stream` is `stdout` or `stderr`.
    #[must_use]
    pub fn new(identity: Arc<Identity>, stream: &'static str) -> Self {
        Self { identity, stream, line: Vec::new() }
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' || self.line.len() >= limits::MAX_LOG_LINE_BYTES {
                self.flush_line();
            }
            if *byte != b'\n' {
                self.line.push(*byte);
            }
        }
    }

    fn flush_line(&mut self) {
        if !self.line.is_empty() {
            let text = String::from_utf8_lossy(&self.line);
            tracing::warn!(component = %self.identity.name, digest = %self.identity.digest, stream = self.stream, "{text}");
            self.line.clear();
        }
    }
}

impl Drop for GuestOutput {
    fn drop(&mut self) {
        self.flush_line();
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for GuestOutput {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.flush_line();
        Poll::Ready(Ok(()))
    }
}
