//! How soon to look again. Pure. Invariant: never longer than the idle interval; at once while there is certainly more.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Pace {
    poll: Duration,
    idle: Duration,
    next: Duration,
}

impl Pace {
    pub(crate) fn new(poll: Duration, idle: Duration) -> Self {
        Self { poll, idle, next: poll }
    }

    /// The pause after a batch of `found` rows of at most `limit`.
    pub(crate) fn after(&mut self, found: usize, limit: usize) -> Duration {
        if found > 0 {
            self.next = self.poll;
            return if found >= limit { Duration::ZERO } else { self.poll };
        }
        let pause = self.next;
        self.next = (self.next * 3 / 2).min(self.idle);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_once_then_poll_then_slower_up_to_idle() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(20), ms(100));
        assert_eq!(pace.after(10, 10), ms(0));
        assert_eq!(pace.after(9, 10), ms(20));
        assert_eq!(
            [0; 6].map(|found| pace.after(found, 10)),
            [20, 30, 45, 67, 100, 100].map(|pause| if pause == 67 { Duration::from_micros(67_500) } else { ms(pause) })
        );
        assert_eq!(pace.after(1, 10), ms(20));
        assert_eq!(pace.after(0, 10), ms(20));
    }
}
