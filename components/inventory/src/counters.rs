//! The port [`Counters`] as Lua scripts (`scripts/*.lua`). Invariant: what a script replies is checked here; a reply of another shape is our own bug.

use swiftcart_capabilities::redis::{self, Item, Scripts};

use crate::error::Error;
use crate::model::{Line, MARKER_MS, OpenLine, Product, Shortage};
use crate::ports::{Counters, Doubt, Inspection, Refill, Reserved};
use crate::service::{counter_key, product_key};

const EXPIRY: &str = "reservations:expiry";
const DRIFT_CURSOR: &str = "stock_drift_cursor";
/// How long a product is cached; bounds how long a price stays that changed while Redis could not be told.
const PRODUCT_TTL_MS: u64 = 300_000;

macro_rules! script {
    ($name:literal) => {
        redis::script($name, include_str!(concat!("scripts/", $name, ".lua")))
    };
    ($name:literal, with reservation) => {
        redis::script(
            $name,
            concat!(include_str!("scripts/reservation.lua"), include_str!(concat!("scripts/", $name, ".lua"))),
        )
    };
}

/// The counters over the scripts of a Redis.
#[derive(Clone, Copy, Debug)]
pub struct Lua<R>(pub R);

impl<R: Scripts> Counters for Lua<R> {
    fn reserve(&self, id: &str, ttl_ms: u64, marker_ms: u64, lines: &[Line]) -> Result<Reserved, Error> {
        let mut keys = vec![reservation_key(id), EXPIRY.to_owned()];
        keys.extend(lines.iter().map(|line| counter_key(&line.sku)));
        let mut arguments = vec![id.to_owned(), ttl_ms.to_string(), marker_ms.to_string()];
        arguments.extend(lines.iter().flat_map(|line| [line.sku.clone(), line.quantity.to_string()]));
        let reply = self.0.run(&script!("reserve", with reservation), &keys, &arguments)?;
        let (verdict, rest) = reply.split_first().ok_or_else(|| unexpected("reserve"))?;
        let line = |item: &Item| {
            let index = usize::try_from(integer(item, "reserve")?).ok().and_then(|number| number.checked_sub(1));
            index.and_then(|index| lines.get(index)).ok_or_else(|| unexpected("reserve"))
        };
        match text(verdict, "reserve")? {
            "reserved" => Ok(Reserved::Done),
            "closed" => Ok(Reserved::Closed),
            "missing" => Ok(Reserved::Missing(
                rest.iter().map(|item| Ok(line(item)?.sku.clone())).collect::<Result<_, Error>>()?,
            )),
            "short" => Ok(Reserved::Short(
                rest.chunks(2)
                    .map(|pair| match pair {
                        [number, available] => {
                            let line = line(number)?;
                            let available = u64::try_from(integer(available, "reserve")?).unwrap_or(0);
                            Ok(Shortage { sku: line.sku.clone(), requested: line.quantity, available })
                        }
                        _ => Err(unexpected("reserve")),
                    })
                    .collect::<Result<_, Error>>()?,
            )),
            _ => Err(unexpected("reserve")),
        }
    }

    fn release(&self, id: &str) -> Result<(), Error> {
        let keys = [reservation_key(id), EXPIRY.to_owned()];
        self.0.run(&script!("release", with reservation), &keys, &[id.to_owned(), MARKER_MS.to_string()])?;
        Ok(())
    }

    fn apply(&self, id: &str, skus: &[String]) -> Result<(), Error> {
        let mut keys = vec![reservation_key(id), EXPIRY.to_owned()];
        keys.extend(skus.iter().flat_map(|sku| [counter_key(sku), ticket_key(sku)]));
        self.0.run(&script!("apply", with reservation), &keys, &[id.to_owned(), MARKER_MS.to_string()])?;
        Ok(())
    }

    fn put_back(&self, id: &str, skus: &[String]) -> Result<(), Error> {
        let mut keys = vec![reservation_key(id), EXPIRY.to_owned()];
        keys.extend(skus.iter().flat_map(|sku| [counter_key(sku), ticket_key(sku)]));
        self.0.run(&script!("put_back", with reservation), &keys, &[id.to_owned(), MARKER_MS.to_string()])?;
        Ok(())
    }

    fn forget(&self, id: &str, sku: &str) -> Result<(), Error> {
        let keys = [reservation_key(id), EXPIRY.to_owned(), counter_key(sku), ticket_key(sku)];
        self.0.run(&script!("forget", with reservation), &keys, &[id.to_owned()])?;
        Ok(())
    }

    fn overdue(&self, limit: u32) -> Result<Vec<String>, Error> {
        let reply = self.0.run(&script!("overdue", with reservation), &[EXPIRY.to_owned()], &[limit.to_string()])?;
        reply.iter().map(|item| Ok(text(item, "overdue")?.to_owned())).collect()
    }

    fn expire(&self, verdicts: &[(String, bool)]) -> Result<u32, Error> {
        let mut keys = vec![EXPIRY.to_owned()];
        keys.extend(verdicts.iter().map(|(id, _)| reservation_key(id)));
        let arguments: Vec<String> = verdicts
            .iter()
            .flat_map(|(id, applied)| [id.clone(), if *applied { "applied" } else { "lapsed" }.to_owned()])
            .collect();
        let reply = self.0.run(&script!("expire", with reservation), &keys, &arguments)?;
        let ended = integer(reply.first().ok_or_else(|| unexpected("expire"))?, "expire")?;
        u32::try_from(ended).map_err(|_| unexpected("expire"))
    }

