//! A world in memory for the use cases: a store with the guards of the SQL, inventory, payment, a clock. Invariant: every port call that
//! can change something is an effect with a number, and at any of them the run can die, or be told a lie about the outcome.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "shared by test binaries that use parts of it"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use swiftcart_domain::money;
use swiftcart_order::error::{CreateError, SealerError, StockError, StoreError};
use swiftcart_order::model::*;
use swiftcart_order::ports::*;
use swiftcart_order::service::Orders;
use uuid::Uuid;

pub const SECOND: i64 = 1_000_000;
pub const START: i64 = 1_759_235_696_000_000;
pub const USER: Uuid = Uuid::from_u128(7);

/// What happens at an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The run dies before it.
    DieBefore,
    /// The run dies after it.
    DieAfter,
    /// It does not take place, and the caller is told so.
    Refused,
    /// It does not take place, and the caller is told that nobody knows.
    UncertainNot,
    /// It takes place, and the caller is told that nobody knows.
    UncertainDone,
}

pub const FAULTS: [Fault; 5] =
    [Fault::DieBefore, Fault::DieAfter, Fault::Refused, Fault::UncertainNot, Fault::UncertainDone];

/// The end of a run: not a panic, so that no message is printed.
struct Died;

#[derive(Clone, Debug)]
pub struct Row {
    pub held: Held,
    pub lease_until: i64,
    pub yielded: bool,
    pub answered_pending: bool,
    pub attempts: u32,
    pub payment: Option<Payment>,
}

#[derive(Clone, Debug)]
pub struct KeyRow {
    pub fingerprint: Vec<u8>,
    pub order_id: Uuid,
    pub created_at: i64,
    pub answer: Option<(Decision, String)>,
    pub told: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reservation {
    Open(Vec<Line>),
    Closed,
}

/// How the PSP treats a method, and what is known of an order's charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    Charged,
    Declined,
    /// Unknown for now; charged or not in truth, told by settle after so many more questions.
    Unknown {
        charged: bool,
        questions: u32,
    },
    Barred,
}

#[derive(Default)]
pub struct World {
    pub now: Cell<i64>,
    pub effects: Cell<u32>,
    pub faults: RefCell<BTreeMap<u32, Fault>>,
    pub orders: RefCell<BTreeMap<Uuid, Row>>,
    pub keys: RefCell<BTreeMap<(Uuid, String), KeyRow>>,
    pub outbox: RefCell<Vec<swiftcart_domain::outbox::OutboxEvent>>,
    pub stock: RefCell<BTreeMap<String, u64>>,
    pub reservations: RefCell<BTreeMap<Uuid, Reservation>>,
    pub charges: RefCell<BTreeMap<Uuid, Charge>>,
    pub money_taken: RefCell<BTreeMap<Uuid, u32>>,
    pub seal_key_missing: Cell<bool>,
    pub drawn: Cell<u8>,
    pub logs: RefCell<Vec<(Level, String)>>,
    /// Runs once, in the middle of the next reserve, after its answer is known.
    #[allow(clippy::type_complexity, reason = "tests")]
    pub during_reserve: RefCell<Option<Box<dyn FnOnce(&World)>>>,
}

pub fn world() -> World {
    let world = World::default();
    world.now.set(START);
    world.stock.borrow_mut().insert("A".into(), 10);
    world.stock.borrow_mut().insert("B".into(), 10);
    world
}

pub fn request(method: &str) -> Request {
    Request { lines: vec![("A".into(), 2), ("B".into(), 1)], currency: "USD".into(), payment_method: method.into() }
}

pub fn caller() -> Caller {
    Caller { user_id: USER, email: Some("buyer@example.org".into()) }
}

fn gone() -> StoreError {
    StoreError::Unavailable("down".into())
}

