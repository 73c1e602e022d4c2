//! Shelf and counters. Invariant: a counter and the reservations behind it are read in one step; where they do not agree with the shelf at once, the
//! sku is looked at again, because on a live shop stock moves between the two systems.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use uuid::Uuid;

use super::databases::Databases;
use crate::facts::{Counted, Stock};

/// Counters, then sku, id and quantity of every open line, all of one moment.
const COUNTERS: &str = "local reply = {}
for i = 1, #ARGV do reply[i] = redis.call('GET', 'available_stock:' .. ARGV[i]) or '' end
local fields = {}
for i = 1, #ARGV do fields[i] = 'l:' .. ARGV[i] end
for _, id in ipairs(redis.call('ZRANGE', 'reservations:expiry', 0, -1)) do
  local quantities = redis.call('HMGET', 'reservation:' .. id, unpack(fields))
  for i = 1, #ARGV do
    if quantities[i] then
      reply[#reply + 1] = ARGV[i]
      reply[#reply + 1] = id
      reply[#reply + 1] = quantities[i]
    end
  end
end
return reply";
/// Skus in one step; Redis does nothing else meanwhile.
const BATCH: usize = 100;
/// Looks at a sku before it is said to be wrong.
const LOOKS: usize = 8;
const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn stock(databases: &Databases, redis_url: &str) -> anyhow::Result<Vec<Stock>> {
    let mut redis = redis::Client::open(redis_url)?.get_multiplexed_async_connection().await?;
    let mut all: BTreeMap<String, Stock> = BTreeMap::new();
    for (sku, on_hand, moved) in databases.shelves().await? {
        all.insert(sku.clone(), Stock { sku, on_hand, moved, counted: Vec::new() });
    }
    let mut doubtful: Vec<String> = all.keys().cloned().collect();
    for look in 0..LOOKS {
        if doubtful.is_empty() {
            break;
        }
        if look > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let mut wrong = Vec::new();
        for batch in doubtful.chunks(BATCH) {
            for (sku, counted) in count(databases, &mut redis, batch).await? {
                if counted.drift() != 0 {
                    wrong.push(sku.clone());
                }
                if let Some(stock) = all.get_mut(&sku) {
                    stock.counted.push(counted);
                }
            }
        }
        doubtful = wrong;
    }
    Ok(all.into_values().collect())
}

async fn count(
    databases: &Databases,
    redis: &mut redis::aio::MultiplexedConnection,
    skus: &[String],
) -> anyhow::Result<Vec<(String, Counted)>> {
    let mut command = redis::cmd("EVAL");
    command.arg(COUNTERS).arg(0).arg(skus);
    let reply: Vec<String> = command.query_async(redis).await?;
    let (counters, open) = reply.split_at_checked(skus.len()).unwrap_or((&reply, &[]));
    let ids: Vec<Uuid> = open.chunks(3).filter_map(|line| line.get(1)?.parse().ok()).collect();
    let taken_out: BTreeSet<String> = databases.taken_out(&ids).await?.into_iter().collect();
    let mut reserved: BTreeMap<&str, i64> = BTreeMap::new();
    for line in open.chunks(3) {
        if let [sku, id, quantity] = line
            && !taken_out.contains(id)
        {
            *reserved.entry(sku).or_default() += quantity.parse::<i64>()?;
        }
    }
    let on_hand = databases.on_hand(skus).await?;
    let counted = skus.iter().zip(counters).map(|(sku, counter)| {
        let counter = if counter.is_empty() { None } else { Some(counter.parse()?) };
        let reserved = reserved.get(sku.as_str()).copied().unwrap_or(0);
        Ok((sku.clone(), Counted { counter, reserved, on_hand: on_hand.get(sku).copied().unwrap_or(0) }))
    });
    counted.collect()
}
