//! One message on its way through the handler, and the outcome of one piece of work on it. Invariant: a panic or a hang
//! of a handler is a failure of that message, never the end of the consumer; the message itself always comes back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use futures::FutureExt;

use crate::dead_letter::{self, Class, Obituary};
use crate::error::ProduceError;
use crate::lanes::LaneId;
use crate::message::{Failure, Handler, Message, Record};
use crate::producer::Producer;

/// Where dead letters go.
#[async_trait]
pub(crate) trait Graveyard: Send + Sync + 'static {
    async fn bury(&self, record: Record) -> Result<(), ProduceError>;
}

#[async_trait]
impl Graveyard for Producer {
    async fn bury(&self, record: Record) -> Result<(), ProduceError> {
        self.send(record).await
    }
}

/// A message and what happened to it so far.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) message: Message,
    /// Failures that count against the limit.
    pub(crate) retries: u32,
    /// Failures in a row that do not: a dependency, or the dead letter topic, was down.
    pub(crate) probes: u32,
    /// When it failed first and last, in milliseconds since 1970-01-01T00:00:00Z.
    failed_at_ms: Option<(u64, u64)>,
    /// Set once the message is to be buried; from then on the handler is not called any more.
    pub(crate) death: Option<(Class, String)>,
}

impl Delivery {
    pub(crate) fn new(message: Message) -> Self {
        Self { message, retries: 0, probes: 0, failed_at_ms: None, death: None }
    }

    /// Notes a failure of the handler.
    pub(crate) fn failed(&mut self, now_ms: u64) {
        let first = self.failed_at_ms.map_or(now_ms, |(first, _)| first);
        self.failed_at_ms = Some((first, now_ms));
    }

    /// The dead letter, if the message is to be buried.
    fn dead_letter(&self, group: &str, handler: &dyn Handler) -> Option<Record> {
        let (class, reason) = self.death.clone()?;
        let (first, last) = self.failed_at_ms.unwrap_or_default();
        let obituary = Obituary {
            class,
            reason,
            group: group.to_owned(),
            component_digest: handler.version(),
            attempts: self.message.attempt,
            first_failure_at_ms: first,
            last_failure_at_ms: last,
        };
        Some(dead_letter::record(&self.message, &obituary))
    }
}

/// How one piece of work ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The handler answered.
    Handled(Result<(), Failure>),
    /// The message is among the dead letters.
    Buried,
    /// It could not be put there.
    NotBuried(ProduceError),
}

/// One piece of work that ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) lane: LaneId,
    pub(crate) delivery: Delivery,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

/// What every piece of work needs.
#[derive(Clone)]
pub(crate) struct Workshop {
    pub(crate) group: Arc<str>,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) graveyard: Arc<dyn Graveyard>,
    pub(crate) handle_timeout: Duration,
}

impl Workshop {
    /// Calls the handler, or buries a message that is to be buried.
    pub(crate) async fn work(self, lane: LaneId, mut delivery: Delivery) -> Finished {
        let begun = Instant::now();
        let outcome = match delivery.dead_letter(&self.group, self.handler.as_ref()) {
            Some(record) => match self.graveyard.bury(record).await {
                Ok(()) => Outcome::Buried,
                Err(error) => Outcome::NotBuried(error),
            },
            None => {
                delivery.message.attempt += 1;
                Outcome::Handled(self.handle(&delivery.message).await)
            }
        };
        Finished { lane, delivery, outcome, took: begun.elapsed() }
    }

    async fn handle(&self, message: &Message) -> Result<(), Failure> {
        let call = AssertUnwindSafe(self.handler.handle(message)).catch_unwind();
        match tokio::time::timeout(self.handle_timeout, call).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::Retry("the handler panicked".to_owned())),
            Err(_) => {
                Err(Failure::Retry(format!("the handler gave no answer within {} ms", self.handle_timeout.as_millis())))
            }
        }
    }
}

/// The time of the wall clock, for headers.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
