//! So many calls at once and so many that wait: one slow callee cannot take all instances of its callers. Invariant: never more calls inside,
//! and never more waiting, than the policy says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::manifest::BulkheadPolicy;

/// The calls of one link.
pub(super) struct Bulkhead {
    policy: BulkheadPolicy,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// Told how many wait.
    queued: metrics::Gauge,
}

/// There is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Bulkhead {
    pub(super) fn new(policy: BulkheadPolicy, queued: metrics::Gauge) -> Self {
        let places = usize::try_from(policy.max_concurrent).unwrap_or(Semaphore::MAX_PERMITS);
        Self { policy, places: Arc::new(Semaphore::new(places)), waiting: AtomicUsize::new(0), queued }
    }

    /// A place, at once or when one becomes free within the time of the policy and what the caller has left. And whether it was waited for.
    pub(super) async fn enter(&self, left: Duration) -> Result<(OwnedSemaphorePermit, bool), Full> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Ok((place, false));
        }
        let _waiting = Waiting::begin(self).ok_or(Full)?;
        let wait = self.policy.queue.min(left);
        match tokio::time::timeout(wait, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok((place, true)),
            _ => Err(Full),
        }
    }

    /// Calls inside and calls that wait.
    pub(super) fn usage(&self) -> (usize, usize) {
        let places = usize::try_from(self.policy.max_concurrent).unwrap_or(Semaphore::MAX_PERMITS);
        (places.saturating_sub(self.places.available_permits()), self.waiting.load(Ordering::Relaxed))
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a>(&'a Bulkhead);

impl<'a> Waiting<'a> {
    fn begin(bulkhead: &'a Bulkhead) -> Option<Self> {
        let limit = usize::try_from(bulkhead.policy.max_queued).unwrap_or(usize::MAX);
        let enter = |waiting: usize| (waiting < limit).then_some(waiting + 1);
        bulkhead.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        bulkhead.queued.increment(1);
        Some(Self(bulkhead))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.queued.decrement(1);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn bulkhead(max_concurrent: u32, max_queued: u32, queue_ms: u64) -> Arc<Bulkhead> {
        let policy = BulkheadPolicy { max_concurrent, max_queued, queue: Duration::from_millis(queue_ms) };
        Arc::new(Bulkhead::new(policy, metrics::Gauge::noop()))
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_told_at_once() {
        let bulkhead = bulkhead(2, 0, 1_000);
        let places = (bulkhead.enter(LONG).await.unwrap(), bulkhead.enter(LONG).await.unwrap());
        assert_eq!(bulkhead.enter(LONG).await.unwrap_err(), Full);
        assert_eq!(bulkhead.usage(), (2, 0));
        drop(places.0);
        assert!(!bulkhead.enter(LONG).await.unwrap().1, "nobody waited");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_in_or_told_in_time() {
        let bulkhead = bulkhead(1, 1, 1_000);
        let place = bulkhead.enter(LONG).await.unwrap();
        let waiting = tokio::spawn({
            let bulkhead = bulkhead.clone();
            async move { bulkhead.enter(LONG).await.map(|(_, waited)| waited) }
        });
        tokio::task::yield_now().await;
        assert_eq!(bulkhead.usage(), (1, 1));
        assert_eq!(bulkhead.enter(LONG).await.unwrap_err(), Full, "the queue is full");
        drop(place);
        assert_eq!(waiting.await.unwrap(), Ok(true));
        let _place = bulkhead.enter(LONG).await.unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(bulkhead.enter(LONG).await.unwrap_err(), Full);
        assert_eq!(began.elapsed(), Duration::from_millis(1_000));
        let began = tokio::time::Instant::now();
        assert_eq!(bulkhead.enter(Duration::from_millis(10)).await.unwrap_err(), Full);
        assert_eq!(began.elapsed(), Duration::from_millis(10), "no longer than the caller has");
        assert_eq!(bulkhead.usage(), (1, 0));
    }
}
