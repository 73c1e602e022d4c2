//! Dead letters on a screen and for a program. Pure. Invariant: a payload is shown only when it was asked for, and bytes that are no text
//! are told as base64, never thrown at a terminal.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use swiftcart_provider_kafka::dead_letter::{Letter, Place, Report, State, Summary};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A reason in a table is cut here; `show` tells it whole.
const TABLE_REASON_CHARS: usize = 100;

type Letters<'a> = &'a [(Letter, State)];

pub(super) fn summary_json(summary: &Summary, letters: Letters<'_>) -> Value {
    let causes: Vec<Value> = summary
        .causes
        .iter()
        .map(|cause| {
            json!({"group": cause.group, "original_topic": cause.original_topic, "class": cause.class, "reason": cause.reason,
                "letters": cause.letters, "first": moment(cause.first_ms), "last": moment(cause.last_ms)})
        })
        .collect();
    let count = |state: State| summary.letters.get(&state).copied().unwrap_or(0);
    json!({
        "topic": summary.topic,
        "open": count(State::Open), "parked": count(State::Parked), "replayed": count(State::Replayed),
        "discarded": count(State::Discarded), "unreadable": summary.unreadable,
        "causes": causes, "letters": letters_json(letters),
    })
}

pub(super) fn summary_text(summary: &Summary, letters: Letters<'_>) -> String {
    let count = |state: State| summary.letters.get(&state).copied().unwrap_or(0);
    let mut text = format!(
        "{}: {} open, {} parked, {} replayed, {} discarded\n",
        summary.topic,
        count(State::Open),
        count(State::Parked),
        count(State::Replayed),
        count(State::Discarded)
    );
    for cause in &summary.causes {
        text.push_str(&format!(
            "  {:>6}  {}  {} .. {}  {}  {}  {}\n",
            cause.letters,
            cause.group,
            moment(cause.first_ms),
            moment(cause.last_ms),
            cause.original_topic,
            cause.class,
            line(&cause.reason)
        ));
    }
    text + &letters_text(letters)
}

pub(super) fn letters_json(letters: Letters<'_>) -> Vec<Value> {
    letters.iter().map(|(letter, state)| short_json(letter, *state)).collect()
}

/// A line for each letter.
pub(super) fn letters_text(letters: Letters<'_>) -> String {
    let line = |(letter, state): &(Letter, State)| {
        let key = letter.message.key.as_deref().map_or_else(|| "-".to_owned(), bytes);
        format!(
            "  {}:{}  {}  key {}  {}  replays {}  {}  {}\n",
            letter.place.partition,
            letter.place.offset,
            state.as_str(),
            self::line(&key),
            letter.group,
            letter.replay_count,
            moment(letter.last_failure_at_ms),
            self::line(&letter.reason)
        )
    };
    letters.iter().map(line).collect()
}

pub(super) fn whole_json(letter: &Letter, state: State, payload: bool) -> Value {
    let headers: Vec<Value> = letter
        .message
        .headers
        .iter()
        .map(|header| json!({"name": header.name, "value": bytes(&header.value)}))
        .collect();
    let mut whole = short_json(letter, state);
    if let Some(members) = whole.as_object_mut() {
        members.insert("headers".to_owned(), json!(headers));
        members.insert("payload_bytes".to_owned(), json!(letter.message.payload.len()));
        if payload {
            members.insert("payload".to_owned(), json!(bytes(&letter.message.payload)));
        }
    }
    whole
}

pub(super) fn whole_text(letter: &Letter, state: State, payload: bool) -> String {
    let mut text = letters_text(&[(letter.clone(), state)]);
    if let Some(fault) = &letter.fault {
        text.push_str(&format!("cannot be replayed: {fault}\n"));
    }
    for header in &letter.message.headers {
        text.push_str(&format!("{}: {}\n", header.name, visible(&bytes(&header.value))));
    }
    match payload {
        true => text.push_str(&format!("\n{}\n", visible(&bytes(&letter.message.payload)))),
        false => text.push_str(&format!("\n{} bytes of payload; --payload shows them\n", letter.message.payload.len())),
    }
    text
}

pub(super) fn report_json(report: &Report, topic: &str) -> Value {
    let refused: Vec<Value> =
        report.refused.iter().map(|(place, reason)| json!({"place": place_json(place), "reason": reason})).collect();
    json!({
        "run": report.run, "topic": topic, "replayed": report.replayed, "parked": report.parked, "discarded": report.discarded,
        "skipped": report.skipped, "refused": refused, "left": report.left, "failure": report.failure,
    })
}

pub(super) fn report_text(report: &Report, topic: &str) -> String {
    let mut text = format!(
        "{topic}: {} replayed, {} parked, {} discarded, {} dealt with by others in the meantime, {} refused, {} left (run {})\n",
        report.replayed,
        report.parked,
        report.discarded,
        report.skipped,
        report.refused.len(),
        report.left,
        report.run
    );
    for (place, reason) in &report.refused {
        text.push_str(&format!("  {place}: {reason}\n"));
    }
    if let Some(failure) = &report.failure {
        text.push_str(&format!("it ended early: {failure}\n"));
    }
    text
}

fn short_json(letter: &Letter, state: State) -> Value {
    json!({
        "place": place_json(&letter.place), "state": state.as_str(), "origin": place_json(&letter.origin),
        "key": letter.message.key.as_deref().map(bytes), "group": letter.group, "class": letter.class, "reason": letter.reason,
        "attempts": letter.attempts, "first_failure_at": moment(letter.first_failure_at_ms),
        "last_failure_at": moment(letter.last_failure_at_ms), "component_digest": letter.component_digest,
        "replay_count": letter.replay_count, "fault": letter.fault,
    })
}

fn place_json(place: &Place) -> Value {
    json!({"topic": place.topic, "partition": place.partition, "offset": place.offset})
}

/// RFC 3339, to the millisecond that Kafka knows.
fn moment(ms: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000).ok();
    moment.and_then(|moment| moment.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}

/// Text as it is; other bytes as base64.
fn bytes(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| format!("base64:{}", STANDARD.encode(bytes)), str::to_owned)
}

/// Without what moves a cursor: reasons, keys and payloads are text of others.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// For a line of a table.
fn line(text: &str) -> String {
    let one: String = visible(text).chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    match one.char_indices().nth(TABLE_REASON_CHARS) {
        Some((end, _)) => format!("{}…", one.get(..end).unwrap_or_default()),
        None => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_and_bytes_are_told_as_text_or_base64() {
        assert_eq!(moment(1_764_190_800_123), "2025-11-26T21:00:00.123Z");
        assert_eq!((bytes(b"abc").as_str(), bytes(&[0xff, 0]).as_str()), ("abc", "base64:/wA="));
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor_or_break_a_line() {
        assert_eq!(line("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb c");
        assert_eq!(line(&"ä".repeat(200)).chars().count(), TABLE_REASON_CHARS + 1);
    }
}
