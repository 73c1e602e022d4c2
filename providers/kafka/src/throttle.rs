//! Says a repeated thing once per interval. Invariant: the first time always passes, and the count of what was
//! swallowed is told with the next.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Lets one event per interval through.
#[derive(Debug)]
pub(crate) struct Throttle {
    interval: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new((None, 0)) }
    }

    /// `Some(swallowed)`: say it now; so many were swallowed since the last time. `None`: say nothing.
    pub(crate) fn pass(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (last, swallowed) = *state;
        if last.is_some_and(|last| now.saturating_duration_since(last) < self.interval) {
            *state = (last, swallowed + 1);
            return None;
        }
        *state = (Some(now), 0);
        Some(swallowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_per_interval_with_a_count() {
        let throttle = Throttle::new(Duration::from_secs(5));
        let now = Instant::now();
        assert_eq!(throttle.pass(now), Some(0));
        assert_eq!(throttle.pass(now + Duration::from_secs(1)), None);
        assert_eq!(throttle.pass(now + Duration::from_secs(4)), None);
        assert_eq!(throttle.pass(now + Duration::from_secs(5)), Some(2));
        assert_eq!(throttle.pass(now + Duration::from_secs(6)), None);
    }
}
