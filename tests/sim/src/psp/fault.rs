//! Faults on request. Invariant: with the same seed and the same calls the same faults happen; counted faults happen exactly that often.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// What `PUT /_control/faults` takes; what is left out is off. It replaces whatever was set before.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Milliseconds before each call is carried out.
    pub latency_ms: u64,
    /// Share of calls (0 to 1) that answer 500 without an effect.
    pub fail_rate: f64,
    /// So many calls answer 500 without an effect.
    pub fail_next: u64,
    /// Every call answers 503 before anything is done, not even the idempotency key is looked at.
    pub unavailable: bool,
    /// So many calls are read and never answered, without an effect.
    pub hang_next: u64,
    /// So many payments are carried out and recorded but never answered.
    pub charge_then_hang_next: u64,
    /// So many payments are carried out and recorded, then the connection is closed without an answer.
    pub charge_then_close_next: u64,
    /// So many refunds are carried out and recorded, then the connection is closed without an answer.
    pub refund_then_close_next: u64,
    /// Every refund is refused for good (`charge_disputed`).
    pub refuse_refunds: bool,
    /// Every refund is made as `pending` and stays so until `POST /_control/refunds/{id}` decides it.
    pub pend_refunds: bool,
    /// Every payment is declined with `card_declined` / `generic_decline`.
    pub decline_all: bool,
    /// Seed of `fail_rate`.
    pub seed: u64,
}

/// What befalls one call before it is carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// 503.
    Unavailable,
    /// No answer, no effect.
    Hang,
    /// 500, no effect.
    Fail,
}

/// What befalls a payment or refund after it was carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum After {
    /// It is answered.
    Answer,
    /// No answer.
    Hang,
    /// The connection is closed.
    Close,
}

/// The faults that are set, shared by all calls.
pub struct FaultBox(Mutex<(Faults, StdRng)>);

impl Default for FaultBox {
    fn default() -> Self {
        Self(Mutex::new((Faults::default(), StdRng::seed_from_u64(0))))
    }
}

impl FaultBox {
    fn lock(&self) -> MutexGuard<'_, (Faults, StdRng)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces all faults.
    pub fn set(&self, faults: Faults) {
        let random = StdRng::seed_from_u64(faults.seed);
        *self.lock() = (faults, random);
    }

    /// What is still to come.
    pub fn current(&self) -> Faults {
        self.lock().0.clone()
    }

    /// Draws the fault of one call.
    pub fn before(&self) -> Before {
        let mut guard = self.lock();
        let (faults, random) = &mut *guard;
        if faults.unavailable {
            return Before::Unavailable;
        }
        if take(&mut faults.hang_next) {
            return Before::Hang;
        }
        if take(&mut faults.fail_next)
            || (faults.fail_rate > 0.0 && random.random_bool(faults.fail_rate.clamp(0.0, 1.0)))
        {
            return Before::Fail;
        }
        Before::Nothing
    }

    /// Draws the fault after a payment.
    pub fn after_payment(&self) -> After {
        let mut guard = self.lock();
        if take(&mut guard.0.charge_then_hang_next) {
            After::Hang
        } else if take(&mut guard.0.charge_then_close_next) {
            After::Close
        } else {
            After::Answer
        }
    }
}

impl FaultBox {
    /// Draws the fault after a refund.
    pub fn after_refund(&self) -> After {
        if take(&mut self.lock().0.refund_then_close_next) { After::Close } else { After::Answer }
    }
}

fn take(count: &mut u64) -> bool {
    let some = *count > 0;
    *count = count.saturating_sub(1);
    some
}
