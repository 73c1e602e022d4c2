//! Builds that cannot work: refused before they serve, or given up soon after; the old one never stops.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use swiftcart_support::eventually;

use crate::builds;
use crate::load::{self, Load};
use crate::stage;
use crate::world::{SETTLED, SOON, World, text};

/// Sends an update to a build that must not serve, and waits for the word about it; the old build serves all the while.
async fn refused(world: &World, url: &str, reference: &str, reason: &str) -> anyhow::Result<()> {
    let load = calls(world, url);
    let (mark, before) = (world.events.mark(), world.digest(0, "greeter").await?);
    // The acknowledgement may come before the refusal is known: the event tells.
    let said = world.wash.run(&["update", "component", "greeter", reference]).await?;
    let failed = world
        .events
        .wait(mark, SOON, "component_scale_failed", |event| event.says("component_id", "greeter"))
        .await
        .with_context(|| said.to_string())?;
    let error = failed.data()["error"].as_str().unwrap_or_default();
    ensure!(error.contains(reason), "the reason does not name `{reason}`: {error}");
    let answers = load.end().await?;
    eprintln!("refused ({error}): {}", load::summary(&answers));
    ensure!(load::failed(&answers).is_empty(), "{:?}", load::failed(&answers).first());
    ensure!(world.digest(0, "greeter").await? == before, "other code serves now");
    let listed = world.component(world.a(), "greeter").await?.context("it is gone")?;
    ensure!(listed["image_ref"] != reference, "the inventory says that the refused build runs: {listed}");
    ensure!(stage::told(world, url).await?["build"] == "0001");
    Ok(())
}

fn calls(world: &World, url: &str) -> Load {
    let (http, url) = (world.http.clone(), url.to_owned());
    Load::start(200, move |_| {
        let (http, url) = (http.clone(), url.clone());
        async move {
            let answer = http.get(url).send().await.map_err(|error| format!("{error:#}"))?;
            let (status, body) = (answer.status(), answer.text().await.map_err(|error| format!("{error:#}"))?);
            if status == 200 { Ok(body) } else { Err(format!("{status}: {body}")) }
        }
    })
}

/// Goal: a link leads to the component, so a build without that export is refused, and the refusal names the export. Method: `echo` in the greeter's place.
pub(crate) async fn a_build_without_an_export_is_refused(world: &mut World) -> anyhow::Result<()> {
    let url = stage::greeter_on_the_web(world, 1).await?;
    let echo = builds::copy(&world.built.guests.join("echo.wasm"), &world.folder("builds")?, "no-export")?;
    refused(world, &url, &echo.reference(), "wasi:http/incoming-handler").await
}

/// Goal: a build that imports what no link grants is refused, and the refusal names the import. Method: `caller`, whose import has no link here.
pub(crate) async fn a_build_with_an_unlinked_import_is_refused(world: &mut World) -> anyhow::Result<()> {
    let url = stage::greeter_on_the_web(world, 1).await?;
    let reference = format!("file://{}", text(&world.built.guests.join("caller.wasm")));
    refused(world, &url, &reference, "test:calls/echo").await
}

/// Goal: what only shows in operation is undone by the host itself: a build that traps on every call is given up within seconds, the build before serves
/// again, and events and inventory say so. Method: calls in a loop round the update; after the host's word none fails.
pub(crate) async fn a_build_that_traps_is_rolled_back(world: &mut World) -> anyhow::Result<()> {
    let url = stage::greeter_on_the_web(world, 1).await?;
    let good = stage::greeter(world, 1)?;
    let bad = builds::trapping_greeter(&world.built.guests, &world.folder("builds")?, 2)?;
    let load = calls(world, &url);
    let mark = world.events.mark();
    let began = std::time::Instant::now();
    world.wash.run(&["update", "component", "greeter", &bad.reference()]).await?.success()?;
    let failed = world
        .events
        .wait(mark, SETTLED, "component_scale_failed", |event| event.says("component_id", "greeter"))
        .await?;
    ensure!(failed.data()["error"].as_str().is_some_and(|error| !error.is_empty()), "{}", failed.data());
    eventually(SOON, "the good build to be told", || {
        let told = world.events.after(mark).into_iter().rev().find(|event| event.name == "component_scaled");
        let image = told.map_or(Value::Null, |event| event.data()["image_ref"].clone());
        std::future::ready(if image == good.reference() {
            Ok(())
        } else {
            Err(anyhow::anyhow!("the last event says {image}"))
        })
    })
    .await?;
    let back = std::time::Instant::now();
    // For a while more: whatever is sent from now on must be answered by the good build.
    eventually(SOON, "200 good answers in a row", async || {
        for _ in 0..200 {
            ensure!(stage::told(world, &url).await?["build"] == "0001");
        }
        Ok(())
    })
    .await?;
    let answers = load.end().await?;
    eprintln!("rolled back {:?} after the update: {}", back - began, load::summary(&answers));
    let late = answers.iter().filter(|answer| answer.sent > back && answer.outcome.is_err()).count();
    ensure!(late == 0, "{late} requests failed after the host said that the good build serves");
    ensure!(world.digest(0, "greeter").await? == Some(good.digest.clone()), "other code serves");
    let listed = world.component(world.a(), "greeter").await?.context("it is gone")?;
    ensure!(listed["image_ref"] == good.reference(), "{listed}");
    Ok(())
}
