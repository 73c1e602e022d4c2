//! Counters and prices in Redis, with the shop's own scripts. Invariant: each script is atomic and idempotent; a reply of another shape than the script
//! promises is our own bug.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{RedisError, RedisResult, Script, Value};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::catalog::Product;
use crate::model::{Line, Shortage};
use crate::store::StoreError;

/// For an answer, and for a connection, as the shop's links have it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Commands that wait to be written, as in the shop's client.
const PIPELINE_BUFFER: usize = 1_024;
/// How long a reservation holds stock that is neither applied nor released.
const RESERVATION_TTL_MS: u64 = 900_000;
/// How long the end of a reservation is remembered: longer than anybody retries.
const MARKER_MS: u64 = 24 * 60 * 60 * 1000;
/// How long a product is cached.
const PRODUCT_TTL_MS: u64 = 300_000;
const EXPIRY: &str = "reservations:expiry";

macro_rules! script {
    ($name:literal) => {
        Script::new(include_str!(concat!("../../../components/inventory/src/scripts/", $name, ".lua")))
    };
    ($name:literal, with reservation) => {
        Script::new(concat!(
            include_str!("../../../components/inventory/src/scripts/reservation.lua"),
            include_str!(concat!("../../../components/inventory/src/scripts/", $name, ".lua"))
        ))
    };
}

/// One Redis behind one connection that all calls share.
pub(crate) struct Stock {
    connection: ConnectionManager,
    reserve: Script,
    release: Script,
    apply: Script,
    forget: Script,
    begin_refill: Script,
    finish_refill: Script,
    remember: Script,
}

/// What became of an attempt to reserve.
pub(crate) enum Reserved {
    Done,
    /// The reservation has ended before.
    Closed,
    /// These skus have no counter.
    Missing(Vec<String>),
    Short(Vec<Shortage>),
}

/// An open reservation's line.
pub(crate) struct OpenLine {
    pub(crate) id: Uuid,
    pub(crate) sku: String,
    pub(crate) quantity: i64,
}

/// A refill that has begun.
pub(crate) struct Refill {
    /// The missing counters with their tickets.
    pub(crate) tickets: Vec<(String, String)>,
    pub(crate) open: Vec<OpenLine>,
}

/// A counter that was worked out.
pub(crate) struct Refilled {
    pub(crate) sku: String,
    pub(crate) ticket: String,
    pub(crate) value: i64,
}

