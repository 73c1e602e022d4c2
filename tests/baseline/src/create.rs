//! Creating an order: prices, intent, reservation, charge, outcome. Invariant: a run works only on an order whose lease it holds, so the same request is
//! never run twice at a time, and every step may be repeated by a later run.

use rand::RngCore as _;
use swiftcart_domain::ids;
use swiftcart_domain::seal;
use uuid::Uuid;

use crate::app::{App, now_micros};
use crate::catalog::QuoteError;
use crate::model::{
    Caller, Creation, Decision, Decline, Held, KeyRecord, Order, Placement, Request, Settlement, State, Trace, Verdict,
    settle,
};
use crate::payments::{Outcome, message};
use crate::stock::Reserved;
use crate::store::{Placed, StoreError};

/// How often a placement is tried: again when its commit is uncertain, or when the key that was in its way has gone.
const PLACE_TRIES: u32 = 3;
/// How often a decision is written: once more when its commit is uncertain or the database was away.
const DECIDE_TRIES: u32 = 2;

/// Why an order was not created.
#[derive(Debug)]
pub(crate) enum CreateError {
    UnknownSku(Vec<String>),
    CurrencyMismatch(Vec<String>),
    AmountOutOfRange,
    /// The key was used with another request.
    KeyReused,
    /// The first request with this key still runs; ask again after this many seconds.
    KeyInFlight(i64),
    /// Surely not charged; this order has failed, the same key may try again.
    PaymentUnavailable(Uuid),
    /// Something cannot be reached; the order's id if it was written.
    Unavailable(Option<Uuid>),
    /// Our own bug.
    Internal(String),
}

impl App {
    /// Creates an order, or tells what became of the one that this key created.
    pub(crate) async fn create(
        &self,
        caller: Caller,
        key: Option<String>,
        request: Request,
        trace: Trace,
    ) -> Result<Creation, CreateError> {
        let fingerprint = request.fingerprint();
        let (lines, total_amount) = match self.quote(&request).await {
            Ok(quote) => quote,
            // What cannot be priced now may still repeat a request that could be: the key goes first.
            Err(error) => {
                let known = match &key {
                    Some(key) => self.find(caller.user_id, key, &fingerprint).await?,
                    None => None,
                };
                return match known {
                    Some(record) => self.repeat(record, &fingerprint, &trace).await,
                    None => Err(refuse(error)),
                };
            }
        };
        let created_at = now_micros();
        let mut random = [0; 10];
        rand::rng().fill_bytes(&mut random);
        let order = Order {
            id: ids::order_id(created_at, &random),
            user_id: caller.user_id,
            state: State::Pending,
            lines,
            total_amount,
            currency: request.currency.parse().map_err(|_| CreateError::Internal("no currency".to_owned()))?,
            created_at,
            version: 1,
            failure: None,
        };
        let seal = |email: String| {
            seal::seal(&self.seal_public_key, &email, |buffer| rand::rng().fill_bytes(buffer))
                .map_err(|error| CreateError::Internal(error.to_string()))
        };
        let held = Held {
            order,
            payment_method: request.payment_method,
            key,
            sealed_email: caller.email.map(seal).transpose()?,
            trace,
            epoch: 1,
            answered_pending: false,
        };
        self.place(Placement { held, fingerprint }).await
    }

    async fn find(&self, user_id: Uuid, key: &str, fingerprint: &[u8]) -> Result<Option<KeyRecord>, CreateError> {
        self.databases.find_key(user_id, key, fingerprint).await.map_err(|error| unavailable(None, error))
    }

