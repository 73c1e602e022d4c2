//! Orders, verdicts and decisions as values; no I/O, no clock. Invariant: PENDING -> CONFIRMED | FAILED and CONFIRMED -> CANCELLED | FAILED
//! are the only transitions made here, and each one makes the version grow by one.
//!
//! Rooms: `order` (what its owner sees), `request` (who asks, and under which lease it is worked on), `verdict` (what is to become of
//! it), `settlement` (the transition out of PENDING), `reversal` (the one out of CONFIRMED, and the refund that follows).

mod order;
mod request;
mod reversal;
mod settlement;
mod verdict;

pub use order::{Failure, Line, Order, Refund, RefundState, State};
pub use request::{CREATE_ROUTE, Caller, Held, Request, Trace};
pub use reversal::{Cause, RefundFailed, Refunded, Reversal, ReverseError, reverse};
pub use settlement::{Creation, Decision, KeyChange, SettleError, Settlement, settle};
pub use verdict::{Decline, Payment, Shortage, Verdict};

/// How long a run may work on an order before another may take over, in seconds. Longer than the deadline of a request (10 s).
pub const LEASE_SECONDS: u32 = 30;
/// How long the sweep waits after a lease has ended, in seconds, so that a client that tries again goes first.
pub const SWEEP_GRACE_SECONDS: u32 = 5;
/// How long an idempotency key is kept, in seconds.
pub const KEY_RETENTION_SECONDS: u32 = 24 * 3600;
/// How long a published outbox row is kept, in seconds.
pub const OUTBOX_RETENTION_SECONDS: u32 = 24 * 3600;
/// How long the inbox remembers an event, in seconds: 14 days, twice as long as Kafka keeps a message unless told otherwise.
pub const INBOX_RETENTION_SECONDS: u32 = 14 * 24 * 3600;
/// An order that is PENDING for longer raises an alarm; microseconds.
pub const ALARM_AFTER_MICROS: i64 = 5 * 60 * 1_000_000;

/// How long to leave an order alone whose payment is still unknown, in seconds, after the sweep's n-th look (from 1); the grace comes on top.
#[must_use]
pub fn postpone_seconds(attempt: u32) -> u32 {
    const LONGEST: u32 = 55;
    let doublings = attempt.saturating_sub(1).min(4);
    ((SWEEP_GRACE_SECONDS << doublings) - SWEEP_GRACE_SECONDS).min(LONGEST)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_sweep_comes_back_less_and_less_often() {
        let waits: Vec<_> = (0..8).map(postpone_seconds).collect();
        assert_eq!(waits, [0, 0, 5, 15, 35, 55, 55, 55]);
        assert_eq!(postpone_seconds(u32::MAX), 55);
    }
}
