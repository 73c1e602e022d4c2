//! The marks of one dead letter topic as a run reads and writes them. Invariant: a run writes marks only while its claim
//! on the topic holds, and what it knows of others' marks is as new as its last claim.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::desk::DeskError;
use super::letter::Place;
use super::mark::{self, Claim, Claims, Entry, MARKS_TOPIC, Mark, State};
use super::tail::Tail;
use crate::connection::Connection;
use crate::delivery::wall_clock_ms;
use crate::error::Error;
use crate::message::{Message, Record};
use crate::producer::Producer;

/// How long a claim lasts without being renewed: longer than a batch may take with every time-out of the producer.
const CLAIM_MS: u64 = 120_000;

/// The group of readers that are in no group; it commits nothing.
pub(super) const READERS: &str = "swiftcart-dlq";

/// What is known of a topic's letters.
#[derive(Default)]
pub(super) struct Book {
    topic: String,
    states: HashMap<Place, State>,
    claims: Claims,
}

impl Book {
    pub(super) fn new(topic: &str) -> Self {
        Self { topic: topic.to_owned(), ..Self::default() }
    }

    pub(super) fn take(&mut self, message: &Message) {
        match mark::read(message) {
            Some(Entry::Mark(place, mark)) if place.topic == self.topic => {
                self.states.insert(place, mark.state);
            }
            Some(Entry::Claim(topic, claim)) if topic == self.topic => self.claims.take(topic, claim),
            _ => {}
        }
    }

    pub(super) fn state(&self, place: &Place) -> State {
        self.states.get(place).copied().unwrap_or(State::Open)
    }
}

/// Reads all marks of a topic. Blocking.
pub(super) fn read(connection: &Connection, topic: &str) -> Result<Book, Error> {
    let mut book = Book::new(topic);
    // Before the first consumer or the first run of an operator there is no such topic, and so no mark.
    if let Some(mut tail) = Tail::open(connection, READERS, &[MARKS_TOPIC.to_owned()])? {
        tail.read_to_end(|message| book.take(&message))?;
    }
    Ok(book)
}

/// The marks of a topic, claimed for one run.
pub(super) struct Marks<'a> {
    producer: &'a Producer,
    run: String,
    operator: String,
    topic: String,
    live: Arc<Mutex<(Tail, Book)>>,
}

impl<'a> Marks<'a> {
    /// Claims the topic. The topic of marks must exist.
    pub(super) async fn claim(
        connection: &Connection,
        producer: &'a Producer,
        topic: &str,
        run: &str,
        operator: &str,
    ) -> Result<Self, DeskError> {
        let (connection, book) = (connection.clone(), Book::new(topic));
        let opened = blocking(move || {
            let tail = Tail::open(&connection, READERS, &[MARKS_TOPIC.to_owned()])?;
            tail.ok_or_else(|| Error::Unavailable(format!("topic {MARKS_TOPIC} is not there yet")))
        });
        let live = Arc::new(Mutex::new((opened.await?, book)));
        let (run, operator, topic) = (run.to_owned(), operator.to_owned(), topic.to_owned());
        let marks = Self { producer, run, operator, topic, live };
        // First what others have claimed: a claim in front of ours counts, so ours would only be in the way.
        marks.read_on().await?;
        marks.check_holder(None)?;
        marks.renew().await?;
        Ok(marks)
    }

    /// Claims the topic for another while, and learns what became of its letters.
    pub(super) async fn renew(&self) -> Result<(), DeskError> {
        let now = wall_clock_ms();
        self.producer.send(self.claim_record(now, now + CLAIM_MS)).await.map_err(DeskError::NotWritten)?;
        self.read_on().await?;
        self.check_holder(Some(&self.run))
    }

    /// Writes marks of one state and waits for every acknowledgement.
    pub(super) async fn write(&self, places: &[Place], state: State) -> Result<(), DeskError> {
        let record = |place: &Place| {
            let at_ms = wall_clock_ms();
            mark::record(place, &Mark { state, run: self.run.clone(), operator: self.operator.clone(), at_ms })
        };
        let results = self.producer.send_all(places.iter().map(record).collect()).await;
        results.into_iter().collect::<Result<(), _>>().map_err(DeskError::NotWritten)
    }

    /// What became of a letter, as far as was read.
    pub(super) fn state(&self, place: &Place) -> State {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).1.state(place)
    }

    /// Gives the topic back. If that fails, the claim ends by itself.
    pub(super) async fn release(self) {
        let now = wall_clock_ms();
        if let Err(error) = self.producer.send(self.claim_record(now, now)).await {
            tracing::warn!(%error, topic = self.topic, "the claim could not be given back; it ends by itself");
        }
    }

    fn claim_record(&self, at_ms: u64, until_ms: u64) -> Record {
        let claim = Claim { run: self.run.clone(), operator: self.operator.clone(), at_ms, until_ms };
        mark::claim_record(&self.topic, &claim)
    }

    async fn read_on(&self) -> Result<(), Error> {
        let live = Arc::clone(&self.live);
        blocking(move || {
            let mut live = live.lock().unwrap_or_else(PoisonError::into_inner);
            let (tail, book) = &mut *live;
            tail.read_to_end(|message| book.take(&message))
        })
        .await
    }

    /// Whether the topic is nobody's, or that run's.
    fn check_holder(&self, run: Option<&str>) -> Result<(), DeskError> {
        let now = wall_clock_ms();
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match live.1.claims.holder(&self.topic, now) {
            Some(held) if Some(held.run.as_str()) != run => Err(DeskError::Busy {
                operator: held.operator.clone(),
                run: held.run.clone(),
                seconds: held.until_ms.saturating_sub(now).div_ceil(1_000),
            }),
            _ => Ok(()),
        }
    }
}

/// Runs what waits for brokers on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    body: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(body).await {
        Ok(result) => result,
        Err(error) => Err(Error::Unavailable(format!("the work was cut short: {error}"))),
    }
}