    async fn place(&self, placement: Placement) -> Result<Creation, CreateError> {
        for attempt in 1..=PLACE_TRIES {
            let (order, trace) = (&placement.held.order, placement.held.trace.clone());
            match (self.store.place(&placement).await, &placement.held.key) {
                (Ok(Placed::Ours), _) => return self.run(placement.held, &trace).await,
                (Ok(Placed::KeyTaken), Some(key)) => {
                    match self.find(order.user_id, key, &placement.fingerprint).await? {
                        // An earlier try of ours was written after all, and nobody has taken it over.
                        Some(record)
                            if record.held.order.id == order.id
                                && record.held.epoch == 1
                                && record.answer.is_none() =>
                        {
                            return self.run(placement.held, &trace).await;
                        }
                        Some(record) => return self.repeat(record, &placement.fingerprint, &trace).await,
                        // Its order failed meanwhile and freed the key.
                        None => {}
                    }
                }
                (Ok(Placed::KeyTaken), None) => {
                    return Err(CreateError::Internal("a key is taken that nobody sent".to_owned()));
                }
                (Err(StoreError::Uncertain(_)), _) if attempt < PLACE_TRIES => {}
                (Err(error), _) => return Err(unavailable(None, error)),
            }
        }
        Err(CreateError::Unavailable(None))
    }

