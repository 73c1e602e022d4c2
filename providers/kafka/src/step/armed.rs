//! Steps that somebody may watch: the host for tests, which keeps the plan of what to strike. Invariant: without a watcher nothing is disturbed.

use std::fmt;
use std::sync::OnceLock;

/// When, seen from the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has not been done.
    Before,
    /// It has, and nobody has drawn a conclusion from it.
    After,
}

/// One step that is watched: a text says that it is to fail. It may also never return.
pub type Strike = Box<dyn Fn(Moment) -> Option<String> + Send + Sync>;
/// A row of steps that is watched: takes what comes next.
pub type Watched = Box<dyn Fn(String) -> Strike + Send + Sync>;
/// Whether somebody wants to watch a row of this kind and subject.
pub type Watcher = fn(&str, &str) -> Option<Watched>;

static WATCHER: OnceLock<Watcher> = OnceLock::new();

/// Has all rows that begin from now on shown to this watcher. The first one stays.
pub fn watch_with(watcher: Watcher) {
    // A second call is one of the same program.
    let _ = WATCHER.set(watcher);
}

/// Numbers what is done one after the other.
pub struct Steps(Option<Watched>);

impl Steps {
    /// Begins a row of steps: what kind of work it is, and on what.
    #[must_use]
    pub fn begin(kind: &'static str, subject: impl FnOnce() -> String) -> Self {
        Self(WATCHER.get().and_then(|watcher| watcher(kind, &subject())))
    }

    /// The next of them.
    #[must_use]
    pub fn next(&self, what: impl FnOnce() -> String) -> Step {
        Step(self.0.as_ref().map(|watched| watched(what())))
    }
}

/// One step.
pub struct Step(Option<Strike>);

impl Step {
    /// Just before it is done.
    ///
    /// # Errors
    /// That it must be left undone.
    pub fn before(&self) -> Result<(), String> {
        self.strike(Moment::Before)
    }

    /// Just after it was done.
    ///
    /// # Errors
    /// That whoever did it must not hear how it went.
    pub fn after(&self) -> Result<(), String> {
        self.strike(Moment::After)
    }

    fn strike(&self, moment: Moment) -> Result<(), String> {
        self.0.as_ref().and_then(|strike| strike(moment)).map_or(Ok(()), Err)
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Steps(watched: {})", self.0.is_some())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step(watched: {})", self.0.is_some())
    }
}
