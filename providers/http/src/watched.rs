//! A connection's bytes under watch. hyper limits the time for a request's head, but neither the time before it knows which
//! HTTP version is spoken nor the time that a client takes to read. Invariant: a peer that does not move for the limit, in
//! one of these two, loses its connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// RFC 9113, 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) struct Watched<S> {
    inner: S,
    limit: Duration,
    /// Runs until the version can be told. From then on hyper's own timer does.
    opening: Option<Opening>,
    /// Runs while a write waits for the peer.
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Opening {
    seen: usize,
    timer: Pin<Box<Sleep>>,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, limit: Duration) -> Self {
        Self { inner, limit, opening: Some(Opening { seen: 0, timer: Box::pin(sleep(limit)) }), stalled: None }
    }

    fn watch_write<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.limit;
        ready!(self.stalled.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl Opening {
    /// Whether more is needed to tell HTTP/2 from HTTP/1.
    fn undecided_after(&mut self, read: &[u8]) -> bool {
        let rest = HTTP2_PREFACE.get(self.seen..).unwrap_or_default();
        self.seen += read.len();
        !read.is_empty() && rest.len() > read.len() && rest.starts_with(read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.inner).poll_read(context, buffer);
        let Some(opening) = &mut this.opening else { return read };
        if read.is_pending() {
            ready!(opening.timer.as_mut().poll(context));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not begin")));
        }
        if !opening.undecided_after(buffer.filled().get(before..).unwrap_or_default()) {
            this.opening = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(context, bytes);
        this.watch_write(context, written)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.inner).poll_flush(context);
        this.watch_write(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = Pin::new(&mut this.inner).poll_shutdown(context);
        this.watch_write(context, closed)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(context, slices);
        this.watch_write(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(400);

    // Goal: a peer that sends nothing, or a part of the HTTP/2 preface, is given up; one that began HTTP/1 is hyper's.
    #[tokio::test]
    async fn gives_up_an_undecided_peer() {
        for (sent, given_up) in [(&b""[..], true), (b"PRI * HT", true), (b"GET /", false), (HTTP2_PREFACE, false)] {
            let (mut peer, ours) = duplex(64);
            peer.write_all(sent).await.unwrap();
            let mut watched = Watched::new(ours, LIMIT);
            let mut buffer = vec![0; 64];
            let reading = async {
                loop {
                    if let Err(error) = watched.read(&mut buffer).await {
                        return error.kind();
                    }
                }
            };
            let outcome = tokio::time::timeout(3 * LIMIT, reading).await;
            assert_eq!(outcome.ok(), given_up.then_some(io::ErrorKind::TimedOut), "{sent:?}");
        }
    }

    // Goal: a peer that does not read is given up, one that reads slowly is not.
    #[tokio::test]
    async fn gives_up_a_peer_that_does_not_read() {
        let (mut peer, ours) = duplex(4);
        let mut watched = Watched::new(ours, LIMIT);
        let slow = tokio::spawn(async move {
            let mut buffer = [0; 4];
            for _ in 0..3 {
                tokio::time::sleep(LIMIT / 4).await;
                peer.read_exact(&mut buffer).await.unwrap();
            }
            peer
        });
        watched.write_all(&[0; 16]).await.unwrap();
        let _peer = slow.await.unwrap();
        assert_eq!(watched.write_all(&[0; 16]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
