//! The result, for people and for programs. Invariant: it is clean if and only if no invariant has a finding.

use std::fmt;

use serde_json::{Value, json};

use crate::check::Finding;

/// Findings shown of one invariant; all of them are in the JSON.
const SHOWN: usize = 20;

/// All rows.
#[derive(Clone, Debug)]
pub struct Report {
    /// One for each invariant.
    pub rows: Vec<Row>,
    /// Orders that there are.
    pub orders: usize,
    /// Orders that were judged: decided, not moving, old enough.
    pub judged: usize,
}

/// What became of one invariant.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub invariant: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// How many things were looked at.
    pub checked: usize,
    /// What was wrong.
    pub findings: Vec<Finding>,
    /// Why it was not checked.
    pub skipped: Option<&'static str>,
    /// Worth knowing.
    pub note: Option<String>,
}

impl Report {
    /// Everything that is wrong.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.rows.iter().flat_map(|row| &row.findings)
    }

    /// Whether nothing is.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings().next().is_none()
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let finding = |finding: &Finding| json!({"id": finding.id, "what": finding.what});
        let row = |row: &Row| {
            json!({
                "invariant": row.invariant, "promise": row.promise, "checked": row.checked, "skipped": row.skipped, "note": row.note,
                "violations": row.findings.iter().map(finding).collect::<Vec<_>>(),
            })
        };
        json!({
            "clean": self.is_clean(), "orders": self.orders, "judged": self.judged,
            "invariants": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

/// The table, then the findings.
impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<24} {:>8} {:>10}  promise", "invariant", "checked", "violations")?;
        for row in &self.rows {
            let more = row.skipped.map(|why| format!(" (not checked: {why})"));
            let note = row.note.as_ref().map(|note| format!(" ({note})"));
            let (count, more, note) = (row.findings.len(), more.unwrap_or_default(), note.unwrap_or_default());
            writeln!(out, "{:<24} {:>8} {count:>10}  {}{more}{note}", row.invariant, row.checked, row.promise)?;
        }
        let count = self.findings().count();
        writeln!(out, "{} orders, {} judged, {count} violations", self.orders, self.judged)?;
        for row in &self.rows {
            for finding in row.findings.iter().take(SHOWN) {
                writeln!(out, "  {}: {} {}", row.invariant, finding.id, finding.what)?;
            }
            if row.findings.len() > SHOWN {
                writeln!(out, "  {}: and {} more", row.invariant, row.findings.len() - SHOWN)?;
            }
        }
        Ok(())
    }
}
