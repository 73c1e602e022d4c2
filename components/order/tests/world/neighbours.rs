//! Inventory, payment and the small ports. Invariant: like the real services they are idempotent by order id, and only payment itself
//! says that an order is surely not charged.

use swiftcart_domain::money;
use swiftcart_order::error::{SealerError, StockError};
use swiftcart_order::model::*;
use swiftcart_order::ports::*;
use uuid::Uuid;

use super::{Charge, Reservation, SECOND, World};

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

fn payment() -> Payment {
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
    fn refuses(&self) -> bool {
        self.refuse_payments.get()
    }

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
        if self.refuse_payments.get() {
            return Outcome::NotAsked("breaker".into());
        }
        // A link that refuses says so; only payment itself may say that the order is surely not charged.
        self.effect(charge, || Outcome::NotAsked("breaker".into()), || Outcome::Unknown("link".into()))
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
        if self.refuse_payments.get() {
            return Outcome::NotAsked("breaker".into());
        }
        self.effect(settle, || Outcome::NotAsked("breaker".into()), || Outcome::Unknown("link".into()))
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
