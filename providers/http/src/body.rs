//! The request body is read whole before anything is done with it. Invariant: never more than the cap is kept in memory, and
//! never longer than the time cap is waited.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::problem::{Problem, Refusal};

/// How much of a refused request is still taken off the wire, and for how long. Closing a socket with unread data resets
/// it, and the client would lose the answer that tells it why.
const DISCARD_LIMIT_BYTES: usize = 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

pub(crate) struct BodyCaps {
    pub(crate) limit_bytes: usize,
    pub(crate) timeout: Duration,
}

impl BodyCaps {
    /// # Errors
    /// 413 over the cap (before reading, if the length is declared), 408 when it takes too long, 400 when it breaks off.
    pub(crate) async fn read(&self, headers: &HeaderMap, mut body: Incoming) -> Result<Bytes, Refusal> {
        // The declared length; hyper made sure that it is the true one.
        if body.size_hint().lower() > self.limit_bytes as u64 {
            discard(headers, body).await;
            return Err(too_large());
        }
        match timeout(self.timeout, self.collect(&mut body)).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(refusal)) => {
                if refusal.problem == Problem::PayloadTooLarge {
                    discard(headers, body).await;
                }
                Err(refusal)
            }
            Err(_) => Err(Refusal::new(Problem::RequestTimeout, "The body did not arrive in time.").closing()),
        }
    }

    async fn collect(&self, body: &mut Incoming) -> Result<Bytes, Refusal> {
        // Most bodies are one frame; that one is passed on without a copy.
        let mut whole = Bytes::new();
        let mut several = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Err(Refusal::new(
                    Problem::InvalidRequest,
                    "The body broke off or is not framed as it should be.",
                )
                .closing());
            };
            // Trailers are not ours to interpret; they are dropped.
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + several.len() + data.len() > self.limit_bytes {
                return Err(too_large());
            }
            if whole.is_empty() && several.is_empty() {
                whole = data;
            } else {
                several.extend_from_slice(&std::mem::take(&mut whole));
                several.extend_from_slice(&data);
            }
        }
        Ok(if several.is_empty() { whole } else { several.freeze() })
    }
}

fn too_large() -> Refusal {
    Refusal::new(Problem::PayloadTooLarge, "The body is over the limit.")
}

/// Takes the rest of a refused body off the wire, within bounds. A client that waits for `100 Continue` gets none: it will
/// not send the body at all.
pub(crate) async fn discard(headers: &HeaderMap, mut body: Incoming) {
    if body.is_end_stream() || headers.contains_key(header::EXPECT) {
        return;
    }
    let draining = async {
        let mut taken = 0;
        while let Some(Ok(frame)) = body.frame().await {
            taken += frame.data_ref().map_or(0, Bytes::len);
            if taken > DISCARD_LIMIT_BYTES {
                return;
            }
        }
    };
    // Whether it ended or not: the answer follows.
    let _ = timeout(DISCARD_TIMEOUT, draining).await;
}
