//! How the last calls went: their number, and how many of them failed or were slow. Invariant: a call counts until it has left the window, by
//! number or by time, and never after.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::manifest::BreakerWindow;

/// A window of time moves in this many steps: a call leaves it at most a tenth of the window late.
const STEPS: u32 = 10;

/// How one call went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// Sums over a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

impl Totals {
    pub(super) fn add(&mut self, mark: Mark) {
        self.calls += 1;
        self.failed += u32::from(mark.failed);
        self.slow += u32::from(mark.slow);
    }

    fn take(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// The last calls.
#[derive(Debug)]
pub(super) enum Window {
    /// By number.
    Calls { size: usize, marks: VecDeque<Mark>, totals: Totals },
    /// By time, in steps; the newest is last.
    Time { step: Duration, steps: VecDeque<(Instant, Totals)>, totals: Totals },
}

impl Window {
    pub(super) fn new(size: BreakerWindow) -> Self {
        match size {
            BreakerWindow::Calls(calls) => {
                let size = usize::try_from(calls).unwrap_or(usize::MAX);
                Self::Calls { size, marks: VecDeque::new(), totals: Totals::default() }
            }
            BreakerWindow::Time(time) => {
                Self::Time { step: time / STEPS, steps: VecDeque::new(), totals: Totals::default() }
            }
        }
    }

    /// Takes a call in.
    pub(super) fn push(&mut self, mark: Mark, now: Instant) {
        self.expire(now);
        match self {
            Self::Calls { size, marks, totals } => {
                if marks.len() >= *size
                    && let Some(oldest) = marks.pop_front()
                {
                    let mut gone = Totals::default();
                    gone.add(oldest);
                    totals.take(gone);
                }
                marks.push_back(mark);
                totals.add(mark);
            }
            Self::Time { step, steps, totals } => {
                totals.add(mark);
                match steps.back_mut().filter(|(began, _)| now.saturating_duration_since(*began) < *step) {
                    Some((_, last)) => last.add(mark),
                    None => {
                        let mut first = Totals::default();
                        first.add(mark);
                        steps.push_back((now, first));
                    }
                }
            }
        }
    }

    /// Sums over what is in it now.
    pub(super) fn totals(&mut self, now: Instant) -> Totals {
        self.expire(now);
        match self {
            Self::Calls { totals, .. } | Self::Time { totals, .. } => *totals,
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Calls { marks, totals, .. } => {
                marks.clear();
                *totals = Totals::default();
            }
            Self::Time { steps, totals, .. } => {
                steps.clear();
                *totals = Totals::default();
            }
        }
    }

    fn expire(&mut self, now: Instant) {
        let Self::Time { step, steps, totals } = self else { return };
        let whole = *step * STEPS;
        while let Some((began, old)) = steps.front().copied() {
            if now.saturating_duration_since(began) < whole {
                break;
            }
            totals.take(old);
            steps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Mark = Mark { failed: true, slow: false };
    const SLOW: Mark = Mark { failed: false, slow: true };
    const GOOD: Mark = Mark { failed: false, slow: false };

    fn totals(calls: u32, failed: u32, slow: u32) -> Totals {
        Totals { calls, failed, slow }
    }

    #[test]
    fn by_number_the_oldest_call_leaves_first() {
        let (mut window, now) = (Window::new(BreakerWindow::Calls(3)), Instant::now());
        for (mark, expected) in [
            (BAD, totals(1, 1, 0)),
            (SLOW, totals(2, 1, 1)),
            (GOOD, totals(3, 1, 1)),
            (GOOD, totals(3, 0, 1)),
            (GOOD, totals(3, 0, 0)),
        ] {
            window.push(mark, now);
            assert_eq!(window.totals(now), expected);
        }
        window.clear();
        assert_eq!(window.totals(now), totals(0, 0, 0));
    }

    #[test]
    fn by_time_a_call_leaves_when_its_step_is_over() {
        let (mut window, start) = (Window::new(BreakerWindow::Time(Duration::from_secs(1))), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        window.push(BAD, at(0));
        window.push(BAD, at(99));
        window.push(SLOW, at(500));
        assert_eq!(window.totals(at(999)), totals(3, 2, 1));
        assert_eq!(window.totals(at(1_000)), totals(1, 0, 1));
        window.push(GOOD, at(1_400));
        assert_eq!(window.totals(at(1_499)), totals(2, 0, 1));
        assert_eq!(window.totals(at(10_000)), totals(0, 0, 0));
    }
}
