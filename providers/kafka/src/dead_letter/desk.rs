//! An operator's desk: look at dead letters, publish them again, or give them up. Invariants: a letter counts as dealt
//! with only when its record and its mark are acknowledged; one run at a time works on a topic; and no run begins
//! without its line in the audit.
//!
//! A run that dies between a record and its mark leaves a letter that the next run publishes again: consumers know it
//! by its event id, as they know every second delivery.

use rdkafka::consumer::BaseConsumer;

use super::filter::Filter;
use super::letter::{Letter, Place};
use super::mark::State;
use super::marks::{self, READERS, blocking};
use super::run::{Action, work};
use super::summary::{Counter, Summary};
use super::tail::{self, Tail};
use crate::connection::Connection;
use crate::context::Context;
use crate::error::{Error, ProduceError};
use crate::topics::invalid;

/// Ends the name of a dead letter topic.
const SUFFIX: &str = ".dlq";

/// Letters are held in memory from the choice to the end; beyond so much a selection ends early.
const MAX_SELECTED_BYTES: usize = 256 << 20;

/// Why an operation could not be done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The cluster.
    #[error(transparent)]
    Kafka(#[from] Error),
    /// There is no such topic.
    #[error("there is no topic {0}")]
    NoTopic(String),
    /// Another run works on the topic.
    #[error("{operator} works on this topic (run {run}); a run that died stands in the way for {seconds} s at most")]
    Busy {
        /// Who.
        operator: String,
        /// Which run.
        run: String,
        /// How long its claim lasts, unless it is renewed.
        seconds: u64,
    },
    /// A mark, a claim or a line of the audit was not acknowledged.
    #[error("what is done could not be written down: {0}")]
    NotWritten(ProduceError),
}

/// What an operator wants done, and who he is.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The dead letter topic.
    pub topic: String,
    /// Who.
    pub operator: String,
    /// Why, in his words.
    pub note: Option<String>,
    /// Which letters he meant, for the audit.
    pub filter: Filter,
}

/// Letters that were chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The letters with what became of them so far, in the order in which they lie in their partitions.
    pub letters: Vec<(Letter, State)>,
    /// How many more are meant than may be chosen at once.
    pub left_out: usize,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Names the run in marks, audit and logs.
    pub run: String,
    /// Published again.
    pub replayed: usize,
    /// Replayed too often before: set aside for a decision.
    pub parked: usize,
    /// Given up.
    pub discarded: usize,
    /// Dealt with by somebody else in the meantime.
    pub skipped: usize,
    /// Cannot be replayed, and why; left as they are.
    pub refused: Vec<(Place, String)>,
    /// Not reached, because of the failure.
    pub left: usize,
    /// What ended the run early.
    pub failure: Option<String>,
}

/// The desk.
#[derive(Debug, Clone)]
pub struct Desk {
    connection: Connection,
}

impl Desk {
    /// A desk at a cluster. Nothing is connected yet.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The dead letter topics of the cluster, sorted.
    pub async fn topics(&self) -> Result<Vec<String>, DeskError> {
        let connection = self.connection.clone();
        let mut topics = blocking(move || tail::topics(&looker(&connection)?)).await?;
        topics.retain(|topic| topic.ends_with(SUFFIX));
        topics.sort();
        Ok(topics)
    }

    /// Counts the letters of a topic that are meant.
    pub async fn summarize(&self, topic: &str, filter: &Filter) -> Result<Summary, DeskError> {
        let counter = Counter::new(topic);
        let counted = self.fold(topic, filter, counter, |counter, letter, state| counter.count(&letter, state));
        Ok(counted.await?.end())
    }

    /// The letters of a topic that are meant, whole, as many as `limit`.
    pub async fn select(&self, topic: &str, filter: &Filter, limit: usize) -> Result<Selection, DeskError> {
        let mut bytes = 0;
        self.fold(topic, filter, Selection::default(), move |selection, letter, state| {
            bytes += letter.message.bytes();
            // From the first that is left out on, all are: what comes later of a key must not go first.
            if selection.left_out > 0 || selection.letters.len() >= limit || bytes > MAX_SELECTED_BYTES {
                selection.left_out += 1;
            } else {
                selection.letters.push((letter, state));
            }
        })
        .await
    }

    /// Hands over every letter that is meant, with what became of it.
    async fn fold<T: Send + 'static>(
        &self,
        topic: &str,
        filter: &Filter,
        mut folded: T,
        mut each: impl FnMut(&mut T, Letter, State) + Send + 'static,
    ) -> Result<T, DeskError> {
        let (connection, filter, name) = (self.connection.clone(), filter.clone(), topic.to_owned());
        let reading = blocking(move || {
            let book = marks::read(&connection, &name)?;
            let Some(mut tail) = Tail::open(&connection, READERS, std::slice::from_ref(&name))? else {
                return Ok(None);
            };
            tail.read_to_end(|message| {
                let letter = Letter::read(message);
                let state = book.state(&letter.place);
                if filter.means(&letter, state) {
                    each(&mut folded, letter, state);
                }
            })?;
            Ok(Some(folded))
        });
        reading.await?.ok_or_else(|| DeskError::NoTopic(topic.to_owned()))
    }

    /// Publishes letters again, at most `rate` a second; those that were replayed `max_replays` times are parked.
    ///
    /// # Errors
    /// When nothing was done. What happens later is in the report.
    pub async fn replay(
        &self,
        operation: &Operation,
        letters: Vec<(Letter, State)>,
        rate: u32,
        max_replays: u32,
    ) -> Result<Report, DeskError> {
        work(&self.connection, operation, letters, Action::Replay { rate: rate.max(1), max_replays }).await
    }

    /// Gives letters up: they are kept, but count as dealt with.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub async fn discard(&self, operation: &Operation, letters: Vec<(Letter, State)>) -> Result<Report, DeskError> {
        work(&self.connection, operation, letters, Action::Discard).await
    }
}

/// A client that only asks.
pub(super) fn looker(connection: &Connection) -> Result<BaseConsumer<Context>, Error> {
    let mut config = connection.client_config();
    config.set("group.id", READERS).set("enable.auto.commit", "false");
    config.create_with_context(Context::new(None)).map_err(invalid)
}
