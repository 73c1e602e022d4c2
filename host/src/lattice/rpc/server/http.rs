//! Requests of HTTP that come over the lattice: `wrpc:http/incoming-handler`, where a request is a record with its body as a stream, in front of
//! a component that exports `wasi:http/incoming-handler`. Invariant: nobody is identified here, so headers by which an edge tells who a caller
//! is are taken away, unless an edge that is linked to the component vouches for them (docs/adr/0020).
//!
//! A request is `{body: stream<u8>, trailers: future<option<fields>>, method, path-with-query: option<string>, scheme: option<scheme>,
//! authority: option<string>, headers: fields}`, an answer `result<{body, trailers, status: u16, headers}, error-code>`, and `fields` is a
//! `list<tuple<string, list<list<u8>>>>`. Streams are pending (a zero) with chunks on a channel of their own, ended by an empty chunk.

use std::time::Instant;

use async_nats::Message;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use swiftcart_provider_http::{Handler as _, HandlerError, ResponseBody};

use super::super::codec::{CodecError, Source, put_bytes, put_unsigned};
use super::super::context::{self, TRACE_PARENT};
use super::super::exchange::{Exchange, ExchangeError, Params, Piece};
use super::Callee;
use crate::capability::http_server::Gateway;
use crate::limits;
use crate::runtime::CallError;

/// Of the request below the parameters: the first parameter's first field, its body.
const REQUEST_BODY: &str = "0.0";
/// Of the answer below the results: the body and the trailers.
const RESPONSE_BODY: &str = "0.0";
const RESPONSE_TRAILERS: &str = "0.1";

/// Headers that only the edge may write.
const IDENTITY_PREFIX: &str = "x-token-";

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const SCHEMES: [&str; 2] = ["http", "https"];

