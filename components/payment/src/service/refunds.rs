//! Giving back. Invariant: the row of a refund is committed before the PSP is asked, together with the inbox row of the event that wants it; from
//! then on it is owed, and whoever comes by (the event's own call, the sweep, a webhook) takes it a step further until the PSP has decided.

use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{self, Event, OrderCancelled, OrderFailed};
use uuid::Uuid;

use super::Payments;
use crate::error::Error;
use crate::model::{Outcome, Record};
use crate::ports::{Http, Store, Surroundings};
use crate::psp::refunds::RefundVerdict;
use crate::refund::{self, PspRefund, PspRefundStatus, Refund, RefundEnd, RefundNote, RefundState, Sum};

/// An undecided refund is told as an error each time that it was taken up so often again: first after about four minutes, then every forty.
const ALARM_EVERY: i32 = 8;

/// Whether an order's charge went through.
enum Charged {
    Yes(String),
    No(String),
    Unknown(String),
}

/// Where a try ended that decided nothing, or the end.
enum Step {
    End(RefundEnd),
    Later(RefundNote),
}

impl<S: Store, H: Http, O: Surroundings> Payments<S, H, O> {
    /// Handles one message: an order that failed or was cancelled gets its money back, if it was charged.
    ///
    /// # Errors
    /// [`Failure`] says what becomes of the message.
    pub fn consume(&self, topic: &str, payload: &[u8]) -> Result<(), Failure> {
        let (event_id, order_id) = match topic {
            OrderFailed::TOPIC => of_order(event::decode::<OrderFailed>(payload))?,
            OrderCancelled::TOPIC => of_order(event::decode::<OrderCancelled>(payload))?,
            other => return Err(Failure::Reject(format!("payment does not consume the topic {other}"))),
        };
        self.store.want_refund(order_id, event_id)?;
        // Tried at once; what stays undecided is the sweep's, so neither a slow PSP nor one refund of many holds up the partition.
        if let Some(refund) = self.store.take_refund(order_id)? {
            self.pursue(&refund)?;
        }
        Ok(())
    }

    /// One refund that is due; how many were taken up.
    pub(super) fn sweep_refunds(&self) -> Result<u32, Error> {
        match self.store.take_due_refund()? {
            Some(refund) => self.pursue(&refund).map(|()| 1),
            None => Ok(0),
        }
    }

    /// Takes a pending refund as far as it goes now.
    pub(super) fn pursue(&self, refund: &Refund) -> Result<(), Error> {
        let order_id = refund.order_id;
        let record = self
            .store
            .find(order_id)?
            .ok_or_else(|| Error::Internal(format!("the refund of order {order_id} is of no payment")))?;
        let charged = match &refund.payment_id {
            Some(payment_id) => Charged::Yes(payment_id.clone()),
            None => self.charged(&record)?,
        };
        match charged {
            Charged::Yes(payment_id) => match self.ask(refund, &record, &payment_id) {
                Step::End(end) => self.end(&record, &payment_id, &end, refund.state),
                Step::Later(note) => self.postpone(refund, &note),
            },
            Charged::No(reason) => self.store.end_refund(order_id, &RefundEnd::Void { reason }, None).map(drop),
            Charged::Unknown(reason) => {
                let reason = format!("it is not known whether it was charged: {reason}");
                self.postpone(refund, &RefundNote { reason, refund_id: None, key_number: refund.key_number })
            }
        }
    }

    /// An order that came to nothing while its charge was open: found out first, for it may have gone through.
    fn charged(&self, record: &Record) -> Result<Charged, Error> {
        let outcome = match record.outcome() {
            Some(outcome) => outcome,
            None => self.resolve(&self.store.begin_settle(record.order_id)?),
        };
        Ok(match outcome {
            Outcome::Succeeded(payment_id) => Charged::Yes(payment_id),
            Outcome::Declined { code, .. } => Charged::No(format!("declined: {code}")),
            Outcome::NotCharged(reason) | Outcome::Unavailable(reason) => Charged::No(reason),
            Outcome::Unknown(reason) => Charged::Unknown(reason),
        })
    }

