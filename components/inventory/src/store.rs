//! The port [`Store`] as SQL. Invariant: every method is one transaction and one round trip; what decides an order holds the lock of that order, and
//! rows of products are locked by sku, so that two orders never wait for each other in a circle.

use std::collections::BTreeSet;

use swiftcart_capabilities::postgres::{self, Database, Row, RowExt as _, RowSet, Statement, Value, statement, uuid};
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;
use crate::model::{Adjustment, AdjustmentKey, Confirmed, Ended, Line, Offer, Product, Shortage, StockLevel};
use crate::ports::{Adjusted, Applied, Store};

/// The inbox's name of this consumer.
const CONSUMER: &str = "inventory";
/// Rows per statement of the retention.
const PRUNE_BATCH: i64 = 1000;

// For any number of lists of skus. OFFSET keeps the planner from reading the whole catalogue for them.
const PRODUCTS: &str = "SELECT c.call, p.sku, p.name, p.unit_price, p.currency, p.version
    FROM unnest($1::jsonb[]) WITH ORDINALITY AS c (skus, call), jsonb_array_elements_text(c.skus) AS wanted (sku),
        LATERAL (SELECT * FROM products WHERE sku = wanted.sku OFFSET 0) AS p";

const PAGE: &str = "SELECT sku, name, unit_price, currency, version FROM products
    WHERE $1::text IS NULL OR sku > $1 ORDER BY sku LIMIT $2";

// `xmax = 0` holds for a row that was inserted, not updated, by this statement.
const PUT: &str = "INSERT INTO products AS p (sku, name, unit_price, currency) VALUES ($1, $2, $3, $4)
    ON CONFLICT (sku) DO UPDATE SET name = $2, unit_price = $3, currency = $4, version = p.version + 1, updated_at = now()
    RETURNING sku, name, unit_price, currency, version, (xmax = 0) AS created";

const FIND_ADJUSTMENT: &str = "SELECT fingerprint, answer FROM adjustment_keys WHERE user_id = $1 AND key = $2 AND created_at > now() - interval '24 hours'";

// An expired row that the retention has not met yet gives way to the new one.
const ADJUST: &str = "WITH changed AS (
        UPDATE products SET on_hand = on_hand + $2, updated_at = now() WHERE sku = $1 AND on_hand + $2 >= 0 RETURNING sku
    ), movement AS (
        INSERT INTO inventory_movements (sku, kind, delta, adjustment_id) SELECT sku, $3, $2, $4 FROM changed
    ), kept AS (
        INSERT INTO adjustment_keys AS k (user_id, key, fingerprint, answer)
        SELECT $5, $6, $7, $8 FROM changed WHERE $5::uuid IS NOT NULL
    )
    SELECT sku FROM changed";

const FORGET_EXPIRED_KEY: &str =
    "DELETE FROM adjustment_keys WHERE user_id = $1 AND key = $2 AND created_at <= now() - interval '24 hours'";

const STOCK_LEVELS: &str = "SELECT p.sku, p.on_hand, ARRAY(
        SELECT COALESCE(m.order_id, m.adjustment_id) FROM inventory_movements m
        WHERE m.sku = p.sku AND m.kind = 'confirmed' AND m.order_id = ANY($2)
        UNION ALL
        SELECT m.adjustment_id FROM inventory_movements m WHERE m.sku = p.sku AND m.adjustment_id = ANY($2)
    ) AS applied
    FROM products p WHERE p.sku = ANY($1)";

const APPLIED: &str =
    "SELECT order_id::text AS id FROM inventory_movements WHERE kind = 'confirmed' AND order_id = ANY($1)
    UNION SELECT adjustment_id::text FROM inventory_movements WHERE adjustment_id = ANY($1)";

/// How often an order is applied when the calls beside it are in its way. Each time at least one of them is done with.
const APPLY_TRIES: u32 = 16;

// The events of one order come over several topics, so at the same time. The next statement's snapshot is taken once the lock is held.
const LOCK_ORDER: &str = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))::text AS locked";