/// Cases of `wasi:http`'s error code.
const DESTINATION_UNAVAILABLE: u8 = 3;
const CONNECTION_LIMIT_REACHED: u8 = 11;
const REQUEST_BODY_SIZE: u8 = 17;
const RESPONSE_TIMEOUT: u8 = 33;
const INTERNAL_ERROR: u8 = 38;

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("the request cannot be read: {0}")]
    Codec(#[from] CodecError),
    #[error("the request is not valid: {0}")]
    Http(#[from] http::Error),
}

/// A request without its body.
struct Head {
    parts: http::request::Builder,
    /// The body, if it came with the head.
    body: Option<Bytes>,
}

pub(super) async fn answer(callee: &Callee, message: Message) {
    let Some(exchange) = Exchange::of(&callee.nats, &message) else { return };
    let call = match context::context(message.headers.as_ref()) {
        Ok(call) => call,
        Err(error) => return refuse(&exchange, &error).await,
    };
    let deadline = call.deadline;
    let is_traced = message.headers.as_ref().is_some_and(|headers| headers.get(TRACE_PARENT).is_some());
    let identified = is_vouched_for(callee, &message);
    let reading = request(callee, &exchange, message, identified);
    let Ok(request) = tokio::time::timeout_at(deadline.into(), reading).await else {
        return exchange.answer(error(RESPONSE_TIMEOUT)).await;
    };
    let mut request = match request {
        Ok(request) => request,
        Err(reason) => {
            tracing::warn!(component = %callee.id, %reason, "a request over the lattice cannot be read");
            let too_large = matches!(reason, RequestError::Exchange(ExchangeError::TooLarge));
            return exchange.answer(error(if too_large { REQUEST_BODY_SIZE } else { INTERNAL_ERROR })).await;
        }
    };
    // The headers of the call continue the trace further than those of the request, which its sender may only have passed on.
    if (is_traced || !request.headers().contains_key(TRACE_PARENT))
        && let Ok(value) = call.trace.to_string().parse()
    {
        request.headers_mut().insert(TRACE_PARENT, value);
    }
    let gateway = Gateway::new(callee.slot.load_full());
    match tokio::time::timeout_at(deadline.into(), gateway.handle(request, deadline)).await {
        Ok(Ok(response)) => respond(&exchange, response, deadline).await,
        Ok(Err(reason)) => exchange.answer(error(case(&reason))).await,
        Err(_) => exchange.answer(error(RESPONSE_TIMEOUT)).await,
    }
}

/// Whether what the request says of its client was checked by an edge of the component.
fn is_vouched_for(callee: &Callee, message: &Message) -> bool {
    let Some(source) = context::vouching(message.headers.as_ref()) else { return false };
    callee.edges.load().contains(&(source.to_owned(), callee.id.clone()))
}

async fn refuse(exchange: &Exchange, error: &CallError) {
    if exchange.accept().await.is_ok() {
        exchange.fail(error).await;
    }
}

fn case(error: &HandlerError) -> u8 {
    match error {
        HandlerError::Overloaded => CONNECTION_LIMIT_REACHED,
        HandlerError::Unavailable(_) => DESTINATION_UNAVAILABLE,
        HandlerError::DeadlineExceeded => RESPONSE_TIMEOUT,
        HandlerError::Internal(_) => INTERNAL_ERROR,
    }
}

/// An answer that is an error of the given case. What went wrong inside is not the caller's business, so no text.
fn error(case: u8) -> Bytes {
    let has_optional_payload = matches!(case, REQUEST_BODY_SIZE | INTERNAL_ERROR);
    if has_optional_payload { vec![1, case, 0].into() } else { vec![1, case].into() }
}

/// The request as a whole: the edge, too, hands on only requests that are complete.
async fn request(
    callee: &Callee,
    exchange: &Exchange,
    message: Message,
    identified: bool,
) -> Result<http::Request<Bytes>, RequestError> {
    let mut head = BytesMut::from(message.payload);
    let mut params = exchange.accept_more(true).await?;
    let mut body = Body::default();
    let Head { parts, body: inline } = loop {
        match Source::new(&mut &head[..]).head(identified) {
            Ok(found) => break found,
            Err(CodecError::Truncated) => {}
            Err(error) => return Err(error.into()),
        }
        match params.next().await? {
            Piece::Root(piece) if piece.is_empty() => return Err(ExchangeError::Closed.into()),
            Piece::Root(piece) => {
                within(head.len(), piece.len())?;
                head.extend_from_slice(&piece);
            }
            Piece::Nested(path, piece) => body.piece(&path, &piece)?,
        }
    };
    let body = match inline {
        Some(body) => body,
        None => body.rest(callee, &mut params).await?,
    };
    Ok(parts.body(body)?)
}

fn within(held: usize, more: usize) -> Result<(), ExchangeError> {
    if held.saturating_add(more) > limits::MAX_REMOTE_BYTES { Err(ExchangeError::TooLarge) } else { Ok(()) }
}

/// A body that comes in chunks.
#[derive(Default)]
struct Body {
    /// Chunks with their lengths, as they came.
    raw: BytesMut,
    whole: BytesMut,
    done: bool,
}

impl Body {
    fn piece(&mut self, path: &str, piece: &[u8]) -> Result<(), RequestError> {
        if path != REQUEST_BODY || self.done {
            return Ok(());
        }
        within(self.raw.len() + self.whole.len(), piece.len())?;
        self.done = piece.is_empty();
        self.raw.extend_from_slice(piece);
        self.chunks()
    }

    /// Takes the chunks that are complete; an empty one is the end.
    fn chunks(&mut self) -> Result<(), RequestError> {
        loop {
            let mut rest = &self.raw[..];
            let chunk = match Source::new(&mut rest).bytes() {
                Ok(chunk) => chunk,
                Err(CodecError::Truncated) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let read = self.raw.len() - rest.len();
            drop(self.raw.split_to(read));
            if chunk.is_empty() {
                self.done = true;
                return Ok(());
            }
            self.whole.extend_from_slice(&chunk);
        }
    }

    async fn rest(mut self, callee: &Callee, params: &mut Params) -> Result<Bytes, RequestError> {
        // Only few large bodies are held at once; small ones are here with their first piece.
        let mut permit = None;
        while !self.done {
            if permit.is_none() && self.raw.len() + self.whole.len() > 64 << 10 {
                permit = callee.large.acquire().await.ok();
            }
            if let Piece::Nested(path, piece) = params.next().await? {
                self.piece(&path, &piece)?;
            }
        }
        Ok(self.whole.freeze())
    }
}

impl<B: bytes::Buf> Source<'_, B> {
    /// `identified`: an edge wrote who the client is.
    fn head(&mut self, identified: bool) -> Result<Head, CodecError> {
        let inline = self.bytes()?;
        let inline = (!inline.is_empty()).then(|| Bytes::from(inline));
        // Trailers that came along are read over; those that come later are not waited for.
        if self.truth()? && self.truth()? {
            self.fields()?;
        }
        let method = match self.length()? {
            9 => self.text()?,
            case => METHODS.get(case).copied().ok_or(CodecError::Invalid("unknown method"))?.to_owned(),
        };
        let path = self.optional_text()?.unwrap_or_else(|| "/".to_owned());
        let scheme = if self.truth()? { Some(self.scheme()?) } else { None };
        let authority = self.optional_text()?.filter(|authority| !authority.is_empty());
        let headers = self.fields()?;
        let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host")).cloned();
        let authority = authority
            .or_else(|| host.and_then(|(_, value)| String::from_utf8(value).ok()))
            .unwrap_or_else(|| "localhost".to_owned());
        let uri = http::Uri::builder()
            .scheme(scheme.as_deref().unwrap_or("http"))
            .authority(authority)
            .path_and_query(if path.starts_with('/') { path } else { format!("/{path}") })
            .build()
            .map_err(|_| CodecError::Invalid("a path or authority that is none of HTTP"))?;
        let mut parts = http::Request::builder().method(method.as_str()).uri(uri);
        for (name, value) in headers {
            if !is_secret(&name) && (identified || !is_identity(&name)) {
                parts = parts.header(name, value);
            }
        }
        Ok(Head { parts, body: inline })
    }

    fn scheme(&mut self) -> Result<String, CodecError> {
        match self.length()? {
            2 => self.text(),
            case => SCHEMES.get(case).map(|scheme| (*scheme).to_owned()).ok_or(CodecError::Invalid("unknown scheme")),
        }
    }

    fn optional_text(&mut self) -> Result<Option<String>, CodecError> {
        if self.truth()? { self.text().map(Some) } else { Ok(None) }
    }

    /// Header fields, one entry for each value.
    fn fields(&mut self) -> Result<Vec<(String, Vec<u8>)>, CodecError> {
        let mut fields = Vec::new();
        for _ in 0..self.length()? {
            let name = self.text()?;
            for _ in 0..self.length()? {
                fields.push((name.clone(), self.bytes()?));
            }
        }
        Ok(fields)
    }
}

fn is_identity(name: &str) -> bool {
    name.to_ascii_lowercase().starts_with(IDENTITY_PREFIX)
}

/// No component needs a client's token, whoever sent it.
fn is_secret(name: &str) -> bool {
    name.eq_ignore_ascii_case("authorization")
}

/// Sends the head and closes the root channel, then the body as it comes.
async fn respond(exchange: &Exchange, response: http::Response<ResponseBody>, deadline: Instant) {
    let (parts, mut body) = response.into_parts();
    let Ok(head) = response_head(&parts) else { return exchange.answer(error(INTERNAL_ERROR)).await };
    exchange.answer(head).await;
    let channel = exchange.nested(RESPONSE_BODY);
    let streaming = async {
        while let Some(frame) = body.frame().await {
            let data = match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) if !data.is_empty() => data,
                // Trailers, and empty data, which would end the stream.
                Ok(_) => continue,
                Err(reason) => {
                    tracing::warn!(%reason, "the body of an answer over the lattice broke off");
                    return false;
                }
            };
            let mut length = BytesMut::new();
            put_unsigned(data.len() as u64, &mut length);
            exchange.send(&channel, length.freeze()).await;
            exchange.send(&channel, data).await;
        }
        true
    };
    if tokio::time::timeout_at(deadline.into(), streaming).await.unwrap_or(false) {
        exchange.send(&channel, Bytes::from_static(&[0])).await;
    }
    exchange.close(&channel).await;
    let trailers = exchange.nested(RESPONSE_TRAILERS);
    exchange.send(&trailers, Bytes::from_static(&[0])).await;
    exchange.close(&trailers).await;
}

