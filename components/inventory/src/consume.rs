//! What orders' events do to stock. Invariant: a confirmed order is taken from the shelf exactly once and put back at most once however often and in
//! whatever order its events come, and its reservation ends even if the process died between the two stores.

use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{
    self, Event, InventoryRejected, OrderCancelled, OrderConfirmed, OrderFailed, PaymentStatus,
};
use swiftcart_domain::outbox::OutboxEvent;

use crate::error::Error;
use crate::model::{self, Confirmed, EndReason, Ended, Line, Shortage};
use crate::ports::{Applied, Cache, Counters, Store, Surroundings};
use crate::service::Inventory;

/// The failure of an order that inventory rejected.
const OUT_OF_STOCK_AFTER_PAYMENT: &str = "out_of_stock_after_payment";

impl<S: Store, C: Counters, K: Cache, O: Surroundings> Inventory<S, C, K, O> {
    /// Handles one message.
    ///
    /// # Errors
    /// [`Failure`] says what becomes of the message.
    pub fn consume(&self, topic: &str, payload: &[u8]) -> Result<(), Failure> {
        match topic {
            OrderConfirmed::TOPIC => self.confirmed(&parse_confirmed(payload)?),
            OrderCancelled::TOPIC => {
                let event: OrderCancelled = event::decode(payload).map_err(rejected)?;
                let (event_id, order_id) = (event.event_id, event.order.order_id);
                self.ended(&Ended { event_id, order_id, reason: EndReason::Cancelled })
            }
            OrderFailed::TOPIC => {
                let event: OrderFailed = event::decode(payload).map_err(rejected)?;
                let (event_id, order_id) = (event.event_id, event.order.order_id);
                if was_confirmed(&event) {
                    return self.ended(&Ended { event_id, order_id, reason: EndReason::Failed });
                }
                // Never confirmed, so never applied: idempotent by order id and in Redis alone, without an inbox row.
                Ok(self.counters.release(&order_id.to_string())?)
            }
            other => Err(Failure::Reject(format!("inventory does not consume the topic {other}"))),
        }
    }

    /// PostgreSQL first, then Redis: redelivered after a crash between the two, the first step finds its inbox row and the second is repeated.
    fn confirmed(&self, order: &Confirmed) -> Result<(), Failure> {
        let order_id = order.order_id.to_string();
        match self.store.apply(order)? {
            Applied::Done => {
                let skus: Vec<String> = order.lines.iter().map(|line| line.sku.clone()).collect();
                Ok(self.counters.apply(&order_id, &skus)?)
            }
            Applied::Barred => Ok(self.counters.release(&order_id)?),
            Applied::PutBack => {
                let skus: Vec<String> = order.lines.iter().map(|line| line.sku.clone()).collect();
                Ok(self.counters.put_back(&order_id, &skus)?)
            }
            Applied::UnknownSku(skus) => {
                Err(Failure::Reject(format!("order {order_id} has skus that do not exist: {}", skus.join(", "))))
            }
            Applied::Short(shortages) => self.reject(order, shortages),
            Applied::Busy => {
                Err(Failure::Retry(format!("another delivery of event {} is being handled", order.event_id)))
            }
        }
    }

    /// An order that may have been confirmed has ended. PostgreSQL first here too: what is put back there is sold only once Redis has forgotten.
    fn ended(&self, order: &Ended) -> Result<(), Failure> {
        let order_id = order.order_id.to_string();
        let skus = self.store.end(order)?;
        let told =
            if skus.is_empty() { self.counters.release(&order_id) } else { self.counters.put_back(&order_id, &skus) };
        Ok(told?)
    }

    /// The saga's turn: inventory cannot honour a confirmed order (Redis was lost, or stock corrected under it).
    fn reject(&self, order: &Confirmed, shortages: Vec<Shortage>) -> Result<(), Failure> {
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
            Err(Failure::Retry(format!("order {} was decided meanwhile", order.order_id)))
        }
    }
}

/// Whether a failed order had been confirmed before: then it had been charged.
fn was_confirmed(event: &OrderFailed) -> bool {
    event.failure.code == OUT_OF_STOCK_AFTER_PAYMENT
        || event.payment.as_ref().is_some_and(|payment| payment.status == PaymentStatus::Succeeded)
}

fn rejected(error: event::DecodeError) -> Failure {
    Failure::Reject(error.to_string())
}

fn parse_confirmed(payload: &[u8]) -> Result<Confirmed, Failure> {
    let event: OrderConfirmed = event::decode(payload).map_err(rejected)?;
    let lines: Vec<Line> =
        event.order.items.into_iter().map(|item| Line { sku: item.sku, quantity: item.qty }).collect();
    if lines.is_empty() {
        return Err(Failure::Reject("the order has no lines".to_owned()));
    }
    if let Some(line) = lines.iter().find(|line| line.quantity == 0) {
        return Err(Failure::Reject(format!("the order has 0 of sku {}", line.sku)));
    }
    if let Some(sku) = model::repeated(&lines) {
        return Err(Failure::Reject(format!("sku {sku} stands in two lines of the order")));
    }
    Ok(Confirmed { event_id: event.event_id, order_id: event.order.order_id, lines })
}
