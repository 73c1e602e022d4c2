//! Where outgoing connections may lead, and how many there may be. Invariant: no socket is opened to an authority that is
//! not in the allow-list, and never more of them to one authority than its limit; a place is given back with its socket.

use std::{
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::Authority};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower_service::Service;

use crate::{
    erased::BoxError,
    error::{ClientError, ConfigError},
};

/// The granted authorities, each with its places for connections.
pub(crate) struct AllowList {
    places: HashMap<(String, u16), Arc<Semaphore>>,
}

impl AllowList {
    /// Each entry is `host:port`, or `host` for the default ports of http and https.
    pub(crate) fn new(entries: &[String], connections_per_host: usize) -> Result<Self, ConfigError> {
        let mut places = HashMap::new();
        for entry in entries {
            let expected = || ConfigError::new("allowed_hosts", format!("`{entry}`: expected `host` or `host:port`"));
            let authority: Authority = entry.trim().parse().map_err(|_| expected())?;
            if authority.as_str().contains(['@', '*']) || authority.host().is_empty() {
                return Err(expected());
            }
            let host = authority.host().to_ascii_lowercase();
            // `host:` and `host:99999` parse as an authority without a port; they are mistakes, not "any port".
            let ports = match authority.port_u16() {
                Some(port) => vec![port],
                None if authority.as_str().len() == host.len() => vec![80, 443],
                None => return Err(expected()),
            };
            for port in ports {
                places.insert((host.clone(), port), Arc::new(Semaphore::new(connections_per_host)));
            }
        }
        Ok(Self { places })
    }

    /// # Errors
    /// `InvalidRequest` unless it is an absolute http(s) URI without user info, `Refused` unless its host is granted.
    pub(crate) fn check(&self, uri: &Uri) -> Result<&Arc<Semaphore>, ClientError> {
        let invalid = || ClientError::InvalidRequest("an absolute http:// or https:// URI is needed".to_owned());
        let authority = uri.authority().ok_or_else(invalid)?;
        let default_port = match uri.scheme_str() {
            Some("http") => 80,
            Some("https") => 443,
            _ => return Err(invalid()),
        };
        if authority.as_str().contains('@') {
            return Err(ClientError::InvalidRequest("user info in a URI is not sent".to_owned()));
        }
        let host = authority.host().to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(default_port);
        self.places.get(&(host, port)).ok_or_else(|| ClientError::Refused(authority.to_string()))
    }
}

/// Plain TCP to a granted authority, once a place is free there.
#[derive(Clone)]
pub(crate) struct LimitedConnector {
    pub(crate) http: HttpConnector,
    pub(crate) allow_list: Arc<AllowList>,
    /// Longest wait for a place. hyper leaves a connection attempt running when its request found another connection
    /// first; this bounds how long such attempts queue.
    pub(crate) wait: Duration,
}

impl Service<Uri> for LimitedConnector {
    type Response = LimitedStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<LimitedStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let places = self.allow_list.check(&uri).map(Arc::clone);
        let (mut http, wait) = (self.http.clone(), self.wait);
        Box::pin(async move {
            let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "no free connection to this host");
            let place = tokio::time::timeout(wait, places?.acquire_owned()).await.map_err(timed_out)??;
            let stream = http.call(uri).await?;
            Ok(LimitedStream { stream, _place: place })
        })
    }
}

/// A socket that holds its place until it is closed.
pub(crate) struct LimitedStream {
    stream: TokioIo<TcpStream>,
    _place: OwnedSemaphorePermit,
}

impl Connection for LimitedStream {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl Read for LimitedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for LimitedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    // Goal: exactly the granted authority is reachable, whatever a URI is dressed up as.
    #[test]
    fn grants_exactly_what_is_listed() {
        let list = AllowList::new(&["api.example".into(), "127.0.0.1:8080".into(), " [::1]:81".into()], 1).unwrap();
        for uri in ["http://api.example/", "https://API.example:443/x", "http://127.0.0.1:8080/", "http://[::1]:81/"] {
            assert!(list.check(&uri.parse().unwrap()).is_ok(), "{uri}");
        }
        for uri in [
            "http://127.0.0.1/",
            "http://127.0.0.1:8081/",
            "http://api.example:8080/",
            "http://api.example.evil/",
            "http://evil/api.example",
            "http://xapi.example/",
        ] {
            assert!(matches!(list.check(&uri.parse().unwrap()), Err(ClientError::Refused(_))), "{uri}");
        }
        for uri in ["/api.example", "ftp://api.example/", "http://api.example@evil/", "http://user@api.example/"] {
            assert!(matches!(list.check(&uri.parse().unwrap()), Err(ClientError::InvalidRequest(_))), "{uri}");
        }
    }

    #[test]
    fn refuses_malformed_entries() {
        for entry in ["", "http://a", "a@b", "a:", "a:99999", "*.example", "a b"] {
            assert!(AllowList::new(&[entry.to_owned()], 1).is_err(), "{entry}");
        }
    }
}