fn response_head(parts: &http::response::Parts) -> Result<Bytes, CodecError> {
    // Ok, body pending, trailers pending.
    let mut head = BytesMut::from(&[0_u8, 0, 0][..]);
    put_unsigned(parts.status.as_u16().into(), &mut head);
    put_unsigned(parts.headers.keys_len() as u64, &mut head);
    for name in parts.headers.keys() {
        put_bytes(name.as_str().as_bytes(), &mut head)?;
        let values = parts.headers.get_all(name);
        put_unsigned(values.iter().count() as u64, &mut head);
        for value in values {
            put_bytes(value.as_bytes(), &mut head)?;
        }
    }
    Ok(head.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn head(body: &[u8], headers: &[(&str, &str)]) -> BytesMut {
        let mut bytes = BytesMut::from(body);
        // Trailers pending, POST.
        bytes.extend_from_slice(&[0, 2, 1]);
        put_bytes(b"/things?x=1", &mut bytes).unwrap();
        bytes.extend_from_slice(&[1, 0, 1]);
        put_bytes(b"shop.example:80", &mut bytes).unwrap();
        put_unsigned(headers.len() as u64, &mut bytes);
        for (name, value) in headers {
            put_bytes(name.as_bytes(), &mut bytes).unwrap();
            bytes.extend_from_slice(&[1]);
            put_bytes(value.as_bytes(), &mut bytes).unwrap();
        }
        bytes
    }

    /// Goal: a request's head is read as it was meant, and nobody can say who they are unless an edge vouches. Method: a head with both kinds of
    /// headers.
    #[test]
    fn a_head_is_read_without_identity() {
        let headers = [("accept", "*/*"), ("X-Token-Subject", "admin"), ("Authorization", "Bearer x")];
        let bytes = head(&[0], &headers);
        let head = Source::new(&mut &bytes[..]).head(false).unwrap();
        assert!(head.body.is_none());
        let request = head.parts.body(()).unwrap();
        assert_eq!(request.method(), http::Method::POST);
        assert_eq!(request.uri(), "http://shop.example:80/things?x=1");
        assert_eq!(request.headers().len(), 1);
        assert_eq!(request.headers()["accept"], "*/*");
        let vouched = Source::new(&mut &bytes[..]).head(true).unwrap().parts.body(()).unwrap();
        assert_eq!(vouched.headers().len(), 2);
        assert_eq!(vouched.headers()["x-token-subject"], "admin");
        for end in 0..bytes.len() {
            assert_eq!(Source::new(&mut &bytes[..end]).head(false).err(), Some(CodecError::Truncated), "{end}");
        }
    }

    /// Goal: a body is put together wherever its messages are cut, and other channels are not in it. Method: every cut of two chunks.
    #[test]
    fn a_body_survives_any_cut() {
        let raw = [3, b'a', b'b', b'c', 2, b'd', b'e', 0];
        for cut in 1..raw.len() {
            let mut body = Body::default();
            body.piece(REQUEST_BODY, &raw[..cut]).unwrap();
            assert!(!body.done);
            body.piece("0.1", &[0]).unwrap();
            body.piece(REQUEST_BODY, &raw[cut..]).unwrap();
            assert!(body.done);
            assert_eq!(&body.whole[..], b"abcde");
        }
    }
}
