//! The orders database in memory. Invariant: each change has the guards of its SQL statement (state, lease epoch, age of the key).

use swiftcart_order::error::StoreError;
use swiftcart_order::model::*;
use swiftcart_order::ports::*;
use uuid::Uuid;

use super::{KeyRow, Row, SECOND, World};

impl Store for World {
    fn place(&self, placement: &Placement) -> Result<Placed, StoreError> {
        self.write(|| {
            let held = &placement.held;
            if self.orders.borrow().contains_key(&held.order.id) && held.key.is_none() {
                return Ok(Placed::Ours);
            }
            if let Some(key) = &held.key {
                let mut keys = self.keys.borrow_mut();
                let scope = (held.order.user_id, key.clone());
                if keys.get(&scope).is_some_and(|known| self.fresh(known)) {
                    return Ok(Placed::KeyTaken);
                }
                let (fingerprint, order_id, created_at) =
                    (placement.fingerprint.clone(), held.order.id, self.now.get());
                keys.insert(scope, KeyRow { fingerprint, order_id, created_at, answer: None, told: false });
            }
            let lease_until = self.now.get() + i64::from(LEASE_SECONDS) * SECOND;
            let row = Row { held: held.clone(), lease_until, yielded: false, attempts: 0 };
            self.orders.borrow_mut().insert(held.order.id, row);
            Ok(Placed::Ours)
        })
    }

    fn find_key(&self, user_id: Uuid, key: &str, fingerprint: &[u8]) -> Result<Option<KeyRecord>, StoreError> {
        self.write(|| {
            let mut keys = self.keys.borrow_mut();
            let Some(known) = keys.get_mut(&(user_id, key.to_owned())).filter(|known| self.fresh(known)) else {
                return Ok(None);
            };
            let first_told = known.answer.is_some() && !known.told && known.fingerprint == fingerprint;
            known.told |= first_told;
            let row = self.orders.borrow()[&known.order_id].clone();
            let left = row.lease_until - self.now.get();
            let busy_seconds =
                if row.yielded || left <= 0 { 0 } else { u32::try_from((left + SECOND - 1) / SECOND).unwrap() };
            Ok(Some(KeyRecord {
                fingerprint: known.fingerprint.clone(),
                answer: known.answer.clone(),
                first_told,
                held: row.held,
                busy_seconds,
            }))
        })
    }

    fn take_lease(&self, order_id: Uuid, epoch: i64) -> Result<Option<i64>, StoreError> {
        self.write(|| {
            let mut taken = None;
            self.guarded(order_id, epoch, |row| {
                if !row.held.answered_pending && (row.yielded || row.lease_until <= self.now.get()) {
                    row.held.epoch += 1;
                    row.yielded = false;
                    row.lease_until = self.now.get() + i64::from(LEASE_SECONDS) * SECOND;
                    taken = Some(row.held.epoch);
                }
            });
            Ok(taken)
        })
    }

