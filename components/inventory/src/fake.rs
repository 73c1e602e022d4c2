//! The stores in memory, with a fuse: "so many steps work, then one fails, before or after it took effect". Invariant: they do what the SQL and the
//! Lua scripts do, which are themselves checked against real servers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod counters;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Adjustment, AdjustmentKey, Confirmed, Ended, Offer, OpenLine, Product, Shortage, StockLevel};
use crate::ports::{Adjusted, Applied, Cache, Store, Surroundings};
use crate::service::Inventory;

/// Where a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// Nothing was done.
    Before,
    /// It was done, but the caller cannot know.
    After,
}

/// What counters must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audit {
    /// Nothing is half done.
    Exact,
    /// Something is half done.
    NeverTooHigh,
    /// An order without a reservation is half done.
    Ignored,
}

#[derive(Default)]
pub(crate) struct Reservation {
    pub(crate) state: &'static str,
    pub(crate) lines: Vec<(String, i64)>,
    pub(crate) expires: u64,
    marker: bool,
}

/// Something that happens between two steps of a use case.
pub(crate) type Meanwhile = fn(&World);

#[derive(Default)]
pub(crate) struct World {
    pub(crate) products: RefCell<BTreeMap<String, (Product, i64)>>,
    /// (sku, kind, delta, cause)
    pub(crate) movements: RefCell<Vec<(String, String, i64, String)>>,
    pub(crate) keys: RefCell<BTreeMap<(Uuid, String), (String, Offer)>>,
    pub(crate) inbox: RefCell<BTreeSet<Uuid>>,
    pub(crate) outbox: RefCell<Vec<OutboxEvent>>,
    /// Orders that have ended, with the reason.
    pub(crate) ended: RefCell<BTreeMap<String, &'static str>>,
    pub(crate) counters: RefCell<BTreeMap<String, i64>>,
    pub(crate) reservations: RefCell<BTreeMap<String, Reservation>>,
    tickets: RefCell<BTreeMap<String, u64>>,
    /// By sku: what it was too high by, and when that was seen.
    pub(crate) doubts: RefCell<BTreeMap<String, (i64, u64)>>,
    pub(crate) cursor: RefCell<Option<String>>,
    pub(crate) warnings: RefCell<Vec<String>>,
    pub(crate) cached: RefCell<BTreeMap<String, Product>>,
    pub(crate) now: Cell<u64>,
    ids: Cell<u128>,
    pub(crate) steps: Cell<u32>,
    /// Fails at this step.
    pub(crate) fuse: Cell<Option<(u32, Fail)>>,
    /// Run once, just before the value of a refill is set.
    pub(crate) meanwhile: Cell<Option<Meanwhile>>,
}

impl World {
    pub(crate) fn inventory(&self) -> Inventory<&Self, &Self, &Self, &Self> {
        Inventory { store: self, counters: self, cache: self, surroundings: self, reservation_ttl_ms: 900_000 }
    }

    pub(crate) fn stocked(stock: &[(&str, i64)]) -> Self {
        let world = Self::default();
        for (sku, on_hand) in stock {
            let product = Product {
                sku: (*sku).to_owned(),
                name: format!("Product {sku}"),
                unit_price: 1299,
                currency: "USD".to_owned(),
                version: 1,
            };
            world.products.borrow_mut().insert((*sku).to_owned(), (product, *on_hand));
            world.movements.borrow_mut().push((
                (*sku).to_owned(),
                "restock".to_owned(),
                *on_hand,
                "initial".to_owned(),
            ));
        }
        world
    }

    /// One step: `effect` is atomic.
    fn step<T>(&self, effect: impl FnOnce() -> T) -> Result<T, Error> {
        let step = self.steps.get();
        self.steps.set(step + 1);
        match self.fuse.get() {
            Some((at, Fail::Before)) if at == step => Err(Error::Unavailable("fuse".to_owned())),
            Some((at, Fail::After)) if at == step => {
                effect();
                Err(Error::Uncertain("fuse".to_owned()))
            }
            _ => Ok(effect()),
        }
    }

    fn invalidate(&self, sku: &str) {
        self.counters.borrow_mut().remove(sku);
        self.tickets.borrow_mut().remove(sku);
    }

    fn close(&self, id: &str, state: &'static str, marker: bool) {
        if marker {
            self.reservations
                .borrow_mut()
                .insert(id.to_owned(), Reservation { state, marker, ..Reservation::default() });
        } else {
            self.reservations.borrow_mut().remove(id);
        }
    }

