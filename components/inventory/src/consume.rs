//! What orders' events do to stock. Invariant: a confirmed order is taken from the shelf exactly once however often its event comes, and its
//! reservation ends even if the process died between the two stores.

use swiftcart_domain::event::{self, Event, InventoryRejected, OrderConfirmed, OrderFailed};
use swiftcart_domain::outbox::OutboxEvent;

use crate::error::{ConsumeError, Error};
use crate::model::{self, Confirmed, Line, Shortage};
use crate::ports::{Applied, Cache, Counters, Store, Surroundings};
use crate::service::Inventory;

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// Handles one message.
    ///
    /// # Errors
    /// [`ConsumeError`] says what becomes of the message.
    pub fn consume(&self, topic: &str, payload: &[u8]) -> Result<(), ConsumeError> {
        match topic {
            OrderConfirmed::TOPIC => self.confirmed(&parse_confirmed(payload)?),
            OrderFailed::TOPIC => {
                let event: OrderFailed =
                    event::decode(payload).map_err(|error| ConsumeError::Reject(error.to_string()))?;
                // Idempotent by order id and in Redis alone, so it needs no inbox row. A failed order was never applied: an order fails either
                // before it is confirmed or because inventory rejected it.
                Ok(self.counters.release(&event.order.order_id.to_string())?)
            }
            other => Err(ConsumeError::Reject(format!("inventory does not consume the topic {other}"))),
        }
    }

    /// PostgreSQL first, then Redis: redelivered after a crash between the two, the first step finds its inbox row and the second is repeated.
    fn confirmed(&self, order: &Confirmed) -> Result<(), ConsumeError> {
        let order_id = order.order_id.to_string();
        match self.store.apply(order)? {
            Applied::Done => {
                let skus: Vec<String> = order.lines.iter().map(|line| line.sku.clone()).collect();
                Ok(self.counters.apply(&order_id, &skus)?)
            }
            Applied::RejectedBefore => Ok(self.counters.release(&order_id)?),
            Applied::UnknownSku(skus) => {
                Err(ConsumeError::Reject(format!("order {order_id} has skus that do not exist: {}", skus.join(", "))))
            }
            Applied::Short(shortages) => self.reject(order, shortages),
            Applied::Busy => {
                Err(ConsumeError::Retry(format!("another delivery of event {} is being handled", order.event_id)))
            }
        }
    }

    /// The saga's turn: inventory cannot honour a confirmed order (Redis was lost, or stock corrected under it).
    fn reject(&self, order: &Confirmed, shortages: Vec<Shortage>) -> Result<(), ConsumeError> {
        let lines = shortages
            .into_iter()
            .map(|shortage| event::Shortage {
                sku: shortage.sku,
                requested: shortage.requested,
                available: shortage.available,
            })
            .collect();
        let rejected = InventoryRejected::new(self.surroundings.now_micros(), order.order_id, lines);
        let (traceparent, tracestate) = self.surroundings.trace();
        let event = OutboxEvent::new(&rejected, &traceparent, tracestate.as_deref())
            .map_err(|error| Error::Internal(error.to_string()))?;
        if self.store.reject(order, &event)? {
            Ok(self.counters.release(&order.order_id.to_string())?)
        } else {
            Err(ConsumeError::Retry(format!("event {} was handled meanwhile", order.event_id)))
        }
    }
}

fn parse_confirmed(payload: &[u8]) -> Result<Confirmed, ConsumeError> {
    let event: OrderConfirmed = event::decode(payload).map_err(|error| ConsumeError::Reject(error.to_string()))?;
    let lines: Vec<Line> =
        event.order.items.into_iter().map(|item| Line { sku: item.sku, quantity: item.qty }).collect();
    if lines.is_empty() {
        return Err(ConsumeError::Reject("the order has no lines".to_owned()));
    }
    if let Some(line) = lines.iter().find(|line| line.quantity == 0) {
        return Err(ConsumeError::Reject(format!("the order has 0 of sku {}", line.sku)));
    }
    if let Some(sku) = model::repeated(&lines) {
        return Err(ConsumeError::Reject(format!("sku {sku} stands in two lines of the order")));
    }
    Ok(Confirmed { event_id: event.event_id, order_id: event.order.order_id, lines })
}
