//! `swiftcart:redis/scripts` and `wasi:keyvalue` over one Redis.

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use swiftcart_support::eventually;

use crate::fixture::{Contract, DEADLINE, unique};

fn script(source: &str, keys: &[&str], arguments: &[&str]) -> Value {
    json!({"script": {"script": {"name": "contract", "source": source}, "keys": keys, "arguments": arguments}})
}

fn key_value(bucket: &str, command: Value) -> Value {
    json!({"key_value": {"bucket": bucket, "command": command}})
}

// Goal: replies keep their kinds, and a script is one step. Method: a list of every kind; a read-then-write increment that fifty callers run
// at once and that would lose counts if two could be in it.
pub(crate) async fn scripts_run_atomically_with_their_values(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, key) = (fixture.probe().await?, unique("script"));
    let kinds = probe.run(&script("return {KEYS[1], ARGV[1], 42, false, -1}", &[&key], &["Zoë"])).await?;
    ensure!(
        kinds == json!({"Ok": [{"Text": key}, {"Text": "Zoë"}, {"Integer": 42}, "Nil", {"Integer": -1}]}),
        "{kinds}"
    );
    let increment = script(
        "local n = tonumber(redis.call('GET', KEYS[1]) or '0'); redis.call('SET', KEYS[1], n + 1); return n + 1",
        &[&key],
        &[],
    );
    try_join_all((0..50).map(|_| probe.run(&increment))).await?;
    let end = probe.run(&script("return redis.call('GET', KEYS[1])", &[&key], &[])).await?;
    ensure!(end == json!({"Ok": [{"Text": "50"}]}), "{end}");
    Ok(())
}

// Goal: a script that is wrong is `invalid`. Method: no Lua; an error that it raises; a nested list.
pub(crate) async fn script_errors_are_told_apart(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    for source in ["return (", "return redis.error_reply('NO')", "return {1, {2}}", "return redis.call('NOSUCH')"] {
        let answer = probe.run(&script(source, &[], &[])).await?;
        ensure!(answer.pointer("/Err/Invalid").is_some(), "{source} -> {answer}");
    }
    Ok(())
}

// Goal: every function of the three interfaces does what its contract says, and buckets are apart. Method: each once, the result read back by
// another.
pub(crate) async fn keyvalue_stores_counts_and_lists(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let bucket = unique("bucket");
    let steps = [
        (json!({"get": {"key": "a"}}), json!(null)),
        (json!({"set": {"key": "a", "value": [0, 255, 10]}}), json!(null)),
        (json!({"get": {"key": "a"}}), json!([0, 255, 10])),
        (json!({"exists": {"key": "a"}}), json!(true)),
        (json!({"increment": {"key": "n", "delta": 5}}), json!(5)),
        (json!({"increment": {"key": "n", "delta": 2}}), json!(7)),
        (json!({"set_many": {"pairs": [["b", [1]], ["c", [2]]]}}), json!(null)),
        (json!({"get_many": {"keys": ["c", "none", "b"]}}), json!([["c", [2]], null, ["b", [1]]])),
        (json!({"delete_many": {"keys": ["b", "none"]}}), json!(null)),
        (json!({"delete": {"key": "a"}}), json!(null)),
        (json!({"exists": {"key": "a"}}), json!(false)),
    ];
    for (command, expected) in steps {
        let answer = probe.run(&key_value(&bucket, command.clone())).await?;
        ensure!(answer == json!({"Ok": expected}), "{command} -> {answer}");
    }
    let listed = probe.run(&key_value(&bucket, json!({"list_keys": {}}))).await?;
    let mut keys: Vec<&str> =
        listed["Ok"].as_array().with_context(|| listed.to_string())?.iter().filter_map(Value::as_str).collect();
    keys.sort_unstable();
    ensure!(keys == ["c", "n"], "{listed}");
    let other = probe.run(&key_value(&unique("bucket"), json!({"exists": {"key": "c"}}))).await?;
    ensure!(other == json!({"Ok": false}), "another bucket sees it: {other}");
    let whole = probe.run(&key_value("", json!({"exists": {"key": format!("{bucket}:c")}}))).await?;
    ensure!(whole == json!({"Ok": true}), "{whole}");
    let none = probe.run(&key_value("no:such", json!({"exists": {"key": "c"}}))).await?;
    ensure!(none == json!({"Err": "Error::NoSuchStore"}), "{none}");
    Ok(())
}

// Goal: while Redis is away a call says so; when it is back the same host works again, even though it forgot all scripts. Method: stop, ask, start.
pub(crate) async fn a_server_that_is_away_is_unavailable_and_comes_back(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let call = script("return 'here'", &[], &[]);
    ensure!(probe.run(&call).await? == json!({"Ok": [{"Text": "here"}]}));
    fixture.shop.redis.as_mut().context("no Redis")?.stop().await?;
    let away = eventually(DEADLINE, "the failure to be noticed", || async {
        let answer = probe.run(&call).await?;
        ensure!(answer.pointer("/Err/Unavailable").is_some(), "{answer}");
        Ok(answer)
    })
    .await?;
    ensure!(!away.to_string().contains("redis://"), "the address with its password is told: {away}");
    fixture.shop.redis.as_mut().context("no Redis")?.start().await?;
    eventually(DEADLINE, "Redis to be reached again", || async {
        let answer = probe.run(&call).await?;
        ensure!(answer == json!({"Ok": [{"Text": "here"}]}), "{answer}");
        Ok(())
    })
    .await
}
