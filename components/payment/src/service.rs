//! Charge and settle; `refunds` gives back, `webhooks` hears the PSP. Invariant: the PSP is asked only while an open row stands, and only under the order's own idempotency key.
//!
//! Reading back is asking again: the same request under the same key is Stripe's only strongly consistent way to learn what became of the first one
//! (search lags). Either the first one was executed and its answer is replayed, or it never arrived and the charge, which the buyer did ask for, is made
//! now; in no case are there two. The way ends where Stripe forgets keys (24 hours): older rows are only looked up.

mod refunds;
mod webhooks;

use swiftcart_domain::ids;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Charge, Decision, Outcome, Record};
use crate::ports::{Http, Store, Surroundings};
use crate::psp::{Stripe, Verdict};

/// Takes up pending refunds, and charges that nobody asks about any more.
pub const SWEEP: &str = "payment-sweep";
/// Deletes old rows.
pub const RETENTION: &str = "payment-retention";
/// Younger rows may be sent again; well below the 24 hours for which Stripe keeps a key.
const RESEND_MAX_AGE_MS: u64 = 12 * 60 * 60 * 1000;
/// Between two tries.
const PAUSE_MS: u64 = 100;
/// A try with less time left than this is not begun.
const TRY_MIN_MS: u64 = 200;

/// How long asking may take, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// One request.
    pub request_timeout_ms: u64,
    /// All requests of one call.
    pub budget_ms: u64,
    /// After so long what search does not find was not there. Stripe: a minute at most usually.
    pub search_lag_ms: u64,
}

/// The use cases with what they work on.
pub struct Payments<S, H, O> {
    /// The database.
    pub store: S,
    /// The PSP.
    pub psp: Stripe<H>,
    /// Time, trace, log.
    pub surroundings: O,
    /// How long asking may take.
    pub patience: Patience,
}

impl<S: Store, H: Http, O: Surroundings> Payments<S, H, O> {
    /// Charges once per order id; asked again, tells what became of the first time. The charge that counts is the first one's.
    pub fn charge(&self, charge: &Charge) -> Outcome {
        match self.store.begin(charge) {
            Ok(record) => self.resolve(&record),
            // Nothing was sent by this call, but another may be on its way; only the row could tell.
            Err(error) => self.store_failed("beginning a charge", &error),
        }
    }

    /// Finds out what became of an order's charge; bars it if none was begun.
    pub fn settle(&self, order_id: &str) -> Outcome {
        let Some(order_id) = ids::parse_order_id(order_id) else {
            return Outcome::NotCharged("the order id is no UUID".to_owned());
        };
        match self.store.begin_settle(order_id) {
            Ok(record) => self.resolve(&record),
            Err(error) => self.store_failed("settling a charge", &error),
        }
    }

    /// One tick of a timer; how many things were done.
    ///
    /// # Errors
    /// [`Error`]; `Internal` for a timer that is not ours.
    pub fn tick(&self, timer: &str) -> Result<u32, Error> {
        match timer {
            SWEEP => Ok(self.sweep_refunds()?.saturating_add(self.sweep_forgotten()?)),
            RETENTION => self.store.prune().map(|rows| u32::try_from(rows).unwrap_or(u32::MAX)),
            other => Err(Error::Internal(format!("payment has no timer {other}"))),
        }
    }

    /// A charge that was left open is settled by whoever decides its order, again and again until it is decided. One that nobody has asked about for a
    /// quarter of an hour has no such order any more (it was decided without it, or lost): settled here, so that the books are whole.
    fn sweep_forgotten(&self) -> Result<u32, Error> {
        let Some(order_id) = self.store.take_forgotten()? else { return Ok(0) };
        if let Outcome::Unknown(reason) = self.settle(&order_id.to_string()) {
            self.surroundings
                .log_error(&format!("the charge of order {order_id} was left open and stays so: {reason}"));
        }
        Ok(1)
    }

    fn resolve(&self, record: &Record) -> Outcome {
        if let Some(outcome) = record.outcome() {
            return outcome;
        }
        let Some(charge) = &record.charge else {
            return self.store_failed("reading a charge", &Error::Internal("an open row without a request".to_owned()));
        };
        let deadline = self.surroundings.monotonic_ms().saturating_add(self.patience.budget_ms);
        let mut verdict = match &record.payment_id {
            Some(payment_id) => self.read(record.order_id, payment_id, deadline),
            None if record.age_ms > RESEND_MAX_AGE_MS => {
                self.look_up(record, "the charge is too old to be sent again", deadline)
            }
            None => self.send(record, charge, deadline),
        };
        if let Verdict::Broken { reason } = &verdict {
            verdict = self.look_up(record, reason, deadline);
        }
        if let Verdict::RequiresAction { payment_id } = verdict {
            verdict = self.cancel(record.order_id, payment_id, deadline);
        }
        self.conclude(record, charge, verdict)
    }

