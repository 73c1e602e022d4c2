//! When to try again. Pure: randomness comes in as a number, so that every delay can be tested. Invariant: no delay is
//! above the maximum.

use std::time::Duration;

/// Delays that double from try to try up to a maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self { initial, max }
    }

    /// Wait before the try after failure number `failures` (1 is the first), with full jitter: anything from nothing to
    /// the bound, so that messages that failed together do not come back together. `random` is in [0, 1). Source:
    /// "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    pub(crate) fn retry(&self, failures: u32, random: f64) -> Duration {
        self.bound(failures).mul_f64(random.clamp(0.0, 1.0))
    }

    /// Wait before a dependency that is down is asked again: at least half of the bound, because a probe that follows
    /// at once would be a busy loop.
    pub(crate) fn probe(&self, failures: u32, random: f64) -> Duration {
        self.bound(failures).mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    fn bound(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.initial.saturating_mul(1 << doublings).min(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn the_bound_doubles_up_to_the_maximum() {
        let backoff = Backoff::new(ms(100), ms(10_000));
        let bounds: Vec<_> = (1..=9).map(|failures| backoff.retry(failures, 1.0)).collect();
        assert_eq!(bounds, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000].map(ms));
        assert_eq!(backoff.retry(u32::MAX, 1.0), ms(10_000));
        assert_eq!(backoff.retry(0, 1.0), ms(100));
    }

    #[test]
    fn jitter_covers_the_whole_range_for_retries_and_the_upper_half_for_probes() {
        let backoff = Backoff::new(ms(100), ms(10_000));
        assert_eq!(backoff.retry(2, 0.0), ms(0));
        assert_eq!(backoff.retry(2, 0.5), ms(100));
        assert_eq!(backoff.probe(2, 0.0), ms(100));
        assert_eq!(backoff.probe(2, 1.0), ms(200));
        assert_eq!(backoff.probe(1_000_000, 1.0), ms(10_000));
    }
}
