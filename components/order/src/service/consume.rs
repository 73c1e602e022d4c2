//! What inventory and payment say about confirmed orders. Invariant: what an event does is written together with its inbox row, and an event
//! that comes again finds the order changed and does nothing.

use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{self, Event, InventoryRejected, PaymentRefundFailed, PaymentRefunded};
use uuid::Uuid;

use super::Orders;
use crate::model::{self, Cause, Held, RefundFailed, RefundState, Refunded, State};

/// How often an event's effect is tried when the order has changed since it was read.
const WRITE_TRIES: u32 = 3;

impl Orders<'_> {
    /// Handles one message.
    ///
    /// # Errors
    /// [`Failure`] says what becomes of the message.
    pub fn consume(&self, topic: &str, payload: &[u8]) -> Result<(), Failure> {
        match topic {
            InventoryRejected::TOPIC => self.rejected(&decode(payload)?),
            PaymentRefunded::TOPIC => self.refunded(&decode(payload)?),
            PaymentRefundFailed::TOPIC => self.refund_failed(&decode(payload)?),
            other => Err(Failure::Reject(format!("order does not consume the topic {other}"))),
        }
    }

    /// The saga's turn: inventory cannot honour a confirmed order, so it fails and its event makes payment give the money back.
    fn rejected(&self, event: &InventoryRejected) -> Result<(), Failure> {
        for _ in 1..=WRITE_TRIES {
            let held = self.known(event.order_id)?;
            match held.order.state {
                State::Confirmed => {}
                State::Cancelled | State::Failed => return Ok(self.store.note_event(event.event_id)?),
                // Inventory hears of an order only once it is confirmed; whatever this is, the order will be decided.
                State::Pending => return Err(Failure::Retry(format!("order {} is PENDING", event.order_id))),
            }
            let reversal = model::reverse(&held, Cause::OutOfStock, &self.tracer.current(), self.clock.now())
                .map_err(|error| Failure::internal(&error.to_string()))?;
            if self.store.reverse(&reversal, Some(event.event_id))? {
                self.warn(&format!("order {}: failed after payment, inventory cannot honour it", event.order_id));
                return Ok(());
            }
        }
        Err(changing(event.order_id))
    }

    fn refunded(&self, event: &PaymentRefunded) -> Result<(), Failure> {
        if event.refund.amount == 0 {
            return Err(Failure::Reject("the refund is of nothing".to_owned()));
        }
        let refunded = Refunded {
            order_id: event.order_id,
            refund_id: event.refund.refund_id.clone(),
            amount: event.refund.amount,
        };
        for _ in 1..=WRITE_TRIES {
            let held = self.known(event.order_id)?;
            let told = told_before(&held);
            match told {
                // Told before, or by another event: shown once.
                Some((RefundState::Succeeded, _)) => return Ok(self.store.note_event(event.event_id)?),
                // It came back since, and that was heard first: topics have no order between them.
                Some((RefundState::Failed, Some(refund_id))) if refund_id == refunded.refund_id => {
                    return Ok(self.store.note_event(event.event_id)?);
                }
                _ => owed(&held, &event.payment)?,
            }
            if self.store.refund(&refunded, held.order.version, event.event_id)? {
                return Ok(());
            }
        }
        Err(changing(event.order_id))
    }

    /// The PSP will not give the money back, or what it gave has come back: the buyer sees that, and a person has to act.
    fn refund_failed(&self, event: &PaymentRefundFailed) -> Result<(), Failure> {
        if event.refund.amount == 0 {
            return Err(Failure::Reject("the refund is of nothing".to_owned()));
        }
        let failed = RefundFailed {
            order_id: event.order_id,
            refund_id: event.refund.refund_id.clone(),
            amount: event.refund.amount,
        };
        for _ in 1..=WRITE_TRIES {
            let held = self.known(event.order_id)?;
            match told_before(&held) {
                Some((RefundState::Failed, _)) => return Ok(self.store.note_event(event.event_id)?),
                // The money went back by another refund, after this one.
                Some((RefundState::Succeeded, refund_id)) if refund_id != failed.refund_id.as_deref() => {
                    return Ok(self.store.note_event(event.event_id)?);
                }
                _ => owed(&held, &event.payment)?,
            }
            if self.store.fail_refund(&failed, held.order.version, event.event_id)? {
                self.warn(&format!("order {}: its refund failed: {}", event.order_id, event.refund.reason));
                return Ok(());
            }
        }
        Err(changing(event.order_id))
    }

    /// An order that does not exist never will: it was committed before anybody could hear of it.
    fn known(&self, order_id: Uuid) -> Result<Held, Failure> {
        self.store.read(order_id)?.ok_or_else(|| Failure::Reject(format!("there is no order {order_id}")))
    }
}

/// What was last told about the refund, and of which one.
fn told_before(held: &Held) -> Option<(RefundState, Option<&str>)> {
    held.order.refund.as_ref().map(|refund| (refund.state, held.refund_id.as_deref()))
}

/// Whether an order can have a refund of this payment.
fn owed(held: &Held, payment: &event::Payment) -> Result<(), Failure> {
    let order = &held.order;
    if order.currency != payment.currency {
        return Err(Failure::Reject(format!("order {} is in another currency", order.id)));
    }
    match order.state {
        State::Cancelled | State::Failed => Ok(()),
        // Nothing of ours asked for it. If the order does not change soon, somebody has to look.
        State::Pending | State::Confirmed => {
            Err(Failure::Retry(format!("order {} is {} and has a refund", order.id, order.state.as_str())))
        }
    }
}

fn changing(order_id: Uuid) -> Failure {
    Failure::Retry(format!("order {order_id} keeps changing"))
}

fn decode<E: Event>(payload: &[u8]) -> Result<E, Failure> {
    event::decode(payload).map_err(|error| Failure::Reject(error.to_string()))
}
