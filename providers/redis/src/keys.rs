//! Plain keys, for `wasi:keyvalue` (store, atomics, batch). Keys are text, values are bytes.

use redis::{FromRedisValue, Value};

use crate::client::Redis;
use crate::error::{Effect, Error};
use crate::limits::{MAX_KEYS, SCAN_COUNT};

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Keys, in no order. A page may be empty before the last one, and a key may be met twice: so is SCAN.
    pub keys: Vec<String>,
    /// Where the next page starts; none after the last page.
    pub cursor: Option<u64>,
}

impl Redis {
    /// The value of a key.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        read(self.call("get", redis::cmd("GET").arg(key), Effect::Reads).await?)
    }

    /// Sets a key, whatever it held.
    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.call("set", redis::cmd("SET").arg(key).arg(value), Effect::Writes).await.map(drop)
    }

    /// Removes a key if it is there.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        self.call("delete", redis::cmd("DEL").arg(key), Effect::Writes).await.map(drop)
    }

    /// Whether a key is there.
    pub async fn exists(&self, key: &str) -> Result<bool, Error> {
        read(self.call("exists", redis::cmd("EXISTS").arg(key), Effect::Reads).await?)
    }

    /// Adds to a whole number atomically and gives the sum. A key that is not there counts as 0.
    pub async fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        read(self.call("increment", redis::cmd("INCRBY").arg(key).arg(delta), Effect::Writes).await?)
    }

    /// The pairs of several keys at one moment, in the order of `keys`; none where a key is not there or holds no plain value.
    pub async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<(String, Vec<u8>)>>, Error> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        within_bounds(keys.len())?;
        let values: Vec<Option<Vec<u8>>> =
            read(self.call("get_many", redis::cmd("MGET").arg(keys), Effect::Reads).await?)?;
        Ok(keys.iter().zip(values).map(|(key, value)| value.map(|value| (key.clone(), value))).collect())
    }

    /// Sets several keys at one moment.
    pub async fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Error> {
        if pairs.is_empty() {
            return Ok(());
        }
        within_bounds(pairs.len())?;
        let mut command = redis::cmd("MSET");
        for (key, value) in pairs {
            command.arg(key).arg(value.as_slice());
        }
        self.call("set_many", &command, Effect::Writes).await.map(drop)
    }

    /// Removes several keys at one moment.
    pub async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        within_bounds(keys.len())?;
        self.call("delete_many", redis::cmd("DEL").arg(keys), Effect::Writes).await.map(drop)
    }

    /// One page of all keys; start with no cursor and go on with the one that the page gives. Keys that are not UTF-8 are left out: they
    /// are not ours.
    pub async fn list_keys(&self, cursor: Option<u64>) -> Result<KeyPage, Error> {
        let command = redis::cmd("SCAN").arg(cursor.unwrap_or(0)).arg("COUNT").arg(SCAN_COUNT).to_owned();
        let (next, keys): (u64, Vec<Vec<u8>>) = read(self.call("list_keys", &command, Effect::Reads).await?)?;
        Ok(KeyPage {
            keys: keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect(),
            cursor: (next != 0).then_some(next),
        })
    }
}

fn within_bounds(count: usize) -> Result<(), Error> {
    if count > MAX_KEYS {
        return Err(Error::Invalid(format!("{count} keys in one call, at most {MAX_KEYS} are allowed")));
    }
    Ok(())
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    T::from_redis_value(value).map_err(|error| Error::Invalid(format!("unexpected reply: {error}")))
}
