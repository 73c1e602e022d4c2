//! One run over chosen letters: audit, claim, batch by batch, give back, audit. Invariant: a mark follows the
//! acknowledgement of its record, never the other way round; the first failure ends the run, so that nothing overtakes
//! what failed.

use std::collections::VecDeque;
use std::time::Duration;

use super::audit::{self, Line, Outcome};
use super::batch;
use super::desk::{DeskError, Operation, Report, looker};
use super::letter::{Letter, Place};
use super::mark::{self, State};
use super::marks::{Marks, blocking};
use super::replay::{Fate, fate};
use super::tail;
use crate::config::ProducerConfig;
use crate::connection::Connection;
use crate::delivery::wall_clock_ms;
use crate::message::Record;
use crate::producer::Producer;
use crate::topics;

/// Letters that are given up go in batches of this size; nothing waits for them.
const DISCARDED_AT_ONCE: usize = 100;

/// What a run does with its letters.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    Replay { rate: u32, max_replays: u32 },
    Discard,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Replay { .. } => "dlq.replay",
            Self::Discard => "dlq.discard",
        }
    }
}

/// Letters with what became of them when they were chosen.
type Chosen = Vec<(Letter, State)>;

/// Does it. An error: nothing was done.
pub(super) async fn work(
    connection: &Connection,
    operation: &Operation,
    letters: Chosen,
    action: Action,
) -> Result<Report, DeskError> {
    prepare(connection, &operation.topic).await?;
    let producer = Producer::new(ProducerConfig::new(connection.clone()))?;
    let run = format!("{:032x}", rand::random::<u128>());
    let marks = Marks::claim(connection, &producer, &operation.topic, &run, &operation.operator).await?;
    let selected = letters.len();
    let line = |phase, outcome| {
        let Operation { topic, operator, note, filter } = operation;
        let (action, note) = (action.name(), note.as_deref());
        let (run, at_ms) = (run.as_str(), wall_clock_ms());
        audit::record(&Line { action, phase, run, operator, at_ms, topic, filter, selected, note, outcome })
    };
    if let Err(error) = producer.send(line("begun", None)).await {
        marks.release().await;
        return Err(DeskError::NotWritten(error));
    }
    tracing::info!(
        run,
        action = action.name(),
        operator = operation.operator,
        topic = operation.topic,
        selected,
        "dead letters: begun"
    );
    let mut report = Report { run: run.clone(), ..Report::default() };
    if let Err(failure) = go_through(&producer, &marks, letters, action, &mut report).await {
        report.failure = Some(failure);
    }
    let outcome = Outcome {
        replayed: report.replayed,
        parked: report.parked,
        discarded: report.discarded,
        skipped: report.skipped,
        refused: report.refused.len(),
        left: report.left,
        failure: report.failure.as_deref(),
    };
    tracing::info!(
        run,
        action = action.name(),
        operator = operation.operator,
        topic = operation.topic,
        ?outcome,
        "dead letters: ended"
    );
    if let Err(error) = producer.send(line("ended", Some(outcome))).await {
        let failure = format!("the end of the run is not in the audit: {error}");
        report.failure = Some(report.failure.map_or_else(|| failure.clone(), |first| format!("{first}; {failure}")));
    }
    marks.release().await;
    Ok(report)
}

/// The topics of marks and audit, with as many replicas as the dead letters have.
async fn prepare(connection: &Connection, topic: &str) -> Result<(), DeskError> {
    let (asked, name) = (connection.clone(), topic.to_owned());
    let found = blocking(move || tail::partitions_of(&looker(&asked)?, &name)).await?;
    let (_, replicas) = found.ok_or_else(|| DeskError::NoTopic(topic.to_owned()))?;
    topics::ensure(connection, &[mark::topic(), audit::topic()], replicas).await?;
    Ok(())
}

/// Works until nothing is left, or something fails; then says what.
async fn go_through(
    producer: &Producer,
    marks: &Marks<'_>,
    letters: Chosen,
    action: Action,
    report: &mut Report,
) -> Result<(), String> {
    let mut queue: VecDeque<(Letter, State)> = letters.into();
    let mut next = tokio::time::Instant::now();
    while !queue.is_empty() {
        tokio::time::sleep_until(next).await;
        let batch = match action {
            Action::Replay { rate, .. } => batch::take(&mut queue, batch::size(rate)),
            Action::Discard => queue.drain(..queue.len().min(DISCARDED_AT_ONCE)).collect(),
        };
        let size = batch.len();
        let sent_before = report.replayed;
        // Learns what others did until our claim was written; from then on nobody does anything.
        let gone = match marks.renew().await {
            Ok(()) => one_batch(producer, marks, batch, action, report).await,
            Err(error) => Err((size, error.to_string())),
        };
        if let Err((undone, failure)) = gone {
            report.left = undone + queue.len();
            return Err(failure);
        }
        if let Action::Replay { rate, .. } = action {
            let sent = u32::try_from(report.replayed - sent_before).unwrap_or(u32::MAX);
            next = tokio::time::Instant::now() + Duration::from_secs(1) * sent / rate;
        }
    }
    Ok(())
}

/// One batch: publish, then mark. An error says how many letters are not dealt with.
async fn one_batch(
    producer: &Producer,
    marks: &Marks<'_>,
    batch: Chosen,
    action: Action,
    report: &mut Report,
) -> Result<(), (usize, String)> {
    let (mut records, mut sending, mut parking, mut discarding) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (letter, state) in batch {
        if marks.state(&letter.place) != state {
            report.skipped += 1;
            continue;
        }
        match action {
            Action::Discard => discarding.push(letter.place),
            Action::Replay { max_replays, .. } => match fate(&letter, max_replays) {
                Fate::Replay(record) => {
                    records.push(*record);
                    sending.push(letter.place);
                }
                Fate::Park => parking.push(letter.place),
                Fate::Refuse(reason) => report.refused.push((letter.place, reason)),
            },
        }
    }
    let published = publish(producer, records, sending).await;
    let left = published.failed.len();
    for (places, state, count) in [
        (&published.acknowledged, State::Replayed, &mut report.replayed),
        (&parking, State::Parked, &mut report.parked),
        (&discarding, State::Discarded, &mut report.discarded),
    ] {
        if let Err(error) = marks.write(places, state).await {
            let places: Vec<String> = places.iter().map(ToString::to_string).collect();
            let failure = format!("{} but not marked so: {} ({error})", state.as_str(), places.join(" "));
            return Err((left + places.len(), failure));
        }
        *count += places.len();
    }
    match published.failed.first() {
        None => Ok(()),
        Some((place, error)) => Err((left, format!("{place} could not be published: {error}"))),
    }
}

#[derive(Default)]
struct Published {
    acknowledged: Vec<Place>,
    failed: Vec<(Place, String)>,
}

async fn publish(producer: &Producer, records: Vec<Record>, places: Vec<Place>) -> Published {
    let mut published = Published::default();
    let results = producer.send_all(records).await;
    for (place, result) in places.into_iter().zip(results) {
        match result {
            Ok(()) => published.acknowledged.push(place),
            Err(error) => published.failed.push((place, error.to_string())),
        }
    }
    published
}