    fn state(&self, id: &str) -> &'static str {
        self.reservations.borrow().get(id).map_or("", |reservation| reservation.state)
    }

    fn give_back(&self, id: &str) {
        for (sku, quantity) in self.reservations.borrow()[id].lines.clone() {
            match self.counters.borrow_mut().get_mut(&sku) {
                Some(counter) => *counter += quantity,
                None => drop(self.tickets.borrow_mut().remove(&sku)),
            }
        }
    }

    fn open(&self, skus: &[String]) -> Vec<OpenLine> {
        let mut open = Vec::new();
        for (id, reservation) in
            self.reservations.borrow().iter().filter(|(_, reservation)| reservation.state == "reserved")
        {
            for (sku, quantity) in reservation.lines.iter().filter(|(sku, _)| skus.contains(sku)) {
                let quantity = u64::try_from(*quantity).unwrap();
                open.push(OpenLine { id: id.clone(), sku: sku.clone(), quantity });
            }
        }
        open
    }

    fn on_hand(&self, sku: &str) -> i64 {
        self.products.borrow()[sku].1
    }

    fn moved(&self, id: &str) -> bool {
        self.movements.borrow().iter().any(|(_, _, _, cause)| cause == id)
    }

    /// The invariants of `orders.md` §3.
    pub(crate) fn audit(&self, counters: Audit) {
        for (sku, (_, on_hand)) in self.products.borrow().iter() {
            let moved: i64 =
                self.movements.borrow().iter().filter(|movement| movement.0 == *sku).map(|movement| movement.2).sum();
            assert!(*on_hand >= 0 && moved == *on_hand, "{sku}: on hand {on_hand}, movements {moved}");
            if let (Some(counter), true) = (self.counters.borrow().get(sku), counters != Audit::Ignored) {
                let open: i64 = self
                    .reservations
                    .borrow()
                    .iter()
                    .filter(|(id, reservation)| reservation.state == "reserved" && !self.moved(id))
                    .flat_map(|(_, reservation)| {
                        reservation.lines.iter().filter(|line| line.0 == *sku).map(|line| line.1)
                    })
                    .sum();
                assert!(
                    if counters == Audit::Exact { *counter == on_hand - open } else { *counter <= on_hand - open },
                    "{sku}: counter {counter}, on hand {on_hand}, open {open}"
                );
            }
        }
    }
}