    fn yield_lease(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError> {
        self.write(|| {
            self.guarded(order_id, epoch, |row| row.yielded = true);
            Ok(())
        })
    }

    fn note_pending(&self, order_id: Uuid, epoch: i64) -> Result<(), StoreError> {
        self.write(|| {
            self.guarded(order_id, epoch, |row| {
                row.held.answered_pending = true;
                row.lease_until = self.now.get();
            });
            Ok(())
        })
    }

    fn decide(&self, settlement: &Settlement) -> Result<bool, StoreError> {
        self.write(|| {
            let mut decided = false;
            self.guarded(settlement.order.id, settlement.epoch, |row| {
                row.held.order = settlement.order.clone();
                row.held.payment = settlement.payment.clone();
                decided = true;
            });
            if decided {
                self.outbox.borrow_mut().push(settlement.event.clone());
                let mut keys = self.keys.borrow_mut();
                let scope = settlement.key.clone().map(|key| (settlement.order.user_id, key));
                if let Some(scope) =
                    scope.filter(|scope| keys.get(scope).is_some_and(|key| key.order_id == settlement.order.id))
                {
                    match &settlement.key_change {
                        KeyChange::Answer { decision, trace_id, told } => {
                            let known = keys.get_mut(&scope).unwrap();
                            known.answer = Some((serde_json::from_str(decision).unwrap(), trace_id.clone()));
                            known.told = *told;
                        }
                        KeyChange::Remove => drop(keys.remove(&scope)),
                        KeyChange::None => {}
                    }
                }
            }
            Ok(decided)
        })
    }

    fn read(&self, order_id: Uuid) -> Result<Option<Held>, StoreError> {
        self.write(|| Ok(self.orders.borrow().get(&order_id).map(|row| row.held.clone())))
    }

    fn get(&self, user_id: Uuid, order_id: Uuid) -> Result<Option<Order>, StoreError> {
        let order = self.orders.borrow().get(&order_id).map(|row| row.held.order.clone());
        Ok(order.filter(|order| order.user_id == user_id))
    }

    fn list(
        &self,
        user_id: Uuid,
        after: Option<Position>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Vec<Order>, StoreError> {
        let mut orders: Vec<_> = self.orders.borrow().values().map(|row| row.held.order.clone()).collect();
        orders.retain(|order| order.user_id == user_id && state.is_none_or(|state| state == order.state));
        orders.retain(|order| after.is_none_or(|after| (order.created_at, order.id) < (after.created_at, after.id)));
        orders.sort_by_key(|order| std::cmp::Reverse((order.created_at, order.id)));
        orders.truncate(limit as usize);
        Ok(orders)
    }

    fn claim_due(&self) -> Result<Option<Due>, StoreError> {
        self.write(|| {
            let due = self.now.get() - i64::from(SWEEP_GRACE_SECONDS) * SECOND;
            let mut orders = self.orders.borrow_mut();
            let pending =
                orders.values_mut().filter(|row| row.held.order.state == State::Pending && row.lease_until < due);
            Ok(pending.min_by_key(|row| row.lease_until).map(|row| {
                row.held.epoch += 1;
                row.attempts += 1;
                row.yielded = false;
                row.lease_until = self.now.get() + i64::from(LEASE_SECONDS) * SECOND;
                Due { held: row.held.clone(), attempt: row.attempts }
            }))
        })
    }

    fn postpone(&self, order_id: Uuid, epoch: i64, seconds: u32) -> Result<(), StoreError> {
        self.write(|| {
            self.guarded(order_id, epoch, |row| row.lease_until = self.now.get() + i64::from(seconds) * SECOND);
            Ok(())
        })
    }

    fn reverse(&self, reversal: &Reversal, cause: Option<Uuid>) -> Result<bool, StoreError> {
        let hook = self.before_reverse.borrow_mut().take();
        if let Some(hook) = hook {
            hook(self);
        }
        self.write(|| {
            let mut orders = self.orders.borrow_mut();
            let Some(row) = orders.get_mut(&reversal.order.id).filter(|row| {
                row.held.order.state == State::Confirmed && row.held.order.version + 1 == reversal.order.version
            }) else {
                return Ok(false);
            };
            row.held.order = reversal.order.clone();
            self.outbox.borrow_mut().push(reversal.event.clone());
            self.inbox.borrow_mut().extend(cause);
            Ok(true)
        })
    }

    fn refund(&self, refunded: &Refunded, version: u64, cause: Uuid) -> Result<bool, StoreError> {
        self.write(|| {
            let refund = Refund { state: RefundState::Succeeded, amount: refunded.amount };
            Ok(self.tell_refund(refunded.order_id, version, refund, Some(refunded.refund_id.clone()), cause))
        })
    }

    fn fail_refund(&self, failed: &RefundFailed, version: u64, cause: Uuid) -> Result<bool, StoreError> {
        self.write(|| {
            let refund = Refund { state: RefundState::Failed, amount: failed.amount };
            Ok(self.tell_refund(failed.order_id, version, refund, failed.refund_id.clone(), cause))
        })
    }

    fn note_event(&self, cause: Uuid) -> Result<(), StoreError> {
        self.write(|| {
            self.inbox.borrow_mut().insert(cause);
            Ok(())
        })
    }

    fn purge(&self, _: u32) -> Result<u32, StoreError> {
        let before = self.keys.borrow().len();
        self.keys.borrow_mut().retain(|_, key| self.fresh(key));
        Ok(u32::try_from(before - self.keys.borrow().len()).unwrap())
    }
}