impl Stock {
    /// Connects.
    pub(crate) async fn connect(url: &SecretString) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(TIMEOUT))
            .set_connection_timeout(Some(TIMEOUT))
            .set_pipeline_buffer_size(PIPELINE_BUFFER);
        let client = redis::Client::open(url.expose_secret())?;
        Ok(Self {
            connection: ConnectionManager::new_with_config(client, config).await?,
            reserve: script!("reserve", with reservation),
            release: script!("release", with reservation),
            apply: script!("apply", with reservation),
            forget: script!("forget", with reservation),
            begin_refill: script!("begin_refill"),
            finish_refill: script!("finish_refill"),
            remember: script!("remember"),
        })
    }

    async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let mut connection = self.connection.clone();
        redis::cmd("MGET").arg(keys).query_async(&mut connection).await.map_err(|error| unavailable(&error))
    }

    async fn run(&self, script: &Script, keys: &[String], arguments: &[String]) -> Result<Vec<Value>, StoreError> {
        let mut connection = self.connection.clone();
        let reply = script.key(keys).arg(arguments).invoke_async(&mut connection).await;
        match reply.map_err(|error| unavailable(&error))? {
            Value::Array(items) => Ok(items),
            single => Ok(vec![single]),
        }
    }

    /// Cached products, in the order of the skus.
    pub(crate) async fn cached(&self, skus: &[String]) -> Result<Vec<Option<Product>>, StoreError> {
        let keys: Vec<String> = skus.iter().map(|sku| product_key(sku)).collect();
        let found = self.get_many(&keys).await?;
        // What cannot be read any more counts as not cached.
        Ok(found.into_iter().map(|json| serde_json::from_slice(&json?).ok()).collect())
    }

    /// Counters, in the order of the skus.
    pub(crate) async fn counters(&self, skus: &[String]) -> Result<Vec<Option<i64>>, StoreError> {
        let keys: Vec<String> = skus.iter().map(|sku| counter_key(sku)).collect();
        let found = self.get_many(&keys).await?;
        let number = |text: Vec<u8>| std::str::from_utf8(&text).ok()?.parse().ok();
        Ok(found.into_iter().map(|value| value.and_then(number)).collect())
    }

    /// Holds all lines or none; idempotent by order id.
    pub(crate) async fn reserve(&self, order_id: Uuid, lines: &[Line]) -> Result<Reserved, StoreError> {
        let id = order_id.to_string();
        let mut keys = vec![reservation_key(&id), EXPIRY.to_owned()];
        keys.extend(lines.iter().map(|line| counter_key(&line.sku)));
        let mut arguments = vec![id, RESERVATION_TTL_MS.to_string(), MARKER_MS.to_string()];
        arguments.extend(lines.iter().flat_map(|line| [line.sku.clone(), line.quantity.to_string()]));
        let reply = self.run(&self.reserve, &keys, &arguments).await?;
        let (verdict, rest) = reply.split_first().ok_or_else(unexpected)?;
        let line = |item: &Value| {
            let index = usize::try_from(integer(item)?).ok().and_then(|number| number.checked_sub(1));
            index.and_then(|index| lines.get(index)).ok_or_else(unexpected)
        };
        match text(verdict)? {
            "reserved" => Ok(Reserved::Done),
            "closed" => Ok(Reserved::Closed),
            "missing" => {
                rest.iter().map(|item| Ok(line(item)?.sku.clone())).collect::<Result<_, _>>().map(Reserved::Missing)
            }
            "short" => {
                let shortage = |pair: &[Value]| {
                    let [number, available] = pair else { return Err(unexpected()) };
                    let line = line(number)?;
                    let available = u64::try_from(integer(available)?).unwrap_or(0);
                    Ok(Shortage { sku: line.sku.clone(), requested: line.quantity, available })
                };
                rest.chunks(2).map(shortage).collect::<Result<_, _>>().map(Reserved::Short)
            }
            _ => Err(unexpected()),
        }
    }

    /// Gives a reservation back and bars a later one.
    pub(crate) async fn release(&self, order_id: Uuid) -> Result<(), StoreError> {
        let id = order_id.to_string();
        let keys = [reservation_key(&id), EXPIRY.to_owned()];
        self.run(&self.release, &keys, &[id, MARKER_MS.to_string()]).await.map(drop)
    }

    /// Closes the reservation of an order that was taken from the shelf.
    pub(crate) async fn apply(&self, order_id: Uuid, skus: &[String]) -> Result<(), StoreError> {
        let id = order_id.to_string();
        let mut keys = vec![reservation_key(&id), EXPIRY.to_owned()];
        keys.extend(skus.iter().flat_map(|sku| [counter_key(sku), ticket_key(sku)]));
        self.run(&self.apply, &keys, &[id, MARKER_MS.to_string()]).await.map(drop)
    }

    /// Forgets a counter after its stock was changed by hand.
    pub(crate) async fn forget(&self, id: Uuid, sku: &str) -> Result<(), StoreError> {
        let id = id.to_string();
        let keys = [reservation_key(&id), EXPIRY.to_owned(), counter_key(sku), ticket_key(sku)];
        self.run(&self.forget, &keys, &[id]).await.map(drop)
    }

    /// Begins to work out missing counters.
    pub(crate) async fn begin_refill(&self, skus: &[String]) -> Result<Refill, StoreError> {
        let mut keys = vec![EXPIRY.to_owned()];
        keys.extend(skus.iter().flat_map(|sku| [counter_key(sku), ticket_key(sku)]));
        let reply = self.run(&self.begin_refill, &keys, skus).await?;
        let (tickets, open) = reply.split_at_checked(skus.len()).ok_or_else(unexpected)?;
        let mut refill = Refill { tickets: Vec::new(), open: Vec::new() };
        for (sku, ticket) in skus.iter().zip(tickets) {
            let ticket = text(ticket)?;
            if !ticket.is_empty() {
                refill.tickets.push((sku.clone(), ticket.to_owned()));
            }
        }
        for line in open.chunks(3) {
            let [id, sku, quantity] = line else { return Err(unexpected()) };
            refill.open.push(OpenLine {
                id: text(id)?.parse().map_err(|_| unexpected())?,
                sku: text(sku)?.to_owned(),
                quantity: text(quantity)?.parse().map_err(|_| unexpected())?,
            });
        }
        Ok(refill)
    }

    /// Sets counters whose ticket still stands.
    pub(crate) async fn finish_refill(&self, values: &[Refilled]) -> Result<(), StoreError> {
        let keys: Vec<String> =
            values.iter().flat_map(|counter| [counter_key(&counter.sku), ticket_key(&counter.sku)]).collect();
        let arguments: Vec<String> =
            values.iter().flat_map(|counter| [counter.ticket.clone(), counter.value.to_string()]).collect();
        self.run(&self.finish_refill, &keys, &arguments).await.map(drop)
    }

    /// Caches products unless a newer version is cached.
    pub(crate) async fn remember(&self, products: &[Product]) -> Result<(), StoreError> {
        let keys: Vec<String> = products.iter().map(|product| product_key(&product.sku)).collect();
        let mut arguments = vec![PRODUCT_TTL_MS.to_string()];
        for product in products {
            arguments.push(product.version.to_string());
            arguments.push(serde_json::to_string(product).map_err(|error| StoreError::Internal(error.to_string()))?);
        }
        self.run(&self.remember, &keys, &arguments).await.map(drop)
    }
}

fn product_key(sku: &str) -> String {
    format!("product:{sku}")
}

fn counter_key(sku: &str) -> String {
    format!("available_stock:{sku}")
}

fn ticket_key(sku: &str) -> String {
    format!("stock_refill:{sku}")
}

fn reservation_key(id: &str) -> String {
    format!("reservation:{id}")
}

fn text(value: &Value) -> Result<&str, StoreError> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).map_err(|_| unexpected()),
        Value::SimpleString(text) => Ok(text),
        _ => Err(unexpected()),
    }
}

fn integer(value: &Value) -> Result<i64, StoreError> {
    if let Value::Int(number) = value { Ok(*number) } else { Err(unexpected()) }
}

fn unexpected() -> StoreError {
    StoreError::Internal("a script replied something else than it promises".to_owned())
}

/// Every script may be run again, so whether it ran does not matter.
fn unavailable(error: &RedisError) -> StoreError {
    StoreError::Unavailable(format!("Redis: {error}"))
}
