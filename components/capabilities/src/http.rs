//! Bodies of HTTP that are small enough to be held whole, read and written with as few calls of the host as that takes.

use wasmcloud_component::http::OutgoingBody;
use wasmcloud_component::wasi::http::types;
use wasmcloud_component::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// What one blocking write takes at most (`wasi:io/streams`).
const WRITE_BYTES: usize = 4096;
/// What is asked for at once. The standard library's readers ask for 32 bytes first and for little more after that, each time by a call of the host.
const READ_BYTES: u64 = 64 * 1024;

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It has more bytes than are wanted.
    #[error("is too large")]
    TooLarge,
    /// The connection is gone.
    #[error("broke off")]
    BrokeOff,
}

/// Reads to the end, but not more than so many bytes.
///
/// # Errors
/// [`ReadError`]; what was read by then is gone.
pub fn read(stream: &InputStream, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) if body.is_empty() => body = chunk,
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(body),
            Err(StreamError::LastOperationFailed(_)) => return Err(ReadError::BrokeOff),
        }
        if body.len() > limit {
            return Err(ReadError::TooLarge);
        }
    }
}

/// Writes all bytes.
///
/// # Errors
/// The stream's: nobody reads any more.
pub fn write(stream: &OutputStream, bytes: &[u8]) -> Result<(), StreamError> {
    bytes.chunks(WRITE_BYTES).try_for_each(|chunk| stream.blocking_write_and_flush(chunk))
}

/// A response's body.
#[derive(Clone, Debug)]
pub struct Whole(pub Vec<u8>);

impl OutgoingBody for Whole {
    fn write(self, body: types::OutgoingBody, stream: OutputStream) -> std::io::Result<()> {
        write(&stream, &self.0).map_err(std::io::Error::other)?;
        drop(stream);
        types::OutgoingBody::finish(body, None).map_err(std::io::Error::other)
    }
}
