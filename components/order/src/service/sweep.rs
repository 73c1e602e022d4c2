//! The sweep: decides what no request decides any more. Invariant: it charges nothing; it asks what became of the charge, and payment
//! bars any later one.

use swiftcart_domain::outbox::DecidedBy;

use super::Orders;
use crate::error::StoreError;
use crate::model::{self, ALARM_AFTER_MICROS, State, Verdict};
use crate::ports::{Due, Level, Outcome};

/// How many orders one tick looks at.
const ORDERS_PER_TICK: u32 = 50;
/// When a tick stops to take more, in microseconds: well within the deadline of a call.
const TICK_BUDGET_MICROS: i64 = 5_000_000;

impl Orders<'_> {
    /// Settles orders whose lease has ended. Gives how many it looked at.
    pub(super) fn sweep(&self) -> Result<u32, StoreError> {
        let started = self.clock.now();
        let mut done = 0;
        while done < ORDERS_PER_TICK && self.clock.now() - started < TICK_BUDGET_MICROS {
            let Some(due) = self.store.claim_due()? else { break };
            self.settle(&due)?;
            done += 1;
        }
        Ok(done)
    }

    fn settle(&self, due: &Due) -> Result<(), StoreError> {
        let order = &due.held.order;
        let age = self.clock.now() - order.created_at;
        if age > ALARM_AFTER_MICROS {
            let message =
                format!("order {} is PENDING for {} s, looked at {} times", order.id, age / 1_000_000, due.attempt);
            self.log.log(Level::Error, &message);
        }
        let verdict = match self.payments.settle(order.id) {
            Outcome::Succeeded(payment) => Verdict::Confirmed(payment),
            Outcome::Declined(decline, payment) => Verdict::Declined(decline, payment),
            Outcome::Unavailable(reason) => {
                self.warn(&format!("order {}: not charged: {reason}", order.id));
                Verdict::PaymentUnavailable
            }
            Outcome::Unknown(reason) | Outcome::NotAsked(reason) => {
                self.warn(&format!("order {}: payment still unknown: {reason}", order.id));
                return self.store.postpone(order.id, due.held.epoch, model::postpone_seconds(due.attempt));
            }
        };
        let settlement = model::settle(&due.held, &verdict, DecidedBy::Sweep, &due.held.trace, self.clock.now())
            .map_err(|error| StoreError::Internal(error.to_string()))?;
        if self.store.decide(&settlement)? && settlement.order.state == State::Failed {
            self.give_back(&settlement.order);
        }
        Ok(())
    }
}
