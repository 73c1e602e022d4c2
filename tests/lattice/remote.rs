//! Calls that leave the host.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_tests::calls::{self, LARGE};

use crate::stage;
use crate::world::{SOON, World};

/// The same outcome in other words is the same outcome: texts of errors are for people, and name another place.
fn outcome(answer: &Value) -> Value {
    match answer {
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                let told = matches!(name.as_str(), "Unavailable" | "Uncertain" | "Unknown" | "traceId" | "detail");
                (name.clone(), if told { json!("(text)") } else { outcome(value) })
            })
            .collect(),
        other => other.clone(),
    }
}

/// Goal: a caller cannot tell where its callee runs. Method: one table of calls; `echo` first on the caller's host, then on the other one.
pub(crate) async fn a_remote_call_is_a_local_call(world: &mut World) -> anyhow::Result<()> {
    world.lattice.put_config("large", &[("body_limit_bytes", "16777216")]).await?;
    stage::echo(world, world.a()).await?;
    let url = stage::caller_on_the_web(world).await?;
    let link = [
        "link",
        "put",
        "web",
        "caller",
        "wasi",
        "http",
        "--interface",
        "incoming-handler",
        "--source-config",
        "open",
        "--source-config",
        "large",
    ];
    world.wash.run(&link).await?.success()?;
    let url = eventually(SOON, "the caller to answer", async || {
        let url = world.edge(0, "web").await.unwrap_or_else(|_| url.clone());
        let (status, answer) = stage::call(world, &url, &calls::same("text", json!("x".repeat(LARGE)))).await?;
        ensure!(status == 200, "{status}: {answer}");
        Ok(url)
    })
    .await?;
    let mut local = Vec::new();
    for call in calls::table() {
        local.push(stage::call(world, &url, &call).await?);
    }
    ensure!(local.iter().filter(|(status, _)| *status == 200).count() >= local.len() - 1, "{local:?}");

    world.wash.run(&["stop", "component", "echo", "--host-id", world.a()]).await?.success()?;
    stage::echo(world, world.b()).await?;
    let (mut differing, mut slowest) = (Vec::new(), Duration::ZERO);
    for (call, near) in calls::table().into_iter().zip(local) {
        let began = Instant::now();
        let far = stage::call(world, &url, &call).await?;
        slowest = slowest.max(began.elapsed());
        if far.0 != near.0 || outcome(&far.1) != outcome(&near.1) {
            let mut shown = format!("{call}: here {} {}, there {} {}", near.0, near.1, far.0, far.1);
            shown.truncate(shown.floor_char_boundary(600));
            differing.push(shown);
        }
    }
    eprintln!("{} calls local and remote; the slowest remote one took {slowest:?}", calls::table().len());
    ensure!(differing.is_empty(), "{} calls differ:\n{}", differing.len(), differing.join("\n"));
    // The trace goes along.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = world.http.post(&url).header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    let answer = request.json(&json!({"echo_trace": {}})).send().await?.text().await?;
    ensure!(answer.contains(trace), "another trace over there: {answer}");
    Ok(())
}

/// Goal: the same component on two hosts is one component: outside calls reach both, and a caller's own host is preferred. Method: count by trap: which
/// host worked shows in its admin metrics.
pub(crate) async fn hosts_with_the_same_component_share_its_calls(world: &mut World) -> anyhow::Result<()> {
    let folder = world.folder("builds")?;
    // Two builds under one id, so that an answer tells which host gave it.
    let (one, two) = (stage::greeter(world, 1)?, stage::greeter(world, 2)?);
    ensure!(folder.exists() && one.digest != two.digest);
    stage::start(world, world.a(), &one.reference(), "greeter", &[]).await?;
    stage::start(world, world.b(), &two.reference(), "greeter", &[]).await?;
    let mut answered = BTreeSet::new();
    for _ in 0..40 {
        let said = stage::called(world).await?;
        answered.extend(["0001", "0002"].into_iter().filter(|build| said.contains(build)));
        if answered.len() == 2 {
            break;
        }
    }
    ensure!(answered.len() == 2, "only {answered:?} answered 40 calls");
    let url = stage::web(world, 0, "web", "greeter").await?;
    for _ in 0..50 {
        let told = eventually(SOON, "an answer", async || stage::told(world, &url).await).await?;
        ensure!(told["build"] == "0001", "the edge's own host was not preferred: {told}");
    }
    Ok(())
}

/// Goal: a link to what runs nowhere is a failure in time, in the contract's words, and heals by itself. Method: `echo` is stopped, asked, started.
pub(crate) async fn a_callee_that_is_nowhere_is_told_in_time(world: &mut World) -> anyhow::Result<()> {
    stage::echo(world, world.b()).await?;
    let url = stage::caller_on_the_web(world).await?;
    let call = json!({"with_words": {"conduct": "Answer"}});
    let works = async || {
        eventually(SOON, "the call to work", async || {
            let (status, answer) = stage::call(world, &url, &call).await?;
            ensure!(status == 200 && answer == json!({"Ok": 0}), "{status}: {answer}");
            Ok(())
        })
        .await
    };
    works().await?;
    world.wash.run(&["stop", "component", "echo", "--host-id", world.b()]).await?.success()?;
    let began = Instant::now();
    let (status, answer) = stage::call(world, &url, &call).await?;
    let told = answer.pointer("/Err/Unavailable").and_then(Value::as_str);
    ensure!(status == 200 && told.is_some(), "{status}: {answer}");
    ensure!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    stage::echo(world, world.b()).await.context("starting it again")?;
    works().await
}
