//! What inventory and payment say about confirmed orders. Invariant: what an event does is written together with its inbox row, and an event
//! that comes again finds the order changed and does nothing.

use swiftcart_domain::event::{self, Event, InventoryRejected, PaymentRefunded};
use uuid::Uuid;

use super::Orders;
use crate::error::ConsumeError;
use crate::model::{self, Cause, Held, RefundState, Refunded, State};

/// How often an event's effect is tried when the order has changed since it was read.
const WRITE_TRIES: u32 = 3;

impl Orders<'_> {
    /// Handles one message.
    ///
    /// # Errors
    /// [`ConsumeError`] says what becomes of the message.
    pub fn consume(&self, topic: &str, payload: &[u8]) -> Result<(), ConsumeError> {
        match topic {
            InventoryRejected::TOPIC => self.rejected(&decode(payload)?),
            PaymentRefunded::TOPIC => self.refunded(&decode(payload)?),
            other => Err(ConsumeError::Reject(format!("order does not consume the topic {other}"))),
        }
    }

    /// The saga's turn: inventory cannot honour a confirmed order, so it fails and its event makes payment give the money back.
    fn rejected(&self, event: &InventoryRejected) -> Result<(), ConsumeError> {
        for _ in 1..=WRITE_TRIES {
            let held = self.known(event.order_id)?;
            match held.order.state {
                State::Confirmed => {}
                State::Cancelled | State::Failed => return Ok(self.store.note_event(event.event_id)?),
                // Inventory hears of an order only once it is confirmed; whatever this is, the order will be decided.
                State::Pending => return Err(ConsumeError::Retry(format!("order {} is PENDING", event.order_id))),
            }
            let reversal = model::reverse(&held, Cause::OutOfStock, &self.tracer.current(), self.clock.now())
                .map_err(|error| ConsumeError::Retry(format!("internal: {error}")))?;
            if self.store.reverse(&reversal, Some(event.event_id))? {
                self.warn(&format!("order {}: failed after payment, inventory cannot honour it", event.order_id));
                return Ok(());
            }
        }
        Err(changing(event.order_id))
    }

    fn refunded(&self, event: &PaymentRefunded) -> Result<(), ConsumeError> {
        if event.refund.amount == 0 {
            return Err(ConsumeError::Reject("the refund is of nothing".to_owned()));
        }
        let refunded = Refunded {
            order_id: event.order_id,
            refund_id: event.refund.refund_id.clone(),
            amount: event.refund.amount,
        };
        for _ in 1..=WRITE_TRIES {
            let order = self.known(event.order_id)?.order;
            if order.currency != event.payment.currency {
                return Err(ConsumeError::Reject(format!("order {} is in another currency", event.order_id)));
            }
            match order.state {
                // Told before, or by another event: shown once.
                _ if order.refund.as_ref().is_some_and(|refund| refund.state == RefundState::Succeeded) => {
                    return Ok(self.store.note_event(event.event_id)?);
                }
                State::Cancelled | State::Failed => {}
                // Nothing of ours asked for it. If the order does not change soon, somebody has to look.
                State::Pending | State::Confirmed => {
                    return Err(ConsumeError::Retry(format!(
                        "order {} is {} and was refunded",
                        event.order_id,
                        order.state.as_str()
                    )));
                }
            }
            if self.store.refund(&refunded, order.version, event.event_id)? {
                return Ok(());
            }
        }
        Err(changing(event.order_id))
    }

    /// An order that does not exist never will: it was committed before anybody could hear of it.
    fn known(&self, order_id: Uuid) -> Result<Held, ConsumeError> {
        self.store.read(order_id)?.ok_or_else(|| ConsumeError::Reject(format!("there is no order {order_id}")))
    }
}

fn changing(order_id: Uuid) -> ConsumeError {
    ConsumeError::Retry(format!("order {order_id} keeps changing"))
}

fn decode<E: Event>(payload: &[u8]) -> Result<E, ConsumeError> {
    event::decode(payload).map_err(|error| ConsumeError::Reject(error.to_string()))
}
