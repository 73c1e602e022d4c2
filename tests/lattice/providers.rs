//! Built-in capabilities by the verbs for providers.

use anyhow::{Context as _, ensure};
use swiftcart_support::eventually;

use crate::stage;
use crate::world::{SOON, World};

/// Goal: a built-in is a provider to `wash`: started, listed, linked, stopped, with its events. Method: an edge; HTTP tells whether it serves.
pub(crate) async fn a_builtin_is_started_linked_and_stopped(world: &mut World) -> anyhow::Result<()> {
    let (a, mark) = (world.a().to_owned(), world.events.mark());
    let url = stage::greeter_on_the_web(world, 1).await?;
    let reference = "wasmcloud+builtin://http-server";
    let started = world.events.wait(mark, SOON, "provider_started", |event| event.says("provider_id", "web")).await?;
    let data = started.data();
    ensure!(
        data["image_ref"] == reference && data["host_id"] == a.as_str() && data["annotations"].is_object(),
        "{data}"
    );
    let listed = world.provider(&a, "web").await?.context("it is not in the inventory")?;
    ensure!(listed["image_ref"] == reference, "{listed}");
    world.events.wait(mark, SOON, "health_check_passed", |event| event.says("provider_id", "web")).await?;
    // It runs: a second start is refused.
    world.wash.refused(&["start", "provider", reference, "web", "--host-id", &a]).await?;

    // Without the link the edge leads nowhere; with it again it serves.
    world.wash.run(&["link", "del", "web", "wasi", "http"]).await?.success()?;
    eventually(SOON, "the edge to serve no more", async || {
        ensure!(stage::told(world, &url).await.is_err(), "it serves");
        Ok(())
    })
    .await?;
    let put =
        ["link", "put", "web", "greeter", "wasi", "http", "--interface", "incoming-handler", "--source-config", "open"];
    world.wash.run(&put).await?.success()?;
    eventually(SOON, "the edge to serve again", async || {
        let url = world.edge(0, "web").await?;
        stage::told(world, &url).await.map(drop)
    })
    .await?;

    let (mark, url) = (world.events.mark(), world.edge(0, "web").await?);
    world.wash.run(&["stop", "provider", "web", "--host-id", &a]).await?.success()?;
    let stopped = world.events.wait(mark, SOON, "provider_stopped", |event| event.says("provider_id", "web")).await?;
    ensure!(stopped.data()["reason"].is_string() && stopped.data()["annotations"].is_object(), "{}", stopped.data());
    ensure!(world.provider(&a, "web").await?.is_none(), "it is still in the inventory");
    ensure!(world.http.get(url).send().await.is_err(), "the port is still open");
    Ok(())
}

/// Goal: what cannot start says why. Method: a built-in that nobody has, settings that cannot work, a file that is no provider.
pub(crate) async fn what_is_no_provider_is_refused(world: &mut World) -> anyhow::Result<()> {
    let a = world.a().to_owned();
    let file = world.folder("builds")?.join("no-provider");
    std::fs::write(&file, "this is no program")?;
    world.lattice.put_config("wrong", &[("no_such_setting", "1")]).await?;
    let reference = format!("file://{}", file.display());
    for (id, reference, config) in [
        ("juggler", "wasmcloud+builtin://juggler", None),
        ("kafka", "wasmcloud+builtin://kafka", Some("wrong")),
        ("text", reference.as_str(), None),
    ] {
        let mark = world.events.mark();
        let mut arguments = vec!["start", "provider", reference, id, "--host-id", &a];
        arguments.extend(config.iter().flat_map(|config| ["--config", config]));
        world.wash.refused(&arguments).await?;
        let failed =
            world.events.wait(mark, SOON, "provider_start_failed", |event| event.says("provider_id", id)).await?;
        let data = failed.data();
        ensure!(data["provider_ref"] == reference, "the reference is not as commanded: {data}");
        ensure!(data["error"].as_str().is_some_and(|error| !error.is_empty()), "{data}");
        ensure!(world.provider(&a, id).await?.is_none(), "{id} is in the inventory");
    }
    Ok(())
}
