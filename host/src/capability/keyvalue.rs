//! `wasi:keyvalue/{store,atomics,batch}@0.2.0-draft` over `providers/redis`. A bucket is a prefix of keys: `""` and `default` have none,
//! bucket `b` holds the keys `b:<key>`. Defined by hand because no crate carries the host's side of this draft over a real store.

use std::future::Future;
use std::sync::Arc;

use swiftcart_provider_redis::{Error as RedisError, Redis};
use wasmtime::component::{ComponentType, Linker, Lower, Resource, ResourceType};
use wasmtime::{Result, StoreContextMut};

use crate::runtime::Guest;

const STORE: &str = "wasi:keyvalue/store@0.2.0-draft";
const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft";
const BATCH: &str = "wasi:keyvalue/batch@0.2.0-draft";

/// What the guest holds as a `bucket`.
struct Bucket {
    prefix: String,
}

impl Bucket {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    #[allow(dead_code, reason = "the contract has the case; the link decides about access before the guest runs")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct KeyResponse {
    keys: Vec<String>,
    cursor: Option<u64>,
}

type Answer<T> = Result<(std::result::Result<T, Error>,)>;
type Pending<'a, T> = Box<dyn Future<Output = Answer<T>> + Send + 'a>;

fn answer<T>(outcome: std::result::Result<T, RedisError>) -> Answer<T> {
    Ok((outcome.map_err(|error| Error::Other(error.to_string())),))
}

fn client(store: &StoreContextMut<'_, Guest>) -> Result<Arc<Redis>> {
    store.data().grants.redis.clone().ok_or_else(|| super::not_granted(store.data(), "wasi:keyvalue"))
}

/// A command, as an effect of the call that the guest serves.
fn effect<T, F>(
    store: &StoreContextMut<'_, Guest>,
    name: &'static str,
    command: F,
) -> impl Future<Output = std::result::Result<T, RedisError>> + use<T, F>
where
    F: Future<Output = std::result::Result<T, RedisError>>,
{
    let point = store.data().point(|| format!("keyvalue {name}"));
    point.around(command, RedisError::Unavailable, RedisError::Uncertain)
}

/// The client and the full key, both owned, so that nothing of the store is held while waiting.
fn one(store: &StoreContextMut<'_, Guest>, bucket: &Resource<Bucket>, key: &str) -> Result<(Arc<Redis>, String)> {
    Ok((client(store)?, store.data().table.get(bucket)?.key(key)))
}

