//! Lines in memory and, once it is told where, in a file. Invariant: a line is in the file before the call returns.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

/// Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Journal(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    path: Option<String>,
}

impl Journal {
    /// From now on lines go to this file too.
    pub(crate) fn write_to(&self, path: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).path = Some(path.into());
    }

    /// One more line.
    pub(crate) fn write(&self, entry: &serde_json::Value) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = entry.to_string();
        if let Some(path) = &state.path {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
                eprintln!("cannot write the journal: {error}");
            }
        }
        state.lines.push(line);
    }

    /// All lines so far.
    pub(crate) fn read(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }
}