    /// Asks under the order's key, twice if the first try was inconclusive. What proves that nothing was charged counts only if nothing was sent before.
    fn send(&self, record: &Record, charge: &Charge, deadline: u64) -> Verdict {
        let mut maybe_sent = !record.created;
        let mut last = Verdict::Unknown { reason: "no time was left to ask the PSP".to_owned(), payment_id: None };
        for _ in 0..2 {
            let timeout_ms = self.time_left(deadline);
            if timeout_ms < TRY_MIN_MS {
                break;
            }
            match self.psp.pay(charge, timeout_ms) {
                Verdict::Unknown { reason, payment_id: None } => {
                    maybe_sent = true;
                    last = Verdict::Unknown { reason, payment_id: None };
                }
                Verdict::Refused { reason, ours } => {
                    if ours {
                        self.surroundings.log_error(&format!("charging order {}: {reason}", record.order_id));
                    }
                    if maybe_sent {
                        last = Verdict::Unknown { reason, payment_id: None };
                        break;
                    }
                    return Verdict::Refused { reason, ours };
                }
                conclusive => return conclusive,
            }
            self.surroundings.pause_ms(PAUSE_MS);
        }
        last
    }

    /// Reads a known intent back. That it could not be read proves nothing about the charge.
    fn read(&self, order_id: Uuid, payment_id: &str, deadline: u64) -> Verdict {
        match self.psp.read(payment_id, self.time_left(deadline)) {
            Verdict::Refused { reason, ours } => {
                if ours {
                    self.surroundings.log_error(&format!("reading the payment of order {order_id}: {reason}"));
                }
                Verdict::Unknown { reason, payment_id: None }
            }
            other => other,
        }
    }

    /// Asks search, where the key cannot help any more. That it finds nothing proves something only when it had time to see it.
    fn look_up(&self, record: &Record, reason: &str, deadline: u64) -> Verdict {
        match self.psp.find(record.order_id, self.time_left(deadline)) {
            Some(verdict) => verdict,
            None if record.age_ms >= self.patience.search_lag_ms => {
                Verdict::Refused { reason: format!("{reason}; the PSP has no payment"), ours: false }
            }
            None => Verdict::Unknown { reason: format!("{reason}; the PSP has no payment yet"), payment_id: None },
        }
    }

    fn cancel(&self, order_id: Uuid, payment_id: String, deadline: u64) -> Verdict {
        match self.psp.cancel(order_id, &payment_id, self.time_left(deadline)) {
            decided @ (Verdict::Succeeded { .. } | Verdict::Declined { payment_id: Some(_), .. }) => decided,
            other => Verdict::Unknown {
                reason: format!("the payment waits for the buyer and could not be cancelled: {other:?}"),
                payment_id: Some(payment_id),
            },
        }
    }

    fn conclude(&self, record: &Record, charge: &Charge, verdict: Verdict) -> Outcome {
        let decision = match verdict {
            Verdict::Succeeded { payment_id } => Decision::Succeeded { payment_id },
            Verdict::Declined { psp_code, payment_id } => Decision::Declined { psp_code, payment_id },
            Verdict::Refused { reason, .. } => Decision::Unavailable { reason, only_attempt: Some(record.attempts) },
            Verdict::Unknown { reason, payment_id } => {
                // Only for whoever looks; the next call asks again either way.
                let _ = self.store.note_unknown(record.order_id, &reason, payment_id.as_deref());
                return Outcome::Unknown(reason);
            }
            Verdict::RequiresAction { .. } | Verdict::Broken { .. } => {
                return Outcome::Unknown("the PSP's answer led nowhere".to_owned());
            }
        };
        let decided = decision
            .event(charge, self.surroundings.now_micros(), &self.surroundings.trace())
            .and_then(|event| self.store.decide(record.order_id, &decision, &event));
        match decided {
            Ok(record) => match record.outcome() {
                // What this call found out says how the PSP does; what was known before does not.
                Some(Outcome::NotCharged(reason)) => Outcome::Unavailable(reason),
                Some(outcome) => outcome,
                None => Outcome::Unknown("another call is asking the PSP".to_owned()),
            },
            // Whatever the PSP said, it is told only once it is written: the next call hears it again.
            Err(error) => self.store_failed("writing the outcome of a charge", &error),
        }
    }

    fn time_left(&self, deadline: u64) -> u64 {
        deadline.saturating_sub(self.surroundings.monotonic_ms()).min(self.patience.request_timeout_ms)
    }

    fn store_failed(&self, doing: &str, error: &Error) -> Outcome {
        if let Error::Internal(_) = error {
            self.surroundings.log_error(&format!("{doing}: {error}"));
        }
        Outcome::Unknown(format!("{doing}: {error}"))
    }
}