// The same for any number of orders, always in one sequence.
const LOCK_ORDERS: &str = include_str!("store/lock_orders.sql");

// For any number of orders, each under its lock (LOCK_ORDERS). Of an order nothing is written unless its event is new, it goes on, all its skus exist and
// all its lines fit; every part that writes hangs on the inbox row. What concurrent statements did is seen through the row locks, not through the
// snapshot. A line fits if it does after all calls before it have taken theirs. If it only would without them, or if the same order comes twice,
// the call is told to come `again`: whatever is first, alone or among others, is never told that. Tables are asked by scalar subqueries, because the
// planner would turn EXISTS for many calls into reading the whole table once.
const APPLY: &str = include_str!("store/apply.sql");

const REJECT: &str = "WITH event AS (
        INSERT INTO inbox (consumer, event_id) SELECT $1, $2
        WHERE NOT EXISTS (SELECT 1 FROM closed_orders WHERE order_id = $8)
            AND NOT EXISTS (SELECT 1 FROM inventory_movements WHERE order_id = $8 AND kind = 'confirmed')
        ON CONFLICT DO NOTHING RETURNING event_id
    ), ended AS (
        INSERT INTO closed_orders (order_id, reason) SELECT $8, 'rejected' FROM event
    ), told AS (
        INSERT INTO outbox (event_id, topic, key, payload, headers) SELECT $3, $4, $5, $6, $7 FROM event ON CONFLICT (event_id) DO NOTHING
    )
    SELECT event_id FROM event";

// $1 event, $2 order, $3 consumer, $4 reason. What was taken is put back unless it was before; an order that was rejected had nothing taken.
const END: &str = "WITH handled AS (
        INSERT INTO inbox (consumer, event_id) VALUES ($3, $1) ON CONFLICT DO NOTHING
    ), ended AS (
        INSERT INTO closed_orders (order_id, reason) VALUES ($2, $4) ON CONFLICT (order_id) DO NOTHING
    ), taken AS (
        SELECT m.sku, -m.delta AS quantity FROM inventory_movements m
        WHERE m.order_id = $2 AND m.kind = 'confirmed'
            AND NOT EXISTS (SELECT 1 FROM inventory_movements r WHERE r.order_id = $2 AND r.kind = 'return')
    ), locked AS MATERIALIZED (
        SELECT p.sku FROM products p WHERE p.sku IN (SELECT sku FROM taken) ORDER BY p.sku FOR UPDATE
    ), put_back AS (
        UPDATE products p SET on_hand = p.on_hand + t.quantity, updated_at = now()
        FROM taken t JOIN locked l ON l.sku = t.sku WHERE p.sku = t.sku
        RETURNING p.sku, t.quantity
    ), moved AS (
        INSERT INTO inventory_movements (sku, kind, delta, order_id) SELECT sku, 'return', quantity, $2 FROM put_back
    )
    SELECT ARRAY(SELECT sku::text FROM inventory_movements WHERE order_id = $2 AND kind = 'confirmed' ORDER BY sku) AS skus";

// The inbox outlives every redelivery (Kafka keeps topics for days), published events outlive every question about them.
const PRUNE: &str = "WITH keys AS (
        DELETE FROM adjustment_keys WHERE ctid IN (SELECT ctid FROM adjustment_keys WHERE created_at <= now() - interval '24 hours' LIMIT $1) RETURNING 1
    ), events AS (
        DELETE FROM inbox WHERE ctid IN (SELECT ctid FROM inbox WHERE received_at <= now() - interval '30 days' LIMIT $1) RETURNING 1
    ), sent AS (
        DELETE FROM outbox WHERE ctid IN (SELECT ctid FROM outbox WHERE published_at <= now() - interval '7 days' LIMIT $1) RETURNING 1
    )
    SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM events) + (SELECT count(*) FROM sent) AS pruned";

/// The store over a database.
#[derive(Clone, Copy, Debug)]
pub struct Sql<D>(pub D);

