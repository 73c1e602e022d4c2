//! The neutral values that callers see: a message that was consumed, a record to publish, and the contract of a
//! handler. No librdkafka type leaks.

use async_trait::async_trait;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

/// A header of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name; a message may have several headers of one name.
    pub name: String,
    /// Value, uninterpreted.
    pub value: Vec<u8>,
}

impl Header {
    /// A header.
    pub fn new(name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// A message as it was consumed.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset in the partition. Offsets may have gaps.
    pub offset: i64,
    /// Milliseconds since 1970-01-01T00:00:00Z, if the broker knows it.
    pub timestamp_ms: Option<i64>,
    /// Its key. Messages of one key and topic are handled in order.
    pub key: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
    /// Its payload; a message without one has an empty one.
    pub payload: Vec<u8>,
    /// 1 for the first delivery by this process; a redelivery after a restart starts at 1 again.
    pub attempt: u32,
}

/// Payload, key and header values may be personal data: they are not printed.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}[{}]@{} (attempt {}, {} bytes)",
            self.topic,
            self.partition,
            self.offset,
            self.attempt,
            self.payload.len()
        )
    }
}

impl Message {
    /// The last header of a name, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|header| header.name == name)
            .and_then(|header| std::str::from_utf8(&header.value).ok())
    }

    /// Roughly how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        self.payload.len() + self.key.as_ref().map_or(0, Vec::len) + headers
    }

    pub(crate) fn copied_from(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| Header::new(header.key, header.value.unwrap_or_default())).collect()
        });
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            headers,
            payload: message.payload().unwrap_or_default().to_vec(),
            attempt: 0,
        }
    }
}

/// A record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its topic, which must exist.
    pub topic: String,
    /// Its key, which decides the partition; without one the partition is random.
    pub key: Option<Vec<u8>>,
    /// A partition instead of the one that the key decides: for a record that goes back to where it came from.
    pub partition: Option<i32>,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

/// Why a message was not handled, and so what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// May work later: tried again with growing delay; other messages of its key wait, other keys go on. After the last
    /// attempt: dead letter.
    Retry(String),
    /// Will never work: dead letter at once.
    Reject(String),
    /// Something that every message needs is down: the partition pauses, and the message is kept and tried until it
    /// works.
    DependencyDown(String),
}

/// Handles messages, several at once but never two of one key and topic. Delivery is at least once.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Handles one message. Its effects must be durable before it returns `Ok`: the offset may be committed at once.
    async fn handle(&self, message: &Message) -> Result<(), Failure>;

    /// Which code handles, for dead letters: for example the digest of a component.
    fn version(&self) -> String;
}
