//! No steps to strike at: the same names as in `armed`, and nothing behind them.

/// Would number what is done one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Steps(());

impl Steps {
    /// Begins a row of steps.
    #[must_use]
    pub fn begin(_: &'static str, _: impl FnOnce() -> String) -> Self {
        Self(())
    }

    /// The next of them.
    #[must_use]
    pub fn next(&self, _: impl FnOnce() -> String) -> Step {
        Step(())
    }
}

/// Would be one step.
#[derive(Clone, Copy, Debug)]
pub struct Step(());

impl Step {
    /// Just before it is done.
    ///
    /// # Errors
    /// Never.
    pub fn before(&self) -> Result<(), String> {
        Ok(())
    }

    /// Just after it was done.
    ///
    /// # Errors
    /// Never.
    pub fn after(&self) -> Result<(), String> {
        Ok(())
    }
}