impl<D: Database> Store for Sql<D> {
    fn products(&self, skus: &[String]) -> Result<Vec<Product>, Error> {
        let rows =
            self.0.run_coalesced(statement(PRODUCTS, vec![postgres::jsonb(serde_json::json!(skus).to_string())]))?;
        rows.iter().map(|row| product(&row)).collect()
    }

    fn page(&self, after: Option<&str>, limit: u32) -> Result<Vec<Product>, Error> {
        let rows = self.0.run(statement(PAGE, vec![after.into(), limit.into()]))?;
        rows.iter().map(|row| product(&row)).collect()
    }

    fn put(&self, sku: &str, name: &str, unit_price: u64, currency: &str) -> Result<(Product, bool), Error> {
        let rows = self.0.run(statement(PUT, vec![sku.into(), name.into(), bigint(unit_price)?, currency.into()]))?;
        let row = rows.only()?;
        Ok((product(&row)?, row.get("created")?))
    }

    fn find_adjustment(&self, key: &AdjustmentKey) -> Result<Option<(String, Offer)>, Error> {
        let rows = self.0.run(statement(FIND_ADJUSTMENT, vec![uuid(key.user_id), key.key.as_str().into()]))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let answer: String = row.get("answer")?;
        let answer = serde_json::from_str(&answer)
            .map_err(|error| Error::Internal(format!("column `answer` is no offer: {error}")))?;
        Ok(Some((row.get("fingerprint")?, answer)))
    }

