//! The stores in memory, with a fuse: "so many steps work, then one fails, before or after it took effect". Invariant: they do what the SQL and the
//! Lua scripts do, which are themselves checked against real servers.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Adjustment, AdjustmentKey, Confirmed, Ended, Line, Offer, OpenLine, Product, Shortage, StockLevel};
use crate::ports::{Adjusted, Applied, Cache, Counters, Doubt, Inspection, Refill, Reserved, Store, Surroundings};
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

impl Counters for &World {
    fn reserve(&self, id: &str, ttl_ms: u64, marker_ms: u64, lines: &[Line]) -> Result<Reserved, Error> {
        self.step(|| {
            if let Some(reservation) = self.reservations.borrow().get(id) {
                return if reservation.state == "reserved" && reservation.expires > self.now.get() {
                    Reserved::Done
                } else {
                    Reserved::Closed
                };
            }
            let mut counters = self.counters.borrow_mut();
            let missing: Vec<String> =
                lines.iter().map(|line| line.sku.clone()).filter(|sku| !counters.contains_key(sku)).collect();
            if !missing.is_empty() {
                return Reserved::Missing(missing);
            }
            let short: Vec<Shortage> = lines
                .iter()
                .filter(|line| counters[&line.sku] < i64::from(line.quantity))
                .map(|line| Shortage {
                    sku: line.sku.clone(),
                    requested: line.quantity,
                    available: u64::try_from(counters[&line.sku]).unwrap_or(0),
                })
                .collect();
            if !short.is_empty() {
                return Reserved::Short(short);
            }
            for line in lines {
                *counters.get_mut(&line.sku).unwrap() -= i64::from(line.quantity);
            }
            let lines = lines.iter().map(|line| (line.sku.clone(), i64::from(line.quantity))).collect();
            let reservation =
                Reservation { state: "reserved", lines, expires: self.now.get() + ttl_ms, marker: marker_ms > 0 };
            self.reservations.borrow_mut().insert(id.to_owned(), reservation);
            Reserved::Done
        })
    }
    fn release(&self, id: &str) -> Result<(), Error> {
        self.step(|| match self.state(id) {
            "applied" => {}
            state => {
                if state == "reserved" {
                    self.give_back(id);
                }
                self.close(id, "released", true);
            }
        })
    }
    fn apply(&self, id: &str, skus: &[String]) -> Result<(), Error> {
        self.step(|| match self.state(id) {
            "applied" => {}
            state => {
                if state != "reserved" {
                    skus.iter().for_each(|sku| self.invalidate(sku));
                }
                self.close(id, "applied", true);
            }
        })
    }
    fn put_back(&self, id: &str, skus: &[String]) -> Result<(), Error> {
        self.step(|| {
            skus.iter().for_each(|sku| self.invalidate(sku));
            self.close(id, "released", true);
        })
    }
    fn forget(&self, id: &str, sku: &str) -> Result<(), Error> {
        self.step(|| {
            self.close(id, "", false);
            self.invalidate(sku);
        })
    }
    fn overdue(&self, limit: u32) -> Result<Vec<String>, Error> {
        self.step(|| {
            let reservations = self.reservations.borrow();
            let overdue = reservations
                .iter()
                .filter(|(_, reservation)| reservation.state == "reserved" && reservation.expires <= self.now.get());
            overdue.map(|(id, _)| id.clone()).take(limit as usize).collect()
        })
    }
    fn expire(&self, verdicts: &[(String, bool)]) -> Result<u32, Error> {
        self.step(|| {
            let mut ended = 0;
            for (id, applied) in verdicts {
                let open = self
                    .reservations
                    .borrow()
                    .get(id)
                    .filter(|reservation| reservation.state == "reserved")
                    .map(|reservation| reservation.marker);
                if let Some(marker) = open {
                    if !applied {
                        self.give_back(id);
                    }
                    self.close(id, if *applied { "applied" } else { "released" }, marker);
                    ended += 1;
                }
            }
            ended
        })
    }
    fn inspect(&self, skus: &[String]) -> Result<Inspection, Error> {
        self.step(|| {
            let counters = self.counters.borrow();
            let known = skus.iter().filter_map(|sku| Some((sku.clone(), *counters.get(sku)?)));
            Inspection { counters: known.collect(), open: self.open(skus) }
        })
    }
    fn mend(&self, doubts: &[Doubt], min_age_ms: u64) -> Result<Vec<String>, Error> {
        self.step(|| {
            let mut mended = Vec::new();
            for doubt in doubts {
                let excess = doubt.seen - doubt.expected;
                let known = self.doubts.borrow().get(&doubt.sku).copied();
                match known.filter(|known| known.0 == excess) {
                    None => drop(self.doubts.borrow_mut().insert(doubt.sku.clone(), (excess, self.now.get()))),
                    Some((_, since)) if self.now.get() - since < min_age_ms => {}
                    Some(_) if self.counters.borrow().get(&doubt.sku) == Some(&doubt.seen) => {
                        self.invalidate(&doubt.sku);
                        self.doubts.borrow_mut().remove(&doubt.sku);
                        mended.push(doubt.sku.clone());
                    }
                    Some(_) => {}
                }
            }
            mended
        })
    }
    fn drift_cursor(&self) -> Result<Option<String>, Error> {
        self.step(|| self.cursor.borrow().clone())
    }
    fn set_drift_cursor(&self, sku: Option<&str>) -> Result<(), Error> {
        self.step(|| *self.cursor.borrow_mut() = sku.map(str::to_owned))
    }
    fn begin_refill(&self, skus: &[String]) -> Result<Refill, Error> {
        self.step(|| {
            let missing = skus.iter().filter(|sku| !self.counters.borrow().contains_key(*sku));
            let ticket = |sku: &String| {
                let fresh = u64::from(self.steps.get());
                (sku.clone(), self.tickets.borrow_mut().entry(sku.clone()).or_insert(fresh).to_string())
            };
            let tickets = missing.map(ticket).collect();
            let open = self.open(skus);
            Refill { tickets, open }
        })
    }
    fn finish_refill(&self, values: &[(String, String, i64)]) -> Result<(), Error> {
        let meanwhile = self.meanwhile.take();
        if let Some(meanwhile) = meanwhile {
            meanwhile(self);
        }
        self.step(|| {
            for (sku, ticket, value) in values {
                let stands = self.tickets.borrow().get(sku).is_some_and(|known| known.to_string() == *ticket);
                if stands && !self.counters.borrow().contains_key(sku) {
                    self.counters.borrow_mut().insert(sku.clone(), *value);
                    self.tickets.borrow_mut().remove(sku);
                }
            }
        })
    }
    fn remember(&self, products: &[Product]) -> Result<(), Error> {
        self.step(|| {
            for product in products {
                let mut cached = self.cached.borrow_mut();
                if cached.get(&product.sku).is_none_or(|known| known.version <= product.version) {
                    cached.insert(product.sku.clone(), product.clone());
                }
            }
        })
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
