//! `swiftcart:redis/scripts` over `providers/redis`.

use swiftcart_provider_redis as redis;

use super::bindings::swiftcart::redis::scripts::{Error, Host, Item, Script};
use crate::runtime::Guest;

impl Host for Guest {
    async fn run(
        &mut self,
        script: Script,
        keys: Vec<String>,
        arguments: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Item>, Error>> {
        let client = self.grants.redis.clone().ok_or_else(|| super::not_granted(self, "swiftcart:redis/scripts"))?;
        let script = redis::Script { name: script.name, source: script.source };
        let point = self.point(|| format!("redis {}", script.name));
        let (refused, lost) = (redis::Error::Unavailable, redis::Error::Uncertain);
        Ok(match point.around(client.run_script(&script, &keys, &arguments), refused, lost).await {
            Ok(items) => Ok(items.into_iter().map(item).collect()),
            Err(redis::Error::Unavailable(reason)) => Err(Error::Unavailable(reason)),
            Err(redis::Error::Uncertain(reason)) => Err(Error::Uncertain(reason)),
            Err(redis::Error::Invalid(reason)) => Err(Error::Invalid(reason)),
        })
    }
}

fn item(item: redis::Item) -> Item {
    match item {
        redis::Item::Nil => Item::Nil,
        redis::Item::Integer(number) => Item::Integer(number),
        redis::Item::Text(text) => Item::Text(text),
    }
}