    /// A key that is known: tell its answer, or say that it is worked on, or go on where an earlier run ended.
    async fn repeat(&self, record: KeyRecord, fingerprint: &[u8], trace: &Trace) -> Result<Creation, CreateError> {
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
            return Ok(told_pending(order.clone(), trace));
        }
        if record.busy_seconds > 0 {
            return Err(CreateError::KeyInFlight(record.busy_seconds));
        }
        match self.databases.take_lease(order.id, *epoch).await {
            Ok(Some(epoch)) => self.run(Held { epoch, ..record.held }, trace).await,
            Ok(None) => Err(CreateError::KeyInFlight(1)),
            Err(error) => Err(unavailable(Some(order.id), error)),
        }
    }

    /// Goes through the steps that follow the intent.
    async fn run(&self, held: Held, trace: &Trace) -> Result<Creation, CreateError> {
        let order_id = held.order.id;
        match self.reserve(order_id, &held.order.lines).await {
            Ok(Reserved::Done) => {
                let outcome = self.charge(&held.order, &held.payment_method, trace).await;
                self.finish(held, outcome, Verdict::PaymentUnavailable, trace).await
            }
            Ok(Reserved::Short(shortages)) if !held.is_resumed() => {
                self.conclude_order(held, Verdict::OutOfStock(shortages), trace).await
            }
            // An earlier run may have charged before the reservation was lost. Only the payment's row knows.
            Ok(Reserved::Short(shortages)) => {
                let outcome = self.settle_charge(order_id, trace).await;
                self.finish(held, outcome, Verdict::OutOfStock(shortages), trace).await
            }
            Ok(Reserved::Closed) => {
                let outcome = self.settle_charge(order_id, trace).await;
                self.finish(held, outcome, Verdict::PaymentUnavailable, trace).await
            }
            Ok(Reserved::Missing(skus)) => {
                Err(CreateError::Internal(format!("the counters of {skus:?} were left missing")))
            }
            Err(error) => {
                self.give_lease_back(&held).await;
                Err(unavailable(Some(order_id), error))
            }
        }
    }

    /// `uncharged` is the verdict if there surely is no charge.
    async fn finish(
        &self,
        held: Held,
        outcome: Outcome,
        uncharged: Verdict,
        trace: &Trace,
    ) -> Result<Creation, CreateError> {
        let verdict = match outcome {
            Outcome::Succeeded(payment_id) => Verdict::Confirmed(payment_id),
            Outcome::Declined(code, payment_id) => {
                let message = message(&code).to_owned();
                Verdict::Declined(Decline { code, message }, payment_id)
            }
            Outcome::Unavailable(reason) => {
                tracing::warn!(order_id = %held.order.id, reason, "not charged");
                uncharged
            }
            Outcome::Unknown(reason) => {
                tracing::warn!(order_id = %held.order.id, reason, "payment unknown");
                return Ok(self.leave_pending(held, trace).await);
            }
        };
        self.conclude_order(held, verdict, trace).await
    }

    /// Writes the verdict and tells it.
    async fn conclude_order(&self, held: Held, verdict: Verdict, trace: &Trace) -> Result<Creation, CreateError> {
        let settlement =
            settle(&held, &verdict, trace, now_micros()).map_err(|error| CreateError::Internal(error.to_string()))?;
        for attempt in 1..=DECIDE_TRIES {
            match self.store.decide(&settlement).await {
                Ok(true) => return self.told(settlement).await,
                Ok(false) => return self.overtaken(held, settlement, trace).await,
                Err(error @ (StoreError::Internal(_) | StoreError::Conflict(_))) => {
                    return Err(CreateError::Internal(error.to_string()));
                }
                Err(error) if attempt == DECIDE_TRIES => {
                    tracing::warn!(order_id = %held.order.id, %error, "decision not written");
                    // After a charge the order settles later; before one, the same key goes on.
                    if verdict.after_charge() {
                        return Ok(self.leave_pending(held, trace).await);
                    }
                    self.give_lease_back(&held).await;
                    return Err(CreateError::Unavailable(Some(held.order.id)));
                }
                Err(_) => {}
            }
        }
        Err(CreateError::Unavailable(Some(held.order.id)))
    }

    async fn told(&self, settlement: Settlement) -> Result<Creation, CreateError> {
        let order_id = settlement.order.id;
        if settlement.order.state == State::Failed
            && let Err(error) = self.stock.release(order_id).await
        {
            // The consumer of the event does it again.
            tracing::warn!(%order_id, %error, "reservation not given back");
        }
        match settlement.decision {
            Some(decision) => Ok(Creation { decision, replayed: false, trace_id: settlement.trace_id }),
            None => Err(CreateError::PaymentUnavailable(order_id)),
        }
    }

    /// Nothing was written: another run holds the lease or the order is decided. If under our own epoch, then by an earlier try of ours whose commit was
    /// uncertain.
    async fn overtaken(&self, held: Held, settlement: Settlement, trace: &Trace) -> Result<Creation, CreateError> {
        let order_id = held.order.id;
        let now = match self.databases.read(order_id).await {
            Ok(Some(now)) => now,
            Ok(None) => return Err(CreateError::Internal(format!("order {order_id} is gone"))),
            Err(error) => return Err(unavailable(Some(order_id), error)),
        };
        if now.order.state == State::Pending {
            return Ok(told_pending(now.order, trace));
        }
        if now.epoch == held.epoch {
            return self.told(settlement).await;
        }
        let stored = match &held.key {
            Some(key) => self.find(held.order.user_id, key, &[]).await?,
            None => None,
        };
        let trace_id = trace.id().to_owned();
        match stored.filter(|record| record.held.order.id == order_id).and_then(|record| record.answer) {
            Some((decision, trace_id)) => Ok(Creation { decision, replayed: false, trace_id }),
            None if now.order.state == State::Failed => {
                Ok(Creation { decision: Decision::Failed { order: now.order }, replayed: false, trace_id })
            }
            None => Ok(Creation { decision: Decision::Confirmed { order: now.order }, replayed: false, trace_id }),
        }
    }

    /// 202. In the shop the sweep settles it.
    async fn leave_pending(&self, held: Held, trace: &Trace) -> Creation {
        if let Err(error) = self.databases.note_pending(held.order.id, held.epoch).await {
            tracing::warn!(order_id = %held.order.id, %error, "202 not noted");
        }
        told_pending(held.order, trace)
    }

    async fn give_lease_back(&self, held: &Held) {
        if let Err(error) = self.databases.yield_lease(held.order.id, held.epoch).await {
            tracing::warn!(order_id = %held.order.id, %error, "lease not given back");
        }
    }
}

fn told_pending(order: Order, trace: &Trace) -> Creation {
    Creation { decision: Decision::Pending { order }, replayed: false, trace_id: trace.id().to_owned() }
}

fn refuse(error: QuoteError) -> CreateError {
    match error {
        QuoteError::UnknownSku(skus) => CreateError::UnknownSku(skus),
        QuoteError::CurrencyMismatch(skus) => CreateError::CurrencyMismatch(skus),
        QuoteError::AmountOutOfRange => CreateError::AmountOutOfRange,
        QuoteError::Failed(error) => unavailable(None, error),
    }
}

fn unavailable(order_id: Option<Uuid>, error: StoreError) -> CreateError {
    match error {
        StoreError::Unavailable(_) | StoreError::Uncertain(_) => {
            tracing::warn!(?order_id, %error, "create");
            CreateError::Unavailable(order_id)
        }
        StoreError::Conflict(_) | StoreError::Internal(_) => CreateError::Internal(error.to_string()),
    }
}
