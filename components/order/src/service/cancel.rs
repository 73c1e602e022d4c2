//! Cancelling an order. Invariant: idempotent by nature. Only the order's own row says whether it is cancelled, so an uncertain commit is
//! resolved by reading it again.

use swiftcart_domain::ids;

use super::Orders;
use crate::error::{CancelError, StoreError};
use crate::model::{self, Caller, Cause, Order, SWEEP_GRACE_SECONDS, State};

/// How often a cancellation is tried: again when the order has changed since it was read, or when its commit is uncertain.
const CANCEL_TRIES: u32 = 3;

impl Orders<'_> {
    /// Takes a confirmed order of the caller's back. A cancelled order is given as it is now.
    ///
    /// # Errors
    /// See [`CancelError`]; `NotFound` also for an id that is none.
    pub fn cancel(&self, caller: &Caller, order_id: &str) -> Result<Order, CancelError> {
        let order_id = ids::parse_order_id(order_id).ok_or(CancelError::NotFound)?;
        let mut uncertain = None;
        for _ in 1..=CANCEL_TRIES {
            let held = match self.store.read(order_id) {
                Ok(held) => held.filter(|held| held.order.user_id == caller.user_id).ok_or(CancelError::NotFound)?,
                Err(error) => return Err(not_cancelled(error, uncertain)),
            };
            match held.order.state {
                State::Confirmed => {}
                State::Cancelled => return Ok(held.order),
                State::Failed => return Err(CancelError::OrderFailed(Box::new(held.order))),
                // The sweep looks at it after its grace at the earliest.
                State::Pending => return Err(CancelError::NotSettled(SWEEP_GRACE_SECONDS)),
            }
            let reversal = model::reverse(&held, Cause::Cancelled, &self.tracer.current(), self.clock.now())
                .map_err(|error| CancelError::Internal(error.to_string()))?;
            match self.store.reverse(&reversal, None) {
                Ok(true) => return Ok(reversal.order),
                Ok(false) => {}
                Err(StoreError::Uncertain(text)) => {
                    self.warn(&format!("cancel, order {order_id}: {text}"));
                    uncertain = Some(text);
                }
                Err(error) => return Err(not_cancelled(error, uncertain)),
            }
        }
        match uncertain {
            Some(text) => Err(CancelError::Uncertain(text)),
            None => Err(CancelError::Unavailable(format!("order {order_id} keeps changing"))),
        }
    }
}

/// `uncertain`: an earlier try may have been written.
fn not_cancelled(error: StoreError, uncertain: Option<String>) -> CancelError {
    match (error, uncertain) {
        (StoreError::Internal(text), _) => CancelError::Internal(text),
        (_, Some(text)) => CancelError::Uncertain(text),
        // What is uncertain here is a read: it wrote nothing.
        (StoreError::Unavailable(text) | StoreError::Uncertain(text), None) => CancelError::Unavailable(text),
    }
}
