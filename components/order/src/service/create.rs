//! Creating an order: prices, intent, reservation, charge, outcome. Invariant: a run works only on an order whose lease it holds, so the
//! same request is never run twice at a time, and every step may be repeated by a later run.

use swiftcart_domain::{ids, money};
use uuid::Uuid;

use super::Orders;
use crate::error::{CreateError, StockError, StoreError};
use crate::model::{Caller, Creation, Decision, Held, Order, Request, State, Verdict};
use crate::ports::{KeyRecord, Level, Outcome, Placed, Placement, Quote, QuoteError, ReserveError};

/// How often a placement is tried: again when its commit is uncertain, or when the key that was in its way has gone.
const PLACE_TRIES: u32 = 3;

impl Orders<'_> {
    /// Creates an order, or tells what became of the one that this key created.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub fn create(&self, caller: &Caller, key: Option<&str>, request: &Request) -> Result<Creation, CreateError> {
        let fingerprint = request.fingerprint();
        // What is not charged comes to nothing: refused before anything is priced, written or reserved, it costs next to nothing while payment is ill.
        let quote = if self.payments.refuses() {
            Err(CreateError::PaymentUnavailable(None))
        } else {
            self.stock.quote(&request.lines, &request.currency).map_err(|error| self.refuse(error))
        };
        let quote = match quote {
            Ok(quote) => quote,
            // What cannot be made now may still repeat a request that could be: the key goes first.
            Err(error) => {
                let known = key.map(|key| self.find(caller.user_id, key, &fingerprint)).transpose()?.flatten();
                return known.map_or(Err(error), |record| self.repeat(record, &fingerprint));
            }
        };
        let placement = self.placement(caller, key, request, quote, fingerprint)?;
        self.place(&placement)
    }

    fn find(&self, user_id: Uuid, key: &str, fingerprint: &[u8]) -> Result<Option<KeyRecord>, CreateError> {
        self.store.find_key(user_id, key, fingerprint).map_err(|error| self.unavailable(None, &error))
    }

    fn refuse(&self, error: QuoteError) -> CreateError {
        match error {
            QuoteError::UnknownSku(skus) => CreateError::UnknownSku(skus),
            QuoteError::CurrencyMismatch(skus) => CreateError::CurrencyMismatch(skus),
            QuoteError::AmountOutOfRange => CreateError::AmountOutOfRange,
            QuoteError::Failed(error) => self.stock_failed(None, &error),
        }
    }

    fn placement(
        &self,
        caller: &Caller,
        key: Option<&str>,
        request: &Request,
        quote: Quote,
        fingerprint: Vec<u8>,
    ) -> Result<Placement, CreateError> {
        let sum = money::total(quote.lines.iter().map(|line| (line.quantity, line.unit_price)));
        let asked = request.lines.iter().map(|(sku, quantity)| (sku.as_str(), *quantity));
        if sum != Ok(quote.total) || !asked.eq(quote.lines.iter().map(|line| (line.sku.as_str(), line.quantity))) {
            return Err(CreateError::Internal("the quote does not fit the request".to_owned()));
        }
        let seal = |email: &String| self.sealer.seal(email).map_err(|error| CreateError::Internal(error.to_string()));
        let sealed_email = caller.email.as_ref().map(seal).transpose()?;
        let created_at = self.clock.now();
        let mut random = [0; 10];
        self.random.fill(&mut random);
        let order = Order {
            id: ids::order_id(created_at, &random),
            user_id: caller.user_id,
            state: State::Pending,
            lines: quote.lines,
            total_amount: quote.total,
            currency: quote.currency,
            created_at,
            version: 1,
            failure: None,
            refund: None,
        };
        let held = Held {
            order,
            payment_method: request.payment_method.clone(),
            key: key.map(str::to_owned),
            sealed_email,
            trace: self.tracer.current(),
            epoch: 1,
            answered_pending: false,
            payment: None,
            refund_id: None,
        };
        Ok(Placement { held, fingerprint })
    }

    fn place(&self, placement: &Placement) -> Result<Creation, CreateError> {
        let order = &placement.held.order;
        for attempt in 1..=PLACE_TRIES {
            match (self.store.place(placement), &placement.held.key) {
                (Ok(Placed::Ours), _) => return self.run(placement.held.clone()),
                (Ok(Placed::KeyTaken), Some(key)) => match self.find(order.user_id, key, &placement.fingerprint)? {
                    // An earlier try of ours was written after all, and nobody has taken it over.
                    Some(record)
                        if record.held.order.id == order.id && record.held.epoch == 1 && record.answer.is_none() =>
                    {
                        return self.run(placement.held.clone());
                    }
                    Some(record) => return self.repeat(record, &placement.fingerprint),
                    // Its order failed meanwhile and freed the key.
                    None => {}
                },
                (Ok(Placed::KeyTaken), None) => {
                    return Err(CreateError::Internal("a key is taken that nobody sent".to_owned()));
                }
                (Err(StoreError::Uncertain(_)), _) if attempt < PLACE_TRIES => {}
                (Err(error), _) => return Err(self.unavailable(None, &error)),
            }
        }
        Err(CreateError::Unavailable(None))
    }

    /// A key that is known: tell its answer, or say that it is worked on, or go on where an earlier run ended.
    fn repeat(&self, record: KeyRecord, fingerprint: &[u8]) -> Result<Creation, CreateError> {
        if record.fingerprint != fingerprint {
            return Err(CreateError::KeyReused);
        }
        if let Some((decision, trace_id)) = record.answer {
            return Ok(Creation { decision, replayed: !record.first_told, trace_id });
        }
        let Held { order, epoch, .. } = &record.held;
        if order.state != State::Pending {
            return Err(CreateError::Internal(format!("order {} is decided but its key has no answer", order.id)));
        }
        if record.held.answered_pending {
            return Ok(self.told_pending(order.clone()));
        }
        if record.busy_seconds > 0 {
            return Err(CreateError::KeyInFlight(record.busy_seconds));
        }
        match self.store.take_lease(order.id, *epoch) {
            Ok(Some(epoch)) => self.run(Held { epoch, ..record.held }),
            Ok(None) => Err(CreateError::KeyInFlight(1)),
            Err(error) => Err(self.unavailable(Some(order.id), &error)),
        }
    }

    /// Goes through the steps that follow the intent.
    fn run(&self, held: Held) -> Result<Creation, CreateError> {
        let order_id = held.order.id;
        match self.stock.reserve(order_id, &held.order.lines) {
            Ok(()) => {
                let outcome = match self.payments.charge(&held.order, &held.payment_method) {
                    // Nobody else has ever charged this order, so nothing done is nothing charged.
                    Outcome::NotAsked(reason) if !held.is_resumed() => Outcome::Unavailable(reason),
                    outcome => outcome,
                };
                self.finish(&held, outcome, Verdict::PaymentUnavailable)
            }
            Err(ReserveError::OutOfStock(shortages)) if !held.is_resumed() => {
                self.conclude(&held, &Verdict::OutOfStock(shortages))
            }
            // An earlier run may have charged before the reservation was lost. Only payment knows.
            Err(ReserveError::OutOfStock(shortages)) => {
                self.finish(&held, self.payments.settle(order_id), Verdict::OutOfStock(shortages))
            }
            Err(ReserveError::Closed) => {
                self.finish(&held, self.payments.settle(order_id), Verdict::PaymentUnavailable)
            }
            Err(ReserveError::Failed(error)) => {
                if let Err(error) = self.store.yield_lease(order_id, held.epoch) {
                    self.warn(&format!("order {order_id}: lease not given back: {error}"));
                }
                Err(self.stock_failed(Some(order_id), &error))
            }
        }
    }

    /// `uncharged` is the verdict if there surely is no charge.
    fn finish(&self, held: &Held, outcome: Outcome, uncharged: Verdict) -> Result<Creation, CreateError> {
        match outcome {
            Outcome::Succeeded(payment) => self.conclude(held, &Verdict::Confirmed(payment)),
            Outcome::Declined(decline, payment) => self.conclude(held, &Verdict::Declined(decline, payment)),
            Outcome::Unavailable(reason) => {
                self.warn(&format!("order {}: not charged: {reason}", held.order.id));
                self.conclude(held, &uncharged)
            }
            Outcome::Unknown(reason) | Outcome::NotAsked(reason) => {
                self.warn(&format!("order {}: payment unknown: {reason}", held.order.id));
                Ok(self.leave_pending(held))
            }
        }
    }

    /// 202, and from now on the order is the sweep's.
    pub(super) fn leave_pending(&self, held: &Held) -> Creation {
        if let Err(error) = self.store.note_pending(held.order.id, held.epoch) {
            self.warn(&format!("order {}: 202 not noted: {error}", held.order.id));
        }
        self.told_pending(held.order.clone())
    }

    pub(super) fn told_pending(&self, order: Order) -> Creation {
        Creation { decision: Decision::Pending { order }, replayed: false, trace_id: self.tracer.current().id() }
    }

    pub(super) fn unavailable(&self, order_id: Option<Uuid>, error: &StoreError) -> CreateError {
        match error {
            StoreError::Internal(text) => CreateError::Internal(text.clone()),
            StoreError::Unavailable(_) | StoreError::Uncertain(_) => {
                self.warn(&format!("create, order {order_id:?}: {error}"));
                CreateError::Unavailable(order_id)
            }
        }
    }

    fn stock_failed(&self, order_id: Option<Uuid>, error: &StockError) -> CreateError {
        self.log.log(Level::Warn, &format!("create, order {order_id:?}: {error}"));
        match error {
            StockError::Unavailable(_) => CreateError::Unavailable(order_id),
            StockError::Internal(text) => CreateError::Internal(text.clone()),
        }
    }
}
