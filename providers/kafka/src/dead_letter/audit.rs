//! Who did what with dead letters, and when: records of a topic that is kept for ever. Invariant: nothing is done whose
//! beginning is not written down and acknowledged.

use serde::Serialize;

use super::filter::Filter;
use crate::message::Record;
use crate::topics::{Retention, Wanted};

/// The topic.
pub const AUDIT_TOPIC: &str = "swiftcart.audit.v1";

/// One line of the audit.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// `dlq.replay` or `dlq.discard`.
    pub(super) action: &'static str,
    /// `begun` or `ended`.
    pub(super) phase: &'static str,
    /// Joins the lines, marks and log records of one run.
    pub(super) run: &'a str,
    /// Who.
    pub(super) operator: &'a str,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub(super) at_ms: u64,
    /// The dead letter topic.
    pub(super) topic: &'a str,
    /// Which letters were meant.
    pub(super) filter: &'a Filter,
    /// How many letters that was.
    pub(super) selected: usize,
    /// Why, in the operator's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<&'a str>,
    /// At the end: what came of it.
    #[serde(flatten)]
    pub(super) outcome: Option<Outcome<'a>>,
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub(super) struct Outcome<'a> {
    pub(super) replayed: usize,
    pub(super) parked: usize,
    pub(super) discarded: usize,
    pub(super) skipped: usize,
    pub(super) refused: usize,
    pub(super) left: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<&'a str>,
}

/// The topic itself. One partition: the lines are in the order in which they were written.
pub(super) fn topic() -> Wanted {
    Wanted { name: AUDIT_TOPIC.to_owned(), partitions: 1, retention: Retention::Forever }
}

/// The record of a line.
pub(super) fn record(line: &Line<'_>) -> Record {
    Record {
        topic: AUDIT_TOPIC.to_owned(),
        key: Some(line.topic.as_bytes().to_vec()),
        partition: None,
        // Plain structs of strings and numbers: serializing them cannot fail.
        payload: serde_json::to_vec(line).unwrap_or_default(),
        headers: Vec::new(),
    }
}
