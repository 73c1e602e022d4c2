//! From what a component sends to an answer of HTTP: the head as a whole, the body as it comes. Invariant: a body that was not said to be complete
//! ends with an error, so that the client's connection is closed and nobody takes a half for the whole.

use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt as _, stream};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use swiftcart_provider_http::{BoxError, HandlerError, ResponseBody};

use super::wire::{self, Chunks, Head, WireError};
use crate::limits;
use crate::runtime::{Answer, Piece};

/// The body of the first result.
const RESPONSE_BODY: &str = "0.0";

/// Cases of `wasi:http`'s error code with which hosts say why a component gave no answer.
const DESTINATION_UNAVAILABLE: u64 = 3;
const CONNECTION_LIMIT_REACHED: u64 = 11;
const RESPONSE_TIMEOUT: u64 = 33;

/// Waits for the head; the body is read by whoever reads the answer.
///
/// # Errors
/// When the component gives no answer of HTTP.
pub(super) async fn read(mut answer: Answer) -> Result<Response<ResponseBody>, HandlerError> {
    let internal = |reason: String| HandlerError::Internal(reason);
    let mut root = BytesMut::new();
    let mut early = Early::default();
    loop {
        let closed = match answer.next().await {
            None => return Err(internal("NATS is gone".to_owned())),
            Some(Piece::Root(piece)) => {
                root.extend_from_slice(&piece);
                piece.is_empty()
            }
            Some(Piece::Nested(path, piece)) => {
                early.keep(&path, piece).map_err(internal)?;
                false
            }
        };
        match wire::head(&root) {
            Ok(Head::Answer(response)) => return Ok(with_body(response, answer, early)),
            Ok(Head::Error(case)) => return Err(error(case)),
            Err(WireError::Incomplete) if !closed && root.len() <= limits::MAX_ANSWER_HEAD_BYTES => {}
            Err(WireError::Incomplete) if closed => {
                return Err(internal("the component gave no answer".to_owned()));
            }
            Err(reason) => return Err(internal(reason.to_string())),
        }
    }
}

/// Why there is no answer, in the edge's words.
fn error(case: u64) -> HandlerError {
    match case {
        DESTINATION_UNAVAILABLE => HandlerError::Unavailable("the component is not running".to_owned()),
        CONNECTION_LIMIT_REACHED => HandlerError::Overloaded,
        RESPONSE_TIMEOUT => HandlerError::DeadlineExceeded,
        case => HandlerError::Internal(format!("the component answered with an error: case {case} of error-code")),
    }
}

/// What came of the body before the head was complete.
#[derive(Default)]
struct Early {
    pieces: Vec<Bytes>,
    held: usize,
}

impl Early {
    fn keep(&mut self, path: &str, piece: Bytes) -> Result<(), String> {
        if path == RESPONSE_BODY {
            self.held = self.held.saturating_add(piece.len());
            if self.held > limits::MAX_EARLY_BODY_BYTES {
                return Err("the body of the answer comes before its head".to_owned());
            }
            self.pieces.push(piece);
        }
        Ok(())
    }
}

fn with_body(response: Response<Option<Bytes>>, answer: Answer, early: Early) -> Response<ResponseBody> {
    response.map(|whole| match whole {
        Some(whole) => Full::new(whole).map_err(|never| match never {}).boxed_unsync(),
        None => {
            let reading = Reading { chunks: Chunks::default(), early: early.pieces.into_iter(), answer };
            let pieces = stream::try_unfold(reading, Reading::next);
            let frames = pieces.map_ok(|found| stream::iter(found).map_ok(Frame::data)).try_flatten();
            StreamBody::new(frames).boxed_unsync()
        }
    })
}

/// A body that is being read.
struct Reading {
    chunks: Chunks,
    early: std::vec::IntoIter<Bytes>,
    answer: Answer,
}

/// What one piece brought.
type Found = Vec<Result<Bytes, BoxError>>;

impl Reading {
    async fn next(mut self) -> Result<Option<(Found, Self)>, BoxError> {
        if self.chunks.ended() {
            return Ok(None);
        }
        loop {
            let piece = match self.early.next() {
                Some(early) => early,
                None => match self.answer.next().await {
                    Some(Piece::Nested(path, piece)) if path == RESPONSE_BODY => piece,
                    // The root channel is closed behind the head; trailers have no place in an answer of the edge.
                    Some(_) => continue,
                    None => return Err("NATS is gone".into()),
                },
            };
            if piece.is_empty() {
                return Err("the component broke off its answer".into());
            }
            let found: Found = self.chunks.take(piece)?.into_iter().map(Ok).collect();
            if !found.is_empty() || self.chunks.ended() {
                return Ok(Some((found, self)));
            }
        }
    }
}