impl World {
    pub fn orders(&self) -> Orders<'_> {
        Orders {
            store: self,
            stock: self,
            payments: self,
            clock: self,
            random: self,
            sealer: self,
            tracer: self,
            log: self,
        }
    }

    pub fn pass(&self, seconds: i64) {
        self.now.set(self.now.get() + seconds * SECOND);
    }

    pub fn create(&self, key: Option<&str>, method: &str) -> Result<Creation, CreateError> {
        self.orders().create(&caller(), key, &request(method))
    }

    /// None: the run died.
    pub fn survive<T>(&self, run: impl FnOnce(&Self) -> T) -> Option<T> {
        catch_unwind(AssertUnwindSafe(|| run(self)))
            .map_err(|cause| {
                if !cause.is::<Died>() {
                    resume_unwind(cause)
                }
            })
            .ok()
    }

    /// One effect: `lie` makes the error that the caller is told.
    fn effect<T>(&self, done: impl FnOnce() -> T, refused: impl FnOnce() -> T, uncertain: impl FnOnce() -> T) -> T {
        let number = self.effects.get() + 1;
        self.effects.set(number);
        let fault = self.faults.borrow().get(&number).copied();
        match fault {
            None => done(),
            Some(Fault::DieBefore) => resume_unwind(Box::new(Died)),
            Some(Fault::DieAfter) => {
                done();
                resume_unwind(Box::new(Died))
            }
            Some(Fault::Refused) => refused(),
            Some(Fault::UncertainNot) => uncertain(),
            Some(Fault::UncertainDone) => {
                done();
                uncertain()
            }
        }
    }

    fn write<T>(&self, done: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.effect(done, || Err(gone()), || Err(StoreError::Uncertain("lost".into())))
    }

    fn guarded(&self, order_id: Uuid, epoch: i64, change: impl FnOnce(&mut Row)) {
        if let Some(row) = self.orders.borrow_mut().get_mut(&order_id) {
            if row.held.order.state == State::Pending && row.held.epoch == epoch {
                change(row);
            }
        }
    }

    pub fn fresh(&self, key: &KeyRow) -> bool {
        self.now.get() - key.created_at <= i64::from(KEY_RETENTION_SECONDS) * SECOND
    }

    pub fn only_order(&self) -> Order {
        let orders = self.orders.borrow();
        assert_eq!(orders.len(), 1);
        orders.values().next().unwrap().held.order.clone()
    }

    pub fn topics(&self) -> Vec<&'static str> {
        self.outbox.borrow().iter().map(|event| event.topic).collect()
    }
}

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
            let row = Row {
                held: held.clone(),
                lease_until,
                yielded: false,
                answered_pending: false,
                attempts: 0,
                payment: None,
            };
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
                answered_pending: row.answered_pending,
                busy_seconds,
            }))
        })
    }

    fn take_lease(&self, order_id: Uuid, epoch: i64) -> Result<Option<i64>, StoreError> {
        self.write(|| {
            let mut taken = None;
            self.guarded(order_id, epoch, |row| {
                if !row.answered_pending && (row.yielded || row.lease_until <= self.now.get()) {
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
                row.answered_pending = true;
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
                row.payment = settlement.payment.clone();
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

    fn purge(&self, _: u32) -> Result<u32, StoreError> {
        let before = self.keys.borrow().len();
        self.keys.borrow_mut().retain(|_, key| self.fresh(key));
        Ok(u32::try_from(before - self.keys.borrow().len()).unwrap())
    }
}

impl Stock for World {
    fn quote(&self, lines: &[(String, u32)], currency: &str) -> Result<Quote, QuoteError> {
        let stock = self.stock.borrow();
        let unknown: Vec<_> =
            lines.iter().filter(|(sku, _)| !stock.contains_key(sku)).map(|(sku, _)| sku.clone()).collect();
        if !unknown.is_empty() {
            return Err(QuoteError::UnknownSku(unknown));
        }
        let lines: Vec<_> = lines
            .iter()
            .map(|(sku, quantity)| Line { sku: sku.clone(), quantity: *quantity, unit_price: 100 })
            .collect();
        let total = money::total(lines.iter().map(|line| (line.quantity, line.unit_price))).unwrap();
        let quote = Ok(Quote { lines, total, currency: currency.parse().unwrap() });
        let down = || Err(QuoteError::Failed(StockError::Unavailable("redis".into())));
        self.effect(|| quote, down, down)
    }

    fn reserve(&self, order_id: Uuid, lines: &[Line]) -> Result<(), ReserveError> {
        let take = || {
            let mut reservations = self.reservations.borrow_mut();
            match reservations.get(&order_id) {
                Some(Reservation::Open(_)) => return Ok(()),
                Some(Reservation::Closed) => return Err(ReserveError::Closed),
                None => {}
            }
            let mut stock = self.stock.borrow_mut();
            let short: Vec<_> = lines
                .iter()
                .filter(|line| stock[&line.sku] < u64::from(line.quantity))
                .map(|line| Shortage { sku: line.sku.clone(), requested: line.quantity, available: stock[&line.sku] })
                .collect();
            if !short.is_empty() {
                return Err(ReserveError::OutOfStock(short));
            }
            for line in lines {
                *stock.get_mut(&line.sku).unwrap() -= u64::from(line.quantity);
            }
            reservations.insert(order_id, Reservation::Open(lines.to_vec()));
            Ok(())
        };
        let down = || Err(ReserveError::Failed(StockError::Unavailable("redis".into())));
        let answer = self.effect(take, down, down);
        let hook = self.during_reserve.borrow_mut().take();
        if let Some(hook) = hook {
            hook(self);
        }
        answer
    }

    fn release(&self, order_id: Uuid) -> Result<(), StockError> {
        let give = || {
            if let Some(Reservation::Open(lines)) = self.reservations.borrow_mut().insert(order_id, Reservation::Closed)
            {
                for line in lines {
                    *self.stock.borrow_mut().get_mut(&line.sku).unwrap() += u64::from(line.quantity);
                }
            }
            Ok(())
        };
        let down = || Err(StockError::Unavailable("redis".into()));
        self.effect(give, down, down)
    }
}

pub fn payment() -> Payment {
    Payment { provider: "stripe".into(), payment_id: "pi_1".into() }
}

impl World {
    fn take_money(&self, order_id: Uuid) {
        *self.money_taken.borrow_mut().entry(order_id).or_default() += 1;
    }

    fn outcome(charge: &Charge) -> Outcome {
        match charge {
            Charge::Charged => Outcome::Succeeded(payment()),
            Charge::Declined => Outcome::Declined(
                Decline { code: "card_declined".into(), message: "Declined.".into() },
                Some(payment()),
            ),
            Charge::Unknown { .. } => Outcome::Unknown("time-out".into()),
            Charge::Barred => Outcome::Unavailable("psp down".into()),
        }
    }
}

impl Payments for World {
    fn charge(&self, order: &Order, method: &str) -> Outcome {
        let charge = || {
            let mut charges = self.charges.borrow_mut();
            let known = charges.entry(order.id).or_insert_with(|| match method {
                "ok" => {
                    self.take_money(order.id);
                    Charge::Charged
                }
                "declined" => Charge::Declined,
                "down" => Charge::Barred,
                "unknown-charged" => {
                    self.take_money(order.id);
                    Charge::Unknown { charged: true, questions: 2 }
                }
                _ => Charge::Unknown { charged: false, questions: 2 },
            });
            Self::outcome(known)
        };
        // A link that fails says that nobody knows; only payment itself may say `unavailable`.
        let lost = || Outcome::Unknown("link".into());
        self.effect(charge, lost, lost)
    }

    fn settle(&self, order_id: Uuid) -> Outcome {
        let settle = || {
            let mut charges = self.charges.borrow_mut();
            let known = charges.entry(order_id).or_insert(Charge::Barred);
            if let Charge::Unknown { charged, questions } = known {
                if *questions > 0 {
                    *questions -= 1;
                } else {
                    *known = if *charged { Charge::Charged } else { Charge::Barred };
                }
            }
            Self::outcome(known)
        };
        let lost = || Outcome::Unknown("link".into());
        self.effect(settle, lost, lost)
    }
}

impl Clock for World {
    fn now(&self) -> i64 {
        self.now.get()
    }
}

impl Random for World {
    fn fill(&self, buffer: &mut [u8]) {
        self.drawn.set(self.drawn.get().wrapping_add(1));
        buffer.fill(self.drawn.get());
    }
}

impl Sealer for World {
    fn seal(&self, email: &str) -> Result<Vec<u8>, SealerError> {
        if self.seal_key_missing.get() {
            Err(SealerError::NoKey)
        } else {
            Ok(email.bytes().map(|byte| byte ^ 0x55).collect())
        }
    }
}

impl Tracer for World {
    fn current(&self) -> Trace {
        // A new trace for each second, so that a replay can be told from the first answer.
        Trace { parent: format!("00-{:032x}-00f067aa0ba902b7-01", self.now.get() / SECOND), state: None }
    }
}

impl Log for World {
    fn log(&self, level: Level, message: &str) {
        self.logs.borrow_mut().push((level, message.to_owned()));
    }
}
