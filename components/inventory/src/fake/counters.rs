//! The scripts in memory.

use super::{Reservation, World};
use crate::error::Error;
use crate::model::{Line, Product, Shortage};
use crate::ports::{Counters, Doubt, Inspection, Refill, Reserved};

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