    /// Asks the PSP, or reads back what it made of an earlier request.
    fn ask(&self, refund: &Refund, record: &Record, payment_id: &str) -> Step {
        let deadline = self.surroundings.monotonic_ms().saturating_add(self.patience.budget_ms);
        let timeout_ms = self.time_left(deadline);
        let verdict = match &refund.refund_id {
            Some(refund_id) => self.psp.read_refund(refund_id, timeout_ms),
            None => self.psp.refund(refund.order_id, payment_id, refund.key_number, timeout_ms),
        };
        let later = |reason: String, key_number| {
            Step::Later(RefundNote { reason, refund_id: refund.refund_id.clone(), key_number })
        };
        match verdict {
            RefundVerdict::Found(found) => of_one(found, refund.key_number),
            RefundVerdict::AlreadyRefunded => match self.psp.refunds_of(payment_id, self.time_left(deadline)) {
                Ok(found) => match refund::sum(&found) {
                    Sum::GivenBack(refund_id, amount) => Step::End(RefundEnd::Succeeded { refund_id, amount }),
                    Sum::Pending(id) => pending(id, refund.key_number),
                    Sum::Failed(..) | Sum::Nothing => {
                        later("given back already, says the PSP, and lists no refund".to_owned(), refund.key_number)
                    }
                },
                Err(reason) => later(reason, refund.key_number),
            },
            RefundVerdict::Broken(reason) => match self.psp.refunds_of(payment_id, self.time_left(deadline)) {
                Ok(found) => match refund::sum(&found) {
                    Sum::GivenBack(refund_id, amount) if amount >= record.owed() => {
                        Step::End(RefundEnd::Succeeded { refund_id, amount })
                    }
                    Sum::Pending(id) => pending(id, refund.key_number),
                    // None, or part of the charge that somebody gave back by hand: the rest is asked for under the next key.
                    _ => later(reason, refund.key_number.saturating_add(1)),
                },
                Err(unread) => later(format!("{reason}; {unread}"), refund.key_number),
            },
            RefundVerdict::Refused(reason) => {
                Step::End(RefundEnd::Failed { refund_id: refund.refund_id.clone(), reason })
            }
            RefundVerdict::Unknown { reason, ours } => {
                if ours {
                    self.surroundings.log_error(&format!("refunding order {}: {reason}", refund.order_id));
                }
                later(reason, refund.key_number)
            }
        }
    }

    /// Writes the end, with the event that tells it. `before` is where the refund stood.
    pub(super) fn end(
        &self,
        record: &Record,
        payment_id: &str,
        end: &RefundEnd,
        before: RefundState,
    ) -> Result<(), Error> {
        let order_id = record.order_id;
        let told = match &record.charge {
            Some(charge) => {
                let (now, trace) = (self.surroundings.now_micros(), self.surroundings.trace());
                refund::event(charge, payment_id, end, before == RefundState::Failed, now, &trace)?
            }
            // A tombstone: nobody here ever asked for that charge, so there is no order to tell.
            None => None,
        };
        let written = self.store.end_refund(order_id, end, told.as_ref())?;
        if let (true, RefundEnd::Failed { reason, .. }) = (written, end) {
            let text =
                format!("order {order_id} is owed a refund of {payment_id} that the PSP will not make: {reason}");
            self.surroundings.log_error(&text);
        }
        Ok(())
    }

    fn postpone(&self, refund: &Refund, note: &RefundNote) -> Result<(), Error> {
        if refund.attempts > 0 && refund.attempts % ALARM_EVERY == 0 {
            let (order_id, attempts) = (refund.order_id, refund.attempts);
            let text =
                format!("the refund of order {order_id} is undecided after {attempts} attempts: {}", note.reason);
            self.surroundings.log_error(&text);
        }
        self.store.note_refund(refund.order_id, note)
    }
}

fn of_order<E: Event>(decoded: Result<E, event::DecodeError>) -> Result<(Uuid, Uuid), Failure> {
    let event = decoded.map_err(|error| Failure::Reject(error.to_string()))?;
    Ok((event.event_id(), event.order_id()))
}

fn of_one(found: PspRefund, key_number: i32) -> Step {
    match found.status {
        PspRefundStatus::Succeeded => Step::End(RefundEnd::Succeeded { refund_id: found.id, amount: found.amount }),
        PspRefundStatus::Pending => pending(found.id, key_number),
        PspRefundStatus::Failed => {
            let reason = found.failure_reason.unwrap_or_else(|| "no reason given".to_owned());
            Step::End(RefundEnd::Failed { refund_id: Some(found.id), reason })
        }
    }
}

fn pending(refund_id: String, key_number: i32) -> Step {
    let reason = "the PSP has the refund on its way".to_owned();
    Step::Later(RefundNote { reason, refund_id: Some(refund_id), key_number })
}
