//! What can be said of a request by its head alone: sizes and framing. Invariant: a request that two readers could frame in
//! two ways, or that has no single host, goes no further.
//!
//! hyper answers what it cannot parse with a bare status and closes. Its caps lie above ours ([`hard_header_limit_bytes`]),
//! so that what is merely too long gets a problem document.

use http::{Method, Version, header, request::Parts};

use crate::problem::{Problem, Refusal};

pub(crate) struct Shape {
    pub(crate) header_limit_bytes: usize,
    pub(crate) uri_limit_bytes: usize,
}

/// Where reading a head stops altogether: room for one that is too long to be accepted, yet can be answered properly.
/// hyper compares it with a buffer that grows by doubling, so up to twice as much may be read.
pub(crate) fn hard_header_limit_bytes(header_limit_bytes: usize, uri_limit_bytes: usize) -> usize {
    2 * (header_limit_bytes + uri_limit_bytes) + 1024
}

impl Shape {
    pub(crate) fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        if parts.uri.path_and_query().map_or(0, |text| text.as_str().len()) > self.uri_limit_bytes {
            return Err(Refusal::new(Problem::UriTooLong, "Path and query together are over the limit."));
        }
        let size: usize =
            parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum();
        if size > self.header_limit_bytes {
            return Err(Refusal::new(Problem::HeadersTooLarge, "The header fields together are over the limit."));
        }
        framing(parts).map_err(|detail| Refusal::new(Problem::InvalidRequest, detail).closing())
    }
}

fn framing(parts: &Parts) -> Result<(), &'static str> {
    if parts.method == Method::CONNECT {
        return Err("CONNECT is not offered here.");
    }
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") || codings.next().is_some() {
            return Err("The only transfer coding accepted is chunked.");
        }
        // RFC 9112, 6.3: both together are a sign of request smuggling. (hyper may already have dropped the length.)
        if parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err("Transfer-Encoding and Content-Length exclude each other.");
        }
    }
    // RFC 9112, 3.2: exactly one Host in HTTP/1.1; HTTP/2 has `:authority` instead.
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
        return Err("Exactly one Host header is needed.");
    }
    Ok(())
}
