//! `redis`.

use bytes::Bytes;
use serde_json::json;
use swiftcart_support::service::Redis;
use swiftcart_support::tools::Wanted;

use crate::bindings::swiftcart::redis::scripts::{Error as ScriptError, Item, Script};
use crate::bindings::wrpc::keyvalue::store::{Error, KeyResponse};
use crate::stage::{Stage, link};

const PROGRAM: &str = env!("CARGO_BIN_EXE_swiftcart-redis-provider");
const STORE: &str = "wrpc:keyvalue/store@0.2.0-draft";
const BATCH: &str = "wrpc:keyvalue/batch@0.2.0-draft";
const ATOMICS: &str = "wrpc:keyvalue/atomics@0.2.0-draft";

type Found = Vec<Option<(String, Bytes)>>;

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Goal: scripts and plain keys over one client, whose address only one of the two links names; an interface that no link names is refused.
/// Method: links in the host's data, so that they are there from the start.
#[tokio::test(flavor = "multi_thread")]
async fn redis_serves_scripts_and_keys() {
    let stage = Stage::build(Wanted { redis: true, ..Stage::NOTHING }).await;
    let server = Redis::start_in(&stage.place, stage.installed.redis_server.as_ref().unwrap()).await.unwrap();
    let links = json!([
        link("shelf", "kv", "swiftcart:redis", &["scripts"], json!({"url": server.url()})),
        link("shelf", "kv", "wasi:keyvalue", &["store", "batch"], json!({})),
    ]);
    let provider = stage.start(PROGRAM, "kv", json!({}), links).await;

    let script = Script { name: "pair".to_owned(), source: "return {KEYS[1], ARGV[1], 7, false}".to_owned() };
    let parameters = (script, words(&["k"]), words(&["v"]));
    let (items,): (Result<Vec<Item>, ScriptError>,) =
        stage.call("shelf", "kv", "swiftcart:redis/scripts@0.1.0", "run", parameters).await.unwrap();
    let items = items.unwrap();
    assert!(
        matches!(items.as_slice(), [Item::Text(k), Item::Text(v), Item::Integer(7), Item::Nil] if k == "k" && v == "v")
    );

    let bucket = "b".to_owned();
    let pairs = vec![("one".to_owned(), Bytes::from_static(&[0, 1])), ("two".to_owned(), Bytes::new())];
    let (set,): (Result<(), Error>,) =
        stage.call("shelf", "kv", BATCH, "set-many", (bucket.clone(), pairs.clone())).await.unwrap();
    set.unwrap();
    let keys = words(&["two", "none", "one"]);
    let (found,): (Result<Found, Error>,) =
        stage.call("shelf", "kv", BATCH, "get-many", (bucket.clone(), keys)).await.unwrap();
    assert_eq!(found.unwrap(), [Some(pairs[1].clone()), None, Some(pairs[0].clone())]);
    let (value,): (Result<Option<Bytes>, Error>,) =
        stage.call("shelf", "kv", STORE, "get", (bucket.clone(), "one".to_owned())).await.unwrap();
    assert_eq!(value.unwrap(), Some(pairs[0].1.clone()));
    // Another bucket is another set of keys.
    let (exists,): (Result<bool, Error>,) =
        stage.call("shelf", "kv", STORE, "exists", ("default".to_owned(), "one".to_owned())).await.unwrap();
    assert!(!exists.unwrap());
    let (listed,): (Result<KeyResponse, Error>,) =
        stage.call("shelf", "kv", STORE, "list-keys", (bucket.clone(), None::<u64>)).await.unwrap();
    let mut listed = listed.unwrap().keys;
    listed.sort();
    assert_eq!(listed, ["one", "two"]);

    let (counted,): (Result<u64, Error>,) =
        stage.call("shelf", "kv", ATOMICS, "increment", (bucket.clone(), "n".to_owned(), 1_u64)).await.unwrap();
    assert!(matches!(counted, Err(Error::AccessDenied)), "{counted:?}");
    let (stranger,): (Result<Option<Bytes>, Error>,) =
        stage.call("stranger", "kv", STORE, "get", (bucket, "one".to_owned())).await.unwrap();
    assert!(matches!(stranger, Err(Error::AccessDenied)), "{stranger:?}");
    assert!(provider.end().await.success());
}
