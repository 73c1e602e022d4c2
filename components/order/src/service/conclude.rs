//! Deciding an order from within its request. Invariant: what the buyer is told is what is written, or that nothing is known yet.

use swiftcart_domain::outbox::DecidedBy;

use super::Orders;
use crate::error::{CreateError, StoreError};
use crate::model::{self, Creation, Decision, Held, Order, Settlement, State, Verdict};

/// How often a decision is written: once more when its commit is uncertain or the database was away.
const DECIDE_TRIES: u32 = 2;

impl Orders<'_> {
    /// Writes the verdict and tells it.
    pub(super) fn conclude(&self, held: &Held, verdict: &Verdict) -> Result<Creation, CreateError> {
        let trace = self.tracer.current();
        let settlement = model::settle(held, verdict, DecidedBy::Request, &trace, self.clock.now())
            .map_err(|error| CreateError::Internal(error.to_string()))?;
        for attempt in 1..=DECIDE_TRIES {
            match self.store.decide(&settlement) {
                Ok(true) => return self.told(settlement, trace.id()),
                Ok(false) => return self.overtaken(held, settlement, trace.id()),
                Err(StoreError::Internal(text)) => return Err(CreateError::Internal(text)),
                Err(error) if attempt == DECIDE_TRIES => return self.undecided(held, verdict, &error),
                Err(_) => {}
            }
        }
        Err(CreateError::Unavailable(Some(held.order.id)))
    }

    fn told(&self, settlement: Settlement, trace_id: String) -> Result<Creation, CreateError> {
        let order_id = settlement.order.id;
        if settlement.order.state == State::Failed {
            self.give_back(&settlement.order);
        }
        match settlement.decision {
            Some(decision) => Ok(Creation { decision, replayed: false, trace_id }),
            None => Err(CreateError::PaymentUnavailable(Some(order_id))),
        }
    }

    /// Nothing was written, for another run holds the lease or the order is decided. If it is decided under our own epoch, then by an
    /// earlier try of ours whose commit was uncertain: the epoch does not change when an order is decided.
    fn overtaken(&self, held: &Held, settlement: Settlement, trace_id: String) -> Result<Creation, CreateError> {
        let order_id = held.order.id;
        let now = match self.store.read(order_id) {
            Ok(Some(now)) => now,
            Ok(None) => return Err(CreateError::Internal(format!("order {order_id} is gone"))),
            Err(error) => return Err(self.unavailable(Some(order_id), &error)),
        };
        if now.order.state == State::Pending {
            return Ok(self.told_pending(now.order));
        }
        if now.epoch == held.epoch {
            return self.told(settlement, trace_id);
        }
        let stored = match &held.key {
            Some(key) => self
                .store
                .find_key(held.order.user_id, key, &[])
                .map_err(|error| self.unavailable(Some(order_id), &error))?,
            None => None,
        };
        match stored.filter(|record| record.held.order.id == order_id).and_then(|record| record.answer) {
            Some((decision, trace_id)) => Ok(Creation { decision, replayed: false, trace_id }),
            // It freed the key: the same key may try again.
            None if now.order.is_payment_unavailable() => Err(CreateError::PaymentUnavailable(Some(order_id))),
            None if now.order.state == State::Failed => {
                Ok(Creation { decision: Decision::Failed { order: now.order }, replayed: false, trace_id })
            }
            None => Ok(Creation { decision: Decision::Confirmed { order: now.order }, replayed: false, trace_id }),
        }
    }

    /// The database is away. After a charge the order settles by itself; before one, the same key goes on.
    fn undecided(&self, held: &Held, verdict: &Verdict, error: &StoreError) -> Result<Creation, CreateError> {
        if verdict.after_charge() {
            self.warn(&format!("order {}: decision not written: {error}", held.order.id));
            Ok(self.leave_pending(held))
        } else {
            if let Err(error) = self.store.yield_lease(held.order.id, held.epoch) {
                self.warn(&format!("order {}: lease not given back: {error}", held.order.id));
            }
            Err(self.unavailable(Some(held.order.id), error))
        }
    }

    /// Gives a failed order's reservation back. Should that be lost, the consumer of its event does it again.
    pub(super) fn give_back(&self, order: &Order) {
        if let Err(error) = self.stock.release(order.id) {
            self.warn(&format!("order {}: reservation not given back yet: {error}", order.id));
        }
    }
}
