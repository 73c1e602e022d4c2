//! A host without crash points: the same names as in `armed`, and nothing behind them.

use crate::runtime::TraceContext;

/// Would number the effects of a call.
#[derive(Clone, Debug, Default)]
pub struct Chain(());

impl Chain {
    /// The chain of a call that comes from outside.
    #[must_use]
    pub fn begin(_: &str, _: &str, _: &TraceContext, _: impl FnOnce() -> String) -> Self {
        Self(())
    }

    /// The next effect.
    #[must_use]
    pub fn point(&self, _: &str, _: impl FnOnce() -> String) -> Point {
        Point
    }
}

/// Would be one effect.
#[derive(Clone, Copy, Debug)]
pub struct Point;

impl Point {
    /// The effect itself.
    ///
    /// # Errors
    /// The effect's own.
    pub async fn around<T, E>(
        self,
        effect: impl Future<Output = Result<T, E>>,
        _: impl FnOnce(String) -> E,
        _: impl FnOnce(String) -> E,
    ) -> Result<T, E> {
        effect.await
    }
}

/// Would say that this is a host for tests.
pub fn announce() {}
