//! `wrpc:keyvalue/{store,atomics,batch}@0.2.0-draft`: what a host makes of `wasi:keyvalue`. A bucket is a prefix of keys, as in the host's own
//! capability: `""` and `default` have none, bucket `b` holds the keys `b:<key>`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use swiftcart_provider_redis::{Error as RedisError, Redis};

use super::KeyValue;
use crate::bindings::wrpc::keyvalue::store::{Error, KeyResponse};
use crate::runtime::{Caller, Clients, NoClient, Server};

const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";
/// Links name what the component imports.
const STORE_LINK: &str = "wasi:keyvalue/store";
const ATOMICS_LINK: &str = "wasi:keyvalue/atomics";
const BATCH_LINK: &str = "wasi:keyvalue/batch";

type Answer<T> = Result<T, Error>;
type Pair = (String, Bytes);
type Answering<T> = Pin<Box<dyn Future<Output = (Answer<T>,)> + Send>>;

/// One call with its way out.
struct Call {
    clients: Arc<Clients<KeyValue>>,
    caller: Caller,
    interface: &'static str,
}

/// A client and what stands before each key.
struct Bucket {
    redis: Redis,
    prefix: String,
}

impl Call {
    async fn bucket(&self, bucket: &str) -> Answer<Bucket> {
        let redis = self.clients.client(&self.caller, self.interface).await.map_err(|none| match none {
            NoClient::NotLinked { .. } => Error::AccessDenied,
            NoClient::Unavailable(reason) => Error::Other(reason),
        })?;
        if bucket.contains([':', '*', '?', '[', ' ']) {
            return Err(Error::NoSuchStore);
        }
        let prefix = if bucket.is_empty() || bucket == "default" { String::new() } else { format!("{bucket}:") };
        Ok(Bucket { redis, prefix })
    }
}

impl Bucket {
    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

/// Makes the handler of a function out of what it does.
fn with<P, T, F, Fut>(
    clients: &Arc<Clients<KeyValue>>,
    interface: &'static str,
    act: F,
) -> impl Fn(Caller, P) -> Answering<T> + Clone + Send + Sync + 'static
where
    P: Send + 'static,
    T: 'static,
    F: Fn(Call, P) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Answer<T>> + Send + 'static,
{
    let clients = clients.clone();
    move |caller, parameters| {
        let call = Call { clients: clients.clone(), caller, interface };
        let answer = act(call, parameters);
        Box::pin(async move { (answer.await,) })
    }
}

/// Serves the three interfaces.
pub(super) async fn serve(server: &Server, clients: &Arc<Clients<KeyValue>>) -> anyhow::Result<()> {
    server.serve(STORE, "get", with(clients, STORE_LINK, get)).await?;
    server.serve(STORE, "set", with(clients, STORE_LINK, set)).await?;
    server.serve(STORE, "delete", with(clients, STORE_LINK, delete)).await?;
    server.serve(STORE, "exists", with(clients, STORE_LINK, exists)).await?;
    server.serve(STORE, "list-keys", with(clients, STORE_LINK, list_keys)).await?;
    server.serve(ATOMICS, "increment", with(clients, ATOMICS_LINK, increment)).await?;
    server.serve(BATCH, "get-many", with(clients, BATCH_LINK, get_many)).await?;
    server.serve(BATCH, "set-many", with(clients, BATCH_LINK, set_many)).await?;
    server.serve(BATCH, "delete-many", with(clients, BATCH_LINK, delete_many)).await
}

fn other(error: RedisError) -> Error {
    Error::Other(error.to_string())
}

async fn get(call: Call, (bucket, key): (String, String)) -> Answer<Option<Bytes>> {
    let bucket = call.bucket(&bucket).await?;
    Ok(bucket.redis.get(&bucket.key(&key)).await.map_err(other)?.map(Bytes::from))
}

async fn set(call: Call, (bucket, key, value): (String, String, Bytes)) -> Answer<()> {
    let bucket = call.bucket(&bucket).await?;
    bucket.redis.set(&bucket.key(&key), &value).await.map_err(other)
}

async fn delete(call: Call, (bucket, key): (String, String)) -> Answer<()> {
    let bucket = call.bucket(&bucket).await?;
    bucket.redis.delete(&bucket.key(&key)).await.map_err(other)
}

async fn exists(call: Call, (bucket, key): (String, String)) -> Answer<bool> {
    let bucket = call.bucket(&bucket).await?;
    bucket.redis.exists(&bucket.key(&key)).await.map_err(other)
}

async fn list_keys(call: Call, (bucket, cursor): (String, Option<u64>)) -> Answer<KeyResponse> {
    let bucket = call.bucket(&bucket).await?;
    let page = bucket.redis.list_keys(cursor).await.map_err(other)?;
    let own = page.keys.iter().filter_map(|key| key.strip_prefix(&bucket.prefix));
    Ok(KeyResponse { keys: own.map(str::to_owned).collect(), cursor: page.cursor })
}

async fn increment(call: Call, (bucket, key, delta): (String, String, u64)) -> Answer<u64> {
    let bucket = call.bucket(&bucket).await?;
    let delta = i64::try_from(delta).map_err(|_| Error::Other("the delta is too large".to_owned()))?;
    let sum = bucket.redis.increment(&bucket.key(&key), delta).await.map_err(other)?;
    u64::try_from(sum).map_err(|_| Error::Other("the value is below zero".to_owned()))
}

async fn get_many(call: Call, (bucket, keys): (String, Vec<String>)) -> Answer<Vec<Option<Pair>>> {
    let bucket = call.bucket(&bucket).await?;
    let full: Vec<String> = keys.iter().map(|key| bucket.key(key)).collect();
    let found = bucket.redis.get_many(&full).await.map_err(other)?;
    Ok(keys.into_iter().zip(found).map(|(key, found)| found.map(|(_, value)| (key, value.into()))).collect())
}

async fn set_many(call: Call, (bucket, pairs): (String, Vec<Pair>)) -> Answer<()> {
    let bucket = call.bucket(&bucket).await?;
    let full: Vec<(String, Vec<u8>)> = pairs.into_iter().map(|(key, value)| (bucket.key(&key), value.into())).collect();
    bucket.redis.set_many(&full).await.map_err(other)
}

async fn delete_many(call: Call, (bucket, keys): (String, Vec<String>)) -> Answer<()> {
    let bucket = call.bucket(&bucket).await?;
    let full: Vec<String> = keys.iter().map(|key| bucket.key(key)).collect();
    bucket.redis.delete_many(&full).await.map_err(other)
}