impl Store for &World {
    fn products(&self, skus: &[String]) -> Result<Vec<Product>, Error> {
        self.step(|| skus.iter().filter_map(|sku| self.products.borrow().get(sku).map(|row| row.0.clone())).collect())
    }
    fn page(&self, after: Option<&str>, limit: u32) -> Result<Vec<Product>, Error> {
        let after = after.map(str::to_owned);
        self.step(|| {
            let products = self.products.borrow();
            let rows = products.values().filter(|row| after.as_ref().is_none_or(|after| row.0.sku > *after));
            rows.take(limit as usize).map(|row| row.0.clone()).collect()
        })
    }
    fn put(&self, sku: &str, name: &str, unit_price: u64, currency: &str) -> Result<(Product, bool), Error> {
        self.step(|| {
            let mut products = self.products.borrow_mut();
            let known = products.get(sku).map(|row| (row.0.version, row.1));
            let version = known.map_or(1, |known| known.0 + 1);
            let product = Product {
                sku: sku.to_owned(),
                name: name.to_owned(),
                unit_price,
                currency: currency.to_owned(),
                version,
            };
            products.insert(sku.to_owned(), (product.clone(), known.map_or(0, |known| known.1)));
            (product, known.is_none())
        })
    }
    fn find_adjustment(&self, key: &AdjustmentKey) -> Result<Option<(String, Offer)>, Error> {
        self.step(|| self.keys.borrow().get(&(key.user_id, key.key.clone())).cloned())
    }
    fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, Error> {
        self.step(|| {
            if self.on_hand(&adjustment.sku) + adjustment.delta < 0 {
                return Adjusted::BelowZero;
            }
            if let Some(key) = &adjustment.key {
                let name = (key.user_id, key.key.clone());
                if self.keys.borrow().contains_key(&name) {
                    return Adjusted::KeyTaken;
                }
                let fingerprint = Adjustment::fingerprint(&adjustment.sku, adjustment.delta, adjustment.reason);
                self.keys.borrow_mut().insert(name, (fingerprint, adjustment.answer.clone()));
            }
            self.products.borrow_mut().get_mut(&adjustment.sku).unwrap().1 += adjustment.delta;
            let movement = (
                adjustment.sku.clone(),
                adjustment.reason.as_str().to_owned(),
                adjustment.delta,
                adjustment.id.to_string(),
            );
            self.movements.borrow_mut().push(movement);
            Adjusted::Done
        })
    }
    fn stock_levels(&self, skus: &[String], reservations: &[String]) -> Result<Vec<StockLevel>, Error> {
        self.step(|| {
            let known = skus.iter().filter(|sku| self.products.borrow().contains_key(*sku));
            known
                .map(|sku| StockLevel {
                    sku: sku.clone(),
                    on_hand: u64::try_from(self.on_hand(sku)).unwrap(),
                    applied: reservations.iter().filter(|id| self.moved(id)).cloned().collect(),
                })
                .collect()
        })
    }
    fn applied(&self, reservations: &[String]) -> Result<Vec<String>, Error> {
        self.step(|| reservations.iter().filter(|id| self.moved(id)).cloned().collect())
    }
    fn apply(&self, order: &Confirmed) -> Result<Applied, Error> {
        self.step(|| {
            let id = order.order_id.to_string();
            if self.ended.borrow().contains_key(&id) {
                return if self.moved(&id) { Applied::PutBack } else { Applied::Barred };
            }
            if self.moved(&id) {
                return Applied::Done;
            }
            let unknown: Vec<String> = order
                .lines
                .iter()
                .map(|line| line.sku.clone())
                .filter(|sku| !self.products.borrow().contains_key(sku))
                .collect();
            if !unknown.is_empty() {
                return Applied::UnknownSku(unknown);
            }
            let short: Vec<Shortage> = order
                .lines
                .iter()
                .filter(|line| self.on_hand(&line.sku) < i64::from(line.quantity))
                .map(|line| Shortage {
                    sku: line.sku.clone(),
                    requested: line.quantity,
                    available: u64::try_from(self.on_hand(&line.sku)).unwrap(),
                })
                .collect();
            if !short.is_empty() {
                return Applied::Short(short);
            }
            self.inbox.borrow_mut().insert(order.event_id);
            for line in &order.lines {
                self.products.borrow_mut().get_mut(&line.sku).unwrap().1 -= i64::from(line.quantity);
                self.movements.borrow_mut().push((
                    line.sku.clone(),
                    "confirmed".to_owned(),
                    -i64::from(line.quantity),
                    id.clone(),
                ));
            }
            Applied::Done
        })
    }
    fn reject(&self, order: &Confirmed, event: &OutboxEvent) -> Result<bool, Error> {
        self.step(|| {
            let id = order.order_id.to_string();
            if self.moved(&id)
                || self.ended.borrow().contains_key(&id)
                || !self.inbox.borrow_mut().insert(order.event_id)
            {
                return false;
            }
            self.ended.borrow_mut().insert(id, "rejected");
            self.outbox.borrow_mut().push(event.clone());
            true
        })
    }
    fn end(&self, order: &Ended) -> Result<Vec<String>, Error> {
        self.step(|| {
            let id = order.order_id.to_string();
            self.inbox.borrow_mut().insert(order.event_id);
            self.ended.borrow_mut().entry(id.clone()).or_insert(order.reason.as_str());
            let mut movements = self.movements.borrow_mut();
            let of =
                |kind: &str| movements.iter().filter(|row| row.1 == kind && row.3 == id).cloned().collect::<Vec<_>>();
            let (taken, returned) = (of("confirmed"), of("return"));
            if returned.is_empty() {
                for (sku, _, delta, cause) in taken.clone() {
                    self.products.borrow_mut().get_mut(&sku).unwrap().1 -= delta;
                    movements.push((sku, "return".to_owned(), -delta, cause));
                }
            }
            taken.into_iter().map(|(sku, ..)| sku).collect()
        })
    }
    fn prune(&self) -> Result<u64, Error> {
        self.step(|| 5)
    }
}

impl Cache for &World {
    fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        self.step(|| {
            keys.iter()
                .map(|key| match key.split_once(':').unwrap() {
                    ("product", sku) => {
                        self.cached.borrow().get(sku).map(|product| serde_json::to_vec(product).unwrap())
                    }
                    ("available_stock", sku) => {
                        self.counters.borrow().get(sku).map(|counter| counter.to_string().into_bytes())
                    }
                    other => panic!("{other:?}"),
                })
                .collect()
        })
    }
}

impl Surroundings for &World {
    fn now_micros(&self) -> i64 {
        0
    }
    fn new_id(&self) -> Uuid {
        self.ids.set(self.ids.get() + 1);
        Uuid::from_u128(0xad_0000_0000 + self.ids.get())
    }
    fn trace(&self) -> (String, Option<String>) {
        (String::new(), None)
    }
    fn log_info(&self, _: &str) {}
    fn log_warning(&self, text: &str) {
        self.warnings.borrow_mut().push(text.to_owned());
    }
}
