//! Components by the verbs of `wash`: start, call, scale, update, stop.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use swiftcart_support::eventually;

use crate::builds;
use crate::stage;
use crate::world::{SOON, World, text};

/// Goal: each verb does what it says, and the host's words (event, inventory, stored state) agree. Method: the whole life of a component.
pub(crate) async fn a_component_is_started_called_scaled_and_stopped(world: &mut World) -> anyhow::Result<()> {
    let (a, reference) = (world.a().to_owned(), stage::greeter(world, 1)?.reference());
    let scaled = async |mark: usize, count: u32| {
        let event = world
            .events
            .wait(mark, SOON, "component_scaled", |event| {
                event.says("component_id", "greeter") && event.says("max_instances", count)
            })
            .await?;
        let data = event.data();
        ensure!(data["image_ref"] == reference.as_str() && data["host_id"] == a.as_str(), "{data}");
        ensure!(data["annotations"].is_object() && event.whole["source"] == a.as_str(), "{}", event.whole);
        anyhow::Ok(())
    };

    let mark = world.events.mark();
    let arguments = ["start", "component", &reference, "greeter", "--host-id", &a, "--max-instances", "3"];
    world.wash.run(&arguments).await?.success()?;
    scaled(mark, 3).await?;
    let listed = world.component(&a, "greeter").await?.context("it is not in the inventory")?;
    ensure!(listed["image_ref"] == reference.as_str() && listed["max_instances"] == 3, "{listed}");
    let stored = world.lattice.stored_component("greeter").await?.context("nothing is stored")?;
    ensure!(stored["url"] == reference.as_str() && stored["links"].is_array(), "{stored}");
    ensure!(stage::called(world).await?.contains("0001"), "the call is not answered by build 1");

    let mark = world.events.mark();
    world.wash.run(&["scale", "component", &a, &reference, "greeter", "--max-instances", "7"]).await?.success()?;
    scaled(mark, 7).await?;
    let listed = world.component(&a, "greeter").await?.context("it is not in the inventory")?;
    ensure!(listed["max_instances"] == 7, "{listed}");

    let mark = world.events.mark();
    world.wash.run(&["stop", "component", "greeter", "--host-id", &a]).await?.success()?;
    scaled(mark, 0).await?;
    ensure!(world.component(&a, "greeter").await?.is_none(), "it is still in the inventory");
    ensure!(stage::called(world).await.is_err(), "it still answers");
    Ok(())
}

/// Goal: `wash dev` rebuilds under the same path, so bytes are never remembered by path. Method: other bytes between stop and start.
pub(crate) async fn a_file_is_read_again_at_each_start(world: &mut World) -> anyhow::Result<()> {
    let (a, folder) = (world.a().to_owned(), world.folder("builds")?);
    for build in [11, 12] {
        let made = builds::greeter(&world.built.guests, &folder, build)?;
        let same = builds::copy(&made.path, &folder, "greeter-same")?;
        stage::start(world, &a, &same.reference(), "greeter", &[]).await?;
        let said = stage::called(world).await?;
        ensure!(said.contains(&format!("{build:04}")), "expected build {build}: {said}");
        ensure!(world.digest(0, "greeter").await? == Some(same.digest), "another digest");
        world.wash.run(&["stop", "component", "greeter", "--host-id", &a]).await?.success()?;
    }
    Ok(())
}

/// Goal: what cannot run says why, in the event for which `wash` and wadm wait, and leaves nothing. Method: no file, no component. (Links may come
/// after the start, so an import without a link stops none; see `bad_builds` for what replaces running code.)
pub(crate) async fn what_cannot_start_is_refused_with_the_reason(world: &mut World) -> anyhow::Result<()> {
    let (a, folder) = (world.a().to_owned(), world.folder("builds")?);
    let nonsense = folder.join("nonsense.wasm");
    std::fs::write(&nonsense, "this is no component")?;
    let missing = folder.join("missing.wasm");
    for (file, id, reason) in [(missing, "no-file", "missing.wasm"), (nonsense, "no-code", "")] {
        let mark = world.events.mark();
        let reference = format!("file://{}", text(&file));
        world.wash.refused(&["start", "component", &reference, id, "--host-id", &a]).await?;
        let event =
            world.events.wait(mark, SOON, "component_scale_failed", |event| event.says("component_id", id)).await?;
        let data = event.data();
        ensure!(data["error"].as_str().is_some_and(|error| !error.is_empty() && error.contains(reason)), "{data}");
        ensure!(data["image_ref"] == reference.as_str() && data["annotations"].is_object(), "{data}");
        ensure!(world.component(&a, id).await?.is_none(), "{id} is in the inventory");
    }
    Ok(())
}

/// Goal: after an update the new code answers and nobody else, and the rest of the component stays. Method: `wash update component` twice (the
/// second time to the same reference), then stop: no old code may be left that answers.
pub(crate) async fn an_update_replaces_the_code(world: &mut World) -> anyhow::Result<()> {
    let a = world.a().to_owned();
    let (old, new) = (stage::greeter(world, 1)?, stage::greeter(world, 2)?);
    stage::start(world, &a, &old.reference(), "greeter", &[]).await?;
    let mark = world.events.mark();
    world.wash.run(&["update", "component", "greeter", &new.reference()]).await?.success()?;
    let of_new = |event: &swiftcart_support::lattice::Event| {
        event.says("component_id", "greeter") && event.says("image_ref", new.reference())
    };
    let event = world.events.wait(mark, SOON, "component_scaled", of_new).await?;
    ensure!(event.says("max_instances", 64), "{}", event.data());
    for _ in 0..5 {
        let said = stage::called(world).await?;
        ensure!(said.contains("0002"), "expected build 2: {said}");
    }
    ensure!(world.digest(0, "greeter").await? == Some(new.digest.clone()), "another digest");
    let listed = world.component(&a, "greeter").await?.context("it is not in the inventory")?;
    ensure!(listed["image_ref"] == new.reference() && listed["max_instances"] == 64, "{listed}");
    let zero = world
        .events
        .after(mark)
        .into_iter()
        .find(|event| event.name == "component_scaled" && event.says("max_instances", 0));
    ensure!(zero.is_none(), "an event says that nothing runs: {:?}", zero.map(|event| event.whole));
    world.wash.run(&["update", "component", "greeter", &new.reference()]).await?.success()?;
    world.wash.run(&["stop", "component", "greeter", "--host-id", &a]).await?.success()?;
    eventually(SOON, "the digest to go", async || {
        ensure!(world.digest(0, "greeter").await?.is_none(), "it is still there");
        Ok(())
    })
    .await?;
    ensure!(stage::called(world).await.is_err(), "some code still answers");
    let unknown = world.wash.run(&["update", "component", "nobody", &new.reference()]).await?;
    ensure!(unknown.code != Some(0) || unknown.json().unwrap_or(Value::Null)["success"] == false, "{unknown}");
    Ok(())
}
