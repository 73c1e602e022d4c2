//! A row of the outbox and the record that it becomes. Pure. Invariant: a row that cannot become a record says why; it
//! never stops the others.

use serde_json::Value;
use swiftcart_provider_kafka::{Header, Record};
use uuid::Uuid;

/// One row that is not published yet.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) event_id: Uuid,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) payload: String,
    /// `{name: string}`.
    pub(crate) headers: Value,
}

impl Row {
    /// The record, or what is wrong with the row.
    pub(crate) fn record(&self) -> Result<Record, String> {
        let Value::Object(headers) = &self.headers else { return Err("headers are not a JSON object".to_owned()) };
        let header = |(name, value): (&String, &Value)| match value {
            Value::String(value) => Ok(Header::new(name.as_str(), value.as_bytes())),
            _ => Err(format!("header {name} is not a string")),
        };
        Ok(Record {
            topic: self.topic.clone(),
            key: Some(self.key.clone().into_bytes()),
            partition: None,
            payload: self.payload.clone().into_bytes(),
            headers: headers.iter().map(header).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    fn row(headers: Value) -> Row {
        Row {
            id: 1,
            event_id: Uuid::nil(),
            topic: "t".to_owned(),
            key: "k".to_owned(),
            payload: "{}".to_owned(),
            headers,
        }
    }

    #[test]
    fn a_row_becomes_a_record() {
        let record = row(json!({"ce_id": "1", "traceparent": "00-ä"})).record().unwrap();
        assert_eq!(
            (record.topic.as_str(), record.key.as_deref(), record.payload.as_slice()),
            ("t", Some(&b"k"[..]), &b"{}"[..])
        );
        assert_eq!(record.headers, [Header::new("ce_id", "1"), Header::new("traceparent", "00-ä")]);
    }

    #[test]
    fn malformed_headers_are_told() {
        assert!(row(json!([])).record().unwrap_err().contains("object"));
        assert!(row(json!({"a": 1})).record().unwrap_err().contains("header a"));
    }
}