    fn begin_refill(&self, skus: &[String]) -> Result<Refill, Error> {
        let mut keys = vec![EXPIRY.to_owned()];
        keys.extend(skus.iter().flat_map(|sku| [counter_key(sku), ticket_key(sku)]));
        let reply = self.0.run(&script!("begin_refill"), &keys, skus)?;
        let (tickets, open) = reply.split_at_checked(skus.len()).ok_or_else(|| unexpected("begin_refill"))?;
        let mut refill = Refill { tickets: Vec::new(), open: Vec::new() };
        for (sku, ticket) in skus.iter().zip(tickets) {
            let ticket = text(ticket, "begin_refill")?;
            if !ticket.is_empty() {
                refill.tickets.push((sku.clone(), ticket.to_owned()));
            }
        }
        refill.open = open_lines(open, "begin_refill")?;
        Ok(refill)
    }

    fn inspect(&self, skus: &[String]) -> Result<Inspection, Error> {
        let mut keys = vec![EXPIRY.to_owned()];
        keys.extend(skus.iter().map(|sku| counter_key(sku)));
        let reply = self.0.run(&script!("inspect"), &keys, skus)?;
        let (counters, open) = reply.split_at_checked(skus.len()).ok_or_else(|| unexpected("inspect"))?;
        let mut inspection = Inspection { open: open_lines(open, "inspect")?, ..Inspection::default() };
        for (sku, counter) in skus.iter().zip(counters) {
            let counter = text(counter, "inspect")?;
            if !counter.is_empty() {
                inspection.counters.insert(sku.clone(), counter.parse().map_err(|_| unexpected("inspect"))?);
            }
        }
        Ok(inspection)
    }

    fn mend(&self, doubts: &[Doubt], min_age_ms: u64) -> Result<Vec<String>, Error> {
        let key =
            |doubt: &Doubt| [counter_key(&doubt.sku), ticket_key(&doubt.sku), format!("stock_doubt:{}", doubt.sku)];
        let keys: Vec<String> = doubts.iter().flat_map(key).collect();
        let mut arguments = vec![min_age_ms.to_string()];
        for doubt in doubts {
            arguments.extend([doubt.seen.to_string(), doubt.seen.saturating_sub(doubt.expected).to_string()]);
        }
        let reply = self.0.run(&script!("mend", with reservation), &keys, &arguments)?;
        let mut mended = Vec::new();
        for (doubt, item) in doubts.iter().zip(&reply) {
            if integer(item, "mend")? == 1 {
                mended.push(doubt.sku.clone());
            }
        }
        Ok(mended)
    }

    fn drift_cursor(&self) -> Result<Option<String>, Error> {
        let reply = self.0.run(&script!("drift_cursor"), &[DRIFT_CURSOR.to_owned()], &[])?;
        let sku = text(reply.first().ok_or_else(|| unexpected("drift_cursor"))?, "drift_cursor")?;
        Ok(Some(sku.to_owned()).filter(|sku| !sku.is_empty()))
    }

    fn set_drift_cursor(&self, sku: Option<&str>) -> Result<(), Error> {
        self.0.run(&script!("drift_cursor"), &[DRIFT_CURSOR.to_owned()], &[sku.unwrap_or_default().to_owned()])?;
        Ok(())
    }

    fn finish_refill(&self, values: &[(String, String, i64)]) -> Result<(), Error> {
        let keys: Vec<String> = values.iter().flat_map(|(sku, _, _)| [counter_key(sku), ticket_key(sku)]).collect();
        let arguments: Vec<String> =
            values.iter().flat_map(|(_, ticket, value)| [ticket.clone(), value.to_string()]).collect();
        self.0.run(&script!("finish_refill"), &keys, &arguments)?;
        Ok(())
    }

    fn remember(&self, products: &[Product]) -> Result<(), Error> {
        let keys: Vec<String> = products.iter().map(|product| product_key(&product.sku)).collect();
        let mut arguments = vec![PRODUCT_TTL_MS.to_string()];
        for product in products {
            arguments.push(product.version.to_string());
            arguments.push(serde_json::to_string(product).map_err(|error| Error::Internal(error.to_string()))?);
        }
        self.0.run(&script!("remember"), &keys, &arguments)?;
        Ok(())
    }
}

/// Triples of id, sku and quantity.
fn open_lines(items: &[Item], script: &str) -> Result<Vec<OpenLine>, Error> {
    items
        .chunks(3)
        .map(|line| {
            let [id, sku, quantity] = line else { return Err(unexpected(script)) };
            let quantity = text(quantity, script)?.parse().map_err(|_| unexpected(script))?;
            Ok(OpenLine { id: text(id, script)?.to_owned(), sku: text(sku, script)?.to_owned(), quantity })
        })
        .collect()
}

fn reservation_key(id: &str) -> String {
    format!("reservation:{id}")
}

fn ticket_key(sku: &str) -> String {
    format!("stock_refill:{sku}")
}

fn text<'a>(item: &'a Item, script: &str) -> Result<&'a str, Error> {
    match item {
        Item::Text(text) => Ok(text),
        Item::Integer(_) | Item::Nil => Err(unexpected(script)),
    }
}

fn integer(item: &Item, script: &str) -> Result<i64, Error> {
    match item {
        Item::Integer(number) => Ok(*number),
        Item::Text(_) | Item::Nil => Err(unexpected(script)),
    }
}

fn unexpected(script: &str) -> Error {
    Error::Internal(format!("script {script} replied something else than it promises"))
}