/// Defines `store`.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub fn add_store(linker: &mut Linker<Guest>) -> Result<()> {
    let mut instance = linker.instance(STORE)?;
    instance.resource("bucket", ResourceType::host::<Bucket>(), |mut store, rep| {
        store.data_mut().table.delete(Resource::<Bucket>::new_own(rep))?;
        Ok(())
    })?;
    instance.func_wrap("open", |mut store: StoreContextMut<'_, Guest>, (identifier,): (String,)| {
        if identifier.contains([':', '*', '?', '[', ' ']) {
            return Ok((Err(Error::NoSuchStore),));
        }
        let prefix =
            if identifier.is_empty() || identifier == "default" { String::new() } else { format!("{identifier}:") };
        Ok((Ok(store.data_mut().table.push(Bucket { prefix })?),))
    })?;
    instance.func_wrap_async(
        "[method]bucket.get",
        |store, (bucket, key): (Resource<Bucket>, String)| -> Pending<'_, Option<Vec<u8>>> {
            Box::new(async move {
                let (redis, key) = one(&store, &bucket, &key)?;
                answer(effect(&store, "get", redis.get(&key)).await)
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.set",
        |store, (bucket, key, value): (Resource<Bucket>, String, Vec<u8>)| -> Pending<'_, ()> {
            Box::new(async move {
                let (redis, key) = one(&store, &bucket, &key)?;
                answer(effect(&store, "set", redis.set(&key, &value)).await)
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.delete",
        |store, (bucket, key): (Resource<Bucket>, String)| -> Pending<'_, ()> {
            Box::new(async move {
                let (redis, key) = one(&store, &bucket, &key)?;
                answer(effect(&store, "delete", redis.delete(&key)).await.map(|_| ()))
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.exists",
        |store, (bucket, key): (Resource<Bucket>, String)| -> Pending<'_, bool> {
            Box::new(async move {
                let (redis, key) = one(&store, &bucket, &key)?;
                answer(effect(&store, "exists", redis.exists(&key)).await)
            })
        },
    )?;
    instance.func_wrap_async(
        "[method]bucket.list-keys",
        |store, (bucket, cursor): (Resource<Bucket>, Option<u64>)| -> Pending<'_, KeyResponse> {
            Box::new(async move {
                let redis = client(&store)?;
                let prefix = store.data().table.get(&bucket)?.prefix.clone();
                let page = effect(&store, "list-keys", redis.list_keys(cursor)).await.map(|page| KeyResponse {
                    keys: page.keys.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect(),
                    cursor: page.cursor,
                });
                answer(page)
            })
        },
    )
}

/// Defines `atomics`.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub fn add_atomics(linker: &mut Linker<Guest>) -> Result<()> {
    linker.instance(ATOMICS)?.func_wrap_async(
        "increment",
        |store, (bucket, key, delta): (Resource<Bucket>, String, u64)| -> Pending<'_, u64> {
            Box::new(async move {
                let (redis, key) = one(&store, &bucket, &key)?;
                let Ok(delta) = i64::try_from(delta) else {
                    return Ok((Err(Error::Other("the delta is too large".to_owned())),));
                };
                let outcome = effect(&store, "increment", redis.increment(&key, delta)).await;
                Ok((match outcome.map(u64::try_from) {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(_)) => Err(Error::Other("the value is below zero".to_owned())),
                    Err(error) => Err(Error::Other(error.to_string())),
                },))
            })
        },
    )
}

/// Defines `batch`.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub fn add_batch(linker: &mut Linker<Guest>) -> Result<()> {
    let mut instance = linker.instance(BATCH)?;
    type Found = Vec<Option<(String, Vec<u8>)>>;
    instance.func_wrap_async(
        "get-many",
        |store, (bucket, keys): (Resource<Bucket>, Vec<String>)| -> Pending<'_, Found> {
            Box::new(async move {
                let (redis, full) = many(&store, &bucket, &keys)?;
                let found = effect(&store, "get-many", redis.get_many(&full)).await.map(|values| {
                    keys.into_iter().zip(values).map(|(key, found)| found.map(|(_, value)| (key, value))).collect()
                });
                answer(found)
            })
        },
    )?;
    instance.func_wrap_async(
        "set-many",
        |store, (bucket, pairs): (Resource<Bucket>, Vec<(String, Vec<u8>)>)| -> Pending<'_, ()> {
            Box::new(async move {
                let redis = client(&store)?;
                let full: Vec<(String, Vec<u8>)> = {
                    let bucket = store.data().table.get(&bucket)?;
                    pairs.into_iter().map(|(key, value)| (bucket.key(&key), value)).collect()
                };
                answer(effect(&store, "set-many", redis.set_many(&full)).await)
            })
        },
    )?;
    instance.func_wrap_async(
        "delete-many",
        |store, (bucket, keys): (Resource<Bucket>, Vec<String>)| -> Pending<'_, ()> {
            Box::new(async move {
                let (redis, full) = many(&store, &bucket, &keys)?;
                answer(effect(&store, "delete-many", redis.delete_many(&full)).await.map(|_| ()))
            })
        },
    )
}

fn many(
    store: &StoreContextMut<'_, Guest>,
    bucket: &Resource<Bucket>,
    keys: &[String],
) -> Result<(Arc<Redis>, Vec<String>)> {
    let bucket = store.data().table.get(bucket)?;
    Ok((client(store)?, keys.iter().map(|key| bucket.key(key)).collect()))
}