    fn adjust(&self, adjustment: &Adjustment) -> Result<Adjusted, Error> {
        let answer = serde_json::to_string(&adjustment.answer).map_err(|error| Error::Internal(error.to_string()))?;
        let key = adjustment.key.as_ref();
        let change = statement(
            ADJUST,
            vec![
                adjustment.sku.as_str().into(),
                adjustment.delta.into(),
                adjustment.reason.as_str().into(),
                uuid(adjustment.id),
                key.map_or(Value::Null, |key| uuid(key.user_id)),
                key.map(|key| key.key.as_str()).into(),
                Adjustment::fingerprint(&adjustment.sku, adjustment.delta, adjustment.reason).into(),
                postgres::jsonb(answer),
            ],
        );
        let mut statements = Vec::new();
        if let Some(key) = key {
            statements.push(statement(FORGET_EXPIRED_KEY, vec![uuid(key.user_id), key.key.as_str().into()]));
        }
        statements.push(change);
        match self.0.transact(statements) {
            Ok(sets) => Ok(if sets.last().is_some_and(|set| set.first().is_some()) {
                Adjusted::Done
            } else {
                Adjusted::BelowZero
            }),
            Err(postgres::Error::Conflict(violation)) if violation.constraint == "adjustment_keys_pkey" => {
                Ok(Adjusted::KeyTaken)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn stock_levels(&self, skus: &[String], reservations: &[String]) -> Result<Vec<StockLevel>, Error> {
        let rows =
            self.0.run(statement(STOCK_LEVELS, vec![skus.to_vec().into(), Value::UuidArray(reservations.to_vec())]))?;
        rows.iter()
            .map(|row| {
                let applied: Vec<String> = row.get("applied")?;
                Ok(StockLevel {
                    sku: row.get("sku")?,
                    on_hand: row.get("on_hand")?,
                    applied: applied.into_iter().collect::<BTreeSet<_>>(),
                })
            })
            .collect()
    }

    fn applied(&self, reservations: &[String]) -> Result<Vec<String>, Error> {
        let rows = self.0.run(statement(APPLIED, vec![Value::UuidArray(reservations.to_vec())]))?;
        rows.iter().map(|row| Ok(row.get("id")?)).collect()
    }

    fn apply(&self, order: &Confirmed) -> Result<Applied, Error> {
        let line = |line: &Line| serde_json::json!({"sku": line.sku, "quantity": line.quantity});
        let lines = serde_json::Value::Array(order.lines.iter().map(line).collect()).to_string();
        let params = vec![uuid(order.event_id), uuid(order.order_id), postgres::jsonb(lines), CONSUMER.into()];
        let lock = statement(LOCK_ORDERS, vec![order.order_id.to_string().into()]);
        let deciding = vec![lock, statement(APPLY, params)];
        for _ in 1..=APPLY_TRIES {
            match self.0.coalesce(deciding.clone()) {
                Ok(sets) => {
                    let rows = last(sets)?;
                    if let Some(applied) = verdict(order, &rows.only()?)? {
                        return Ok(applied);
                    }
                }
                // Applied by an event whose inbox row is gone, or by another event of the same order.
                Err(postgres::Error::Conflict(violation))
                    if violation.constraint == "inventory_movements_once_per_order" =>
                {
                    return Ok(Applied::Done);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Applied::Busy)
    }

    fn reject(&self, order: &Confirmed, event: &OutboxEvent) -> Result<bool, Error> {
        let params = vec![
            CONSUMER.into(),
            uuid(order.event_id),
            uuid(event.event_id),
            event.topic.into(),
            event.key.as_str().into(),
            event.payload.as_str().into(),
            postgres::jsonb(event.headers_json()),
            uuid(order.order_id),
        ];
        Ok(self.decide(order.order_id, statement(REJECT, params))?.first().is_some())
    }

    fn end(&self, order: &Ended) -> Result<Vec<String>, Error> {
        let params = vec![uuid(order.event_id), uuid(order.order_id), CONSUMER.into(), order.reason.as_str().into()];
        Ok(self.decide(order.order_id, statement(END, params))?.only()?.get("skus")?)
    }

    fn prune(&self) -> Result<u64, Error> {
        Ok(self.0.run(statement(PRUNE, vec![PRUNE_BATCH.into()]))?.only()?.get("pruned")?)
    }
}

impl<D: Database> Sql<D> {
    /// Runs a statement that decides what becomes of an order, alone for that order.
    fn decide(&self, order_id: Uuid, deciding: Statement) -> Result<RowSet, postgres::Error> {
        let lock = statement(LOCK_ORDER, vec![order_id.to_string().into()]);
        last(self.0.transact(vec![lock, deciding])?)
    }
}

fn last(mut sets: Vec<RowSet>) -> Result<RowSet, postgres::Error> {
    sets.pop().ok_or_else(|| postgres::Error::Invalid("the host answered two statements with no row set".to_owned()))
}

fn product(row: &Row<'_>) -> Result<Product, Error> {
    Ok(Product {
        sku: row.get("sku")?,
        name: row.get("name")?,
        unit_price: row.get("unit_price")?,
        currency: row.get("currency")?,
        version: row.get("version")?,
    })
}

/// What became of the order; none if it has to come again.
fn verdict(order: &Confirmed, row: &Row<'_>) -> Result<Option<Applied>, Error> {
    let unknown: Vec<String> = row.get("unknown")?;
    let short_skus: Vec<String> = row.get("short_skus")?;
    let short_on_hand: Vec<i64> = row.get("short_on_hand")?;
    let (seen, moved_before): (bool, bool) = (row.get("seen")?, row.get("moved_before")?);
    if row.get("ended")? {
        return Ok(Some(if moved_before { Applied::PutBack } else { Applied::Barred }));
    }
    if row.get("taken")? || moved_before {
        return Ok(Some(Applied::Done));
    }
    if seen {
        // Rejected before there was a table of orders that have ended.
        return Ok(Some(Applied::Barred));
    }
    if !unknown.is_empty() {
        return Ok(Some(Applied::UnknownSku(unknown)));
    }
    if short_skus.is_empty() {
        return Ok((!row.get::<bool>("again")?).then_some(Applied::Busy));
    }
    let shortages = short_skus.into_iter().zip(short_on_hand).filter_map(|(sku, on_hand)| {
        let requested = order.lines.iter().find(|line| line.sku == sku)?.quantity;
        Some(Shortage { sku, requested, available: u64::try_from(on_hand).unwrap_or(0) })
    });
    Ok(Some(Applied::Short(shortages.collect())))
}

fn bigint(number: u64) -> Result<Value, Error> {
    i64::try_from(number).map(Value::Int64).map_err(|_| Error::Internal(format!("{number} does not fit a bigint")))
}
