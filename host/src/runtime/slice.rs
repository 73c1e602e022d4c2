//! How long a guest has been computing without pause. The engine's epoch advances with the clock, so a guest that has only waited - for a database,
//! for another component - would pass for one that computes, and give its turn away each time it goes on. Invariant: a guest gives its turn away
//! once it has computed for a tick, and not before.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::time::error::Elapsed;
use wasmtime::UpdateDeadline;

use crate::limits::EPOCH_TICK;

thread_local! {
    /// When this thread began to run the call that it runs. Calls within it run in its time.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Runs a call of a guest within its time limit.
///
/// # Errors
/// The time is over; the call is dropped.
pub async fn within<T>(limit: Duration, call: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut call = pin!(call);
    let sliced = poll_fn(|context| {
        let outer = BEGAN.get();
        BEGAN.set(outer.or_else(|| Some(Instant::now())));
        let polled = call.as_mut().poll(context);
        BEGAN.set(outer);
        polled
    });
    tokio::time::timeout(limit, sliced).await
}

/// What a guest does that has met a new epoch.
pub(super) fn at_new_epoch() -> UpdateDeadline {
    if is_over() { UpdateDeadline::Yield(1) } else { UpdateDeadline::Continue(1) }
}

/// Outside of a call, as in an instantiation, every tick counts.
fn is_over() -> bool {
    BEGAN.get().is_none_or(|began| began.elapsed() >= EPOCH_TICK)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Goal: only time on the thread counts, and a call within a call begins no time of its own. Method: wait, compute, and call within a call.
    #[tokio::test]
    async fn waiting_is_not_computing() {
        let compute = || std::thread::sleep(EPOCH_TICK);
        assert!(is_over(), "outside of a call");
        within(LONG, async {
            assert!(!is_over());
            tokio::time::sleep(EPOCH_TICK * 2).await;
            assert!(!is_over(), "it has waited");
            compute();
            assert!(is_over());
            within(LONG, async { assert!(is_over(), "its caller has computed") }).await.unwrap();
            tokio::task::yield_now().await;
            assert!(!is_over(), "its turn has begun anew");
        })
        .await
        .unwrap();
        assert!(is_over() && within(Duration::ZERO, std::future::pending::<()>()).await.is_err());
    }
}
