//! Links at run time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::eventually;

use crate::stage;
use crate::world::{SOON, World};

fn join() -> Value {
    json!({"join": {"left": "a", "right": "b", "times": 2}})
}

/// Goal: put, query and delete change what all hosts know, and say so; deleting again does no harm. Method: the verbs, the bucket, the events.
pub(crate) async fn a_link_is_put_listed_and_deleted(world: &mut World) -> anyhow::Result<()> {
    let mark = world.events.mark();
    stage::link_caller(world).await?;
    let event = world.events.wait(mark, SOON, "linkdef_set", |event| event.says("source_id", "caller")).await?;
    let data = event.data();
    ensure!(
        data["target"] == "echo" && data["wit_package"] == "calls" && data["interfaces"] == json!(["echo"]),
        "{data}"
    );
    let listed = world.wash.ok(&["link", "query"]).await?.to_string();
    ensure!(listed.contains("caller") && listed.contains("echo"), "{listed}");
    let links = world.lattice.links().await?;
    ensure!(links.len() == 1 && links[0]["source_id"] == "caller" && links[0]["name"] == "default", "{links:?}");
    let stored = world.lattice.stored_component("caller").await?.context("nothing is stored")?;
    ensure!(stored["links"][0]["target"] == "echo", "{stored}");

    for _ in 0..2 {
        let mark = world.events.mark();
        world.wash.run(&["link", "del", "caller", "test", "calls"]).await?.success()?;
        world.events.wait(mark, SOON, "linkdef_deleted", |event| event.says("source_id", "caller")).await?;
        ensure!(world.lattice.links().await?.is_empty(), "the link is still there");
    }
    // A config that is not there cannot be meant.
    let arguments =
        ["link", "put", "caller", "echo", "test", "calls", "--interface", "echo", "--target-config", "not-there"];
    let said = world.wash.run(&arguments).await?;
    ensure!(said.code != Some(0) || world.lattice.links().await?.is_empty(), "a link with an unknown config: {said}");
    Ok(())
}

/// Goal: one import has one target. Method: a second target under the same name is refused, under another name taken, and the first one again is fine.
pub(crate) async fn a_second_target_for_one_import_is_refused(world: &mut World) -> anyhow::Result<()> {
    stage::link_caller(world).await?;
    let other = ["link", "put", "caller", "elsewhere", "test", "calls", "--interface", "echo"];
    let mark = world.events.mark();
    world.wash.refused(&other).await?;
    world.events.wait(mark, SOON, "linkdef_set_failed", |event| event.says("source_id", "caller")).await?;
    let targets: Vec<Value> = world.lattice.links().await?.iter().map(|link| link["target"].clone()).collect();
    ensure!(targets == [json!("echo")], "{targets:?}");
    let named: Vec<&str> = other.into_iter().chain(["--link-name", "second"]).collect();
    world.wash.run(&named).await?.success()?;
    stage::link_caller(world).await?;
    let links = world.lattice.links().await?;
    ensure!(links.len() == 2, "{links:?}");
    Ok(())
}

/// Goal: links come and go while calls flow: with the link every call works, without it the caller gets a failure and not a hang. Method: other links
/// of the same lattice change all the while; then the used link is deleted and put again.
pub(crate) async fn links_change_while_calls_flow(world: &mut World) -> anyhow::Result<()> {
    stage::echo(world, world.a()).await?;
    let url = stage::caller_on_the_web(world).await?;
    let works = async || {
        eventually(SOON, "the call to work", async || {
            let (status, answer) = stage::call(world, &url, &join()).await?;
            ensure!(status == 200 && answer == "abab", "{status}: {answer}");
            Ok(())
        })
        .await
    };
    works().await?;
    let stop = Arc::new(AtomicBool::new(false));
    let calls = {
        let (http, url, stop) = (world.http.clone(), url.clone(), stop.clone());
        tokio::spawn(async move {
            let mut count = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let status = http.post(&url).json(&join()).send().await?.status();
                ensure!(status == 200, "call {count}: {status}");
                count += 1;
            }
            anyhow::Ok(count)
        })
    };
    for number in 0..10 {
        let name = format!("other-{number}");
        let put = ["link", "put", "caller", "elsewhere", "test", "others", "--interface", "echo", "--link-name", &name];
        world.wash.run(&put).await?.success()?;
    }
    stop.store(true, Ordering::Relaxed);
    let calls = calls.await?.context("a call failed while other links changed")?;
    ensure!(calls >= 10, "only {calls} calls: that shows nothing");

    world.wash.run(&["link", "del", "caller", "test", "calls"]).await?.success()?;
    eventually(SOON, "calls to fail", async || {
        let (status, answer) = stage::call(world, &url, &join()).await?;
        ensure!(matches!(status, 500 | 502 | 503), "{status}: {answer}");
        Ok(())
    })
    .await?;
    stage::link_caller(world).await?;
    works().await
}
