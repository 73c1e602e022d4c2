//! Requests and answers of HTTP as `wrpc:http@0.1.0` has them on the wire: `request` is `{body: stream<u8>, trailers: future<option<fields>>, method,
//! path-with-query: option<string>, scheme: option<scheme>, authority: option<string>, headers: fields}`, an answer `result<{body,
//! trailers, status: u16, headers}, error-code>`, and `fields` a `list<tuple<string, list<list<u8>>>>`. A stream is its first chunk, empty
//! if that is still to come; a future is an option. Invariant: bytes that are no answer are told apart from those that are no answer yet.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const OTHER_METHOD: u64 = 9;
const SCHEMES: [&str; 2] = ["http", "https"];
const OTHER_SCHEME: u64 = 2;
/// No value on the wire takes more bytes as a number: all are below 2^64.
const MAX_NUMBER_BYTES: usize = 10;

/// Why bytes are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    /// More must come.
    #[error("the answer is incomplete")]
    Incomplete,
    /// It will never be an answer.
    #[error("the answer is none of HTTP: {0}")]
    Invalid(&'static str),
}

/// What a component answered.
#[derive(Debug)]
pub(super) enum Head {
    /// An answer, with the first chunk of its body if that came along; it is the whole body then.
    Answer(Response<Option<Bytes>>),
    /// The number of a case of `error-code`.
    Error(u64),
}

/// A complete request. Its body is one chunk; without one, the body's stream must be ended by itself.
pub(super) fn request(request: &Request<Bytes>) -> Bytes {
    let mut to = BytesMut::with_capacity(request.body().len() + 1024);
    bytes(request.body(), &mut to);
    // No trailers, and none to come: a request that an edge hands on is complete.
    to.put_slice(&[1, 0]);
    let method = request.method().as_str();
    match METHODS.iter().position(|known| *known == method) {
        Some(case) => number(case as u64, &mut to),
        None => {
            number(OTHER_METHOD, &mut to);
            bytes(method.as_bytes(), &mut to);
        }
    }
    optional(request.uri().path_and_query().map(|path| path.as_str()), &mut to);
    match request.uri().scheme_str() {
        None => to.put_u8(0),
        Some(scheme) => {
            to.put_u8(1);
            match SCHEMES.iter().position(|known| *known == scheme) {
                Some(case) => number(case as u64, &mut to),
                None => {
                    number(OTHER_SCHEME, &mut to);
                    bytes(scheme.as_bytes(), &mut to);
                }
            }
        }
    }
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    optional(request.uri().authority().map(|authority| authority.as_str()).or(host), &mut to);
    let headers = request.headers();
    number(headers.keys_len() as u64, &mut to);
    for name in headers.keys() {
        bytes(name.as_str().as_bytes(), &mut to);
        let values = headers.get_all(name);
        number(values.iter().count() as u64, &mut to);
        for value in values {
            bytes(value.as_bytes(), &mut to);
        }
    }
    to.freeze()
}

/// The head of an answer, from all that has come of it.
///
/// # Errors
/// [`WireError`].
pub(super) fn head(from: &[u8]) -> Result<Head, WireError> {
    let mut source = Source(from);
    match source.byte()? {
        0 => {}
        1 => return source.number().map(Head::Error),
        _ => return Err(WireError::Invalid("neither an answer nor an error")),
    }
    let body = source.bytes()?;
    let body = (!body.is_empty()).then(|| Bytes::copy_from_slice(body));
    if source.is_some()? && source.is_some()? {
        source.fields(|_, _| Ok(()))?;
    }
    let status = u16::try_from(source.number()?).ok().and_then(|status| StatusCode::from_u16(status).ok());
    let mut answer = Response::new(body);
    *answer.status_mut() = status.ok_or(WireError::Invalid("a status that does not exist"))?;
    let headers = answer.headers_mut();
    source.fields(|name, value| {
        let name = HeaderName::from_bytes(name).map_err(|_| WireError::Invalid("the name of a header"))?;
        let value = HeaderValue::from_bytes(value).map_err(|_| WireError::Invalid("the value of a header"))?;
        headers.append(name, value);
        Ok(())
    })?;
    Ok(Head::Answer(answer))
}

/// The chunks of a stream, one behind the other, wherever their messages are cut.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// A length that has not come as a whole.
    length: BytesMut,
    /// Bytes of the current chunk that are still to come.
    left: u64,
    ended: bool,
}

impl Chunks {
    /// Takes a piece of the channel; gives the bytes of the stream in it. After the end, nothing.
    ///
    /// # Errors
    /// [`WireError::Invalid`].
    pub(super) fn take(&mut self, mut piece: Bytes) -> Result<Vec<Bytes>, WireError> {
        let mut found = Vec::new();
        while !piece.is_empty() && !self.ended {
            if self.left > 0 {
                let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(piece.len());
                self.left -= length as u64;
                found.push(piece.split_to(length));
                continue;
            }
            self.length.put_u8(piece.get_u8());
            match Source(&self.length).number() {
                Ok(0) => self.ended = true,
                Ok(length) => self.left = length,
                Err(WireError::Incomplete) => continue,
                Err(error) => return Err(error),
            }
            self.length.clear();
        }
        Ok(found)
    }

    /// Whether the stream said that it is complete.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }
}

fn number(mut value: u64, to: &mut BytesMut) {
    while value >= 0x80 {
        to.put_u8((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8((value & 0x7f) as u8);
}

fn bytes(value: &[u8], to: &mut BytesMut) {
    number(value.len() as u64, to);
    to.put_slice(value);
}

fn optional(value: Option<&str>, to: &mut BytesMut) {
    match value {
        None => to.put_u8(0),
        Some(value) => {
            to.put_u8(1);
            bytes(value.as_bytes(), to);
        }
    }
}

/// What is still to be read.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn byte(&mut self) -> Result<u8, WireError> {
        let (byte, rest) = self.0.split_first().ok_or(WireError::Incomplete)?;
        self.0 = rest;
        Ok(*byte)
    }

    fn is_some(&mut self) -> Result<bool, WireError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::Invalid("neither there nor not there")),
        }
    }

    /// LEB128.
    fn number(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for place in 0..MAX_NUMBER_BYTES {
            let byte = self.byte()?;
            let digits = u64::from(byte & 0x7f);
            let shifted = digits << (7 * place);
            if shifted >> (7 * place) != digits {
                break;
            }
            value |= shifted;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireError::Invalid("a number that is too large"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.number()?).map_err(|_| WireError::Invalid("a length that is too large"))?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(WireError::Incomplete)?;
        self.0 = rest;
        Ok(bytes)
    }

    /// Every value with its name.
    fn fields(&mut self, mut each: impl FnMut(&[u8], &[u8]) -> Result<(), WireError>) -> Result<(), WireError> {
        for _ in 0..self.number()? {
            let name = self.bytes()?;
            for _ in 0..self.number()? {
                each(name, self.bytes()?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
