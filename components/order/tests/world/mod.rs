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

mod database;
mod neighbours;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use swiftcart_domain::event::{self, InventoryRejected, PaymentRefundFailed, PaymentRefunded, PaymentStatus, Shortage};
use swiftcart_order::error::{CancelError, CreateError, StoreError};
use swiftcart_order::model::{
    Caller, Creation, Decision, Held, KEY_RETENTION_SECONDS, Line, Order, Refund, Request, State,
};
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
    pub attempts: u32,
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
    pub inbox: RefCell<BTreeSet<Uuid>>,
    pub stock: RefCell<BTreeMap<String, u64>>,
    pub reservations: RefCell<BTreeMap<Uuid, Reservation>>,
    pub charges: RefCell<BTreeMap<Uuid, Charge>>,
    pub money_taken: RefCell<BTreeMap<Uuid, u32>>,
    pub seal_key_missing: Cell<bool>,
    /// The link to payment refuses every call.
    pub refuse_payments: Cell<bool>,
    pub drawn: Cell<u8>,
    pub logs: RefCell<Vec<(Level, String)>>,
    /// Runs once, in the middle of the next reserve, after its answer is known.
    #[allow(clippy::type_complexity, reason = "tests")]
    pub during_reserve: RefCell<Option<Box<dyn FnOnce(&World)>>>,
    /// Runs once, after the next order that is to be taken back was read and before that is written.
    #[allow(clippy::type_complexity, reason = "tests")]
    pub before_reverse: RefCell<Option<Box<dyn FnOnce(&World)>>>,
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

    pub fn cancel(&self) -> Result<Order, CancelError> {
        self.orders().cancel(&caller(), &self.only_order().id.to_string())
    }

    /// What inventory says when it cannot honour the only order.
    pub fn rejection(&self) -> Vec<u8> {
        let line = Shortage { sku: "A".into(), requested: 2, available: 1 };
        serde_json::to_vec(&InventoryRejected::new(START, self.only_order().id, vec![line])).unwrap()
    }

    /// What payment says when it has given the money of the only order back.
    pub fn refund_told(&self) -> Vec<u8> {
        let order = self.only_order();
        let payment = event::Payment {
            provider: "stripe".into(),
            payment_id: "pi_1".into(),
            status: PaymentStatus::Succeeded,
            amount: order.total_amount,
            currency: order.currency,
            decline_code: None,
        };
        let refund = event::Refund { refund_id: "re_1".into(), amount: order.total_amount };
        serde_json::to_vec(&PaymentRefunded::new(START, order.id, payment, refund)).unwrap()
    }

    /// What payment says when it could not give the money of the only order back, or when it has come back.
    pub fn refund_failure_told(&self, refund_id: Option<&str>) -> Vec<u8> {
        let order = self.only_order();
        let payment = event::Payment {
            provider: "stripe".into(),
            payment_id: "pi_1".into(),
            status: PaymentStatus::Succeeded,
            amount: order.total_amount,
            currency: order.currency,
            decline_code: None,
        };
        let refund = event::FailedRefund {
            refund_id: refund_id.map(str::to_owned),
            amount: order.total_amount,
            reason: "no".into(),
        };
        let mut told = PaymentRefundFailed::new(START, order.id, payment, refund);
        told.event_id = Uuid::new_v5(&order.id, refund_id.unwrap_or("none").as_bytes());
        serde_json::to_vec(&told).unwrap()
    }

    /// Writes what became of a refund, as the statements guard it.
    pub fn tell_refund(&self, id: Uuid, version: u64, refund: Refund, refund_id: Option<String>, cause: Uuid) -> bool {
        let mut orders = self.orders.borrow_mut();
        let Some(held) = orders.get_mut(&id).map(|row| &mut row.held).filter(|held| {
            let told = held.order.refund.as_ref().is_some_and(|known| known.state == refund.state);
            held.order.version == version && matches!(held.order.state, State::Failed | State::Cancelled) && !told
        }) else {
            return false;
        };
        held.order.refund = Some(refund);
        held.order.version += 1;
        held.refund_id = refund_id.or(held.refund_id.take());
        self.inbox.borrow_mut().insert(cause);
        true
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
