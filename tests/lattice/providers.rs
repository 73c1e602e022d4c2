//! Built-in capabilities by the verbs for providers.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;
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
        // An outbox needs no link, so its settings are complete at its start.
        ("outbox", "wasmcloud+builtin://outbox", Some("wrong")),
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

/// What the external provider wrote down, one entry per line.
fn journal(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Waits for an entry after so many others.
async fn written(path: &Path, after: usize, event: &str) -> anyhow::Result<Value> {
    eventually(SOON, &format!("the entry `{event}`"), || {
        let all = journal(path);
        let found = all.iter().skip(after).find(|entry| entry["event"] == event).cloned();
        std::future::ready(found.with_context(|| format!("written: {all:?}")))
    })
    .await
}

/// Goal: somebody else's provider, built on the public SDK, lives under our host as under any: it gets its config, its links and their changes, is
/// watched, started again when it dies, and stopped in good order. Method: it writes down what it hears and answers `wash call`.
pub(crate) async fn an_external_provider_lives_under_our_host(world: &mut World) -> anyhow::Result<()> {
    let (a, path) = (world.a().to_owned(), world.folder("journal")?.join("journal.jsonl"));
    let file = path.display().to_string();
    world.lattice.put_config("journal", &[("journal-file", &file), ("colour", "green")]).await?;
    world.lattice.put_config("manners", &[("greeting", "good evening")]).await?;
    let reference = format!("file://{}", world.journal.display());
    let mark = world.events.mark();
    let start = ["start", "provider", &reference, "journal", "--host-id", &a, "--config", "journal"];
    world.wash.run(&start).await?.success()?;
    let started =
        world.events.wait(mark, SOON, "provider_started", |event| event.says("provider_id", "journal")).await?;
    // `wash` waits for the path without its scheme.
    ensure!(started.data()["image_ref"] == world.journal.display().to_string(), "{}", started.data());
    let first = written(&path, 0, "init").await?;
    ensure!(first["config"]["colour"] == "green", "{first}");
    let secret = world.settings.secrets.iter().find(|(_, value)| first.to_string().contains(value.as_str()));
    ensure!(
        secret.is_none() && !first["environment"].to_string().contains("SWIFTCART"),
        "it sees the host's environment: {first}"
    );
    world.events.wait(mark, SOON, "health_check_passed", |event| event.says("provider_id", "journal")).await?;

    let put = [
        "link",
        "put",
        "somebody",
        "journal",
        "test",
        "journal",
        "--interface",
        "journal",
        "--target-config",
        "manners",
    ];
    world.wash.run(&put).await?.success()?;
    let linked = written(&path, 0, "put-as-target").await?;
    ensure!(linked["source"] == "somebody" && linked["config"]["greeting"] == "good evening", "{linked}");
    let said = world.wash.run(&["call", "journal", "test:journal/journal.read"]).await?.success()?.stdout;
    ensure!(said.contains("put-as-target"), "{said}");
    world.wash.run(&["config", "put", "journal", &format!("journal-file={file}"), "colour=red"]).await?.success()?;
    let changed = written(&path, 0, "config").await?;
    ensure!(changed["config"]["colour"] == "red", "{changed}");
    world.wash.run(&["link", "del", "somebody", "test", "journal"]).await?.success()?;
    written(&path, 0, "del-as-target").await?;

    let before = journal(&path).len();
    let kill = Command::new("kill").args(["-KILL", &first["pid"].to_string()]).status()?;
    ensure!(kill.success(), "the provider was not killed");
    let second = written(&path, before, "init").await?;
    ensure!(second["pid"] != first["pid"] && second["config"]["colour"] == "red", "{second}");

    let mark = world.events.mark();
    world.wash.run(&["stop", "provider", "journal", "--host-id", &a]).await?.success()?;
    world.events.wait(mark, SOON, "provider_stopped", |event| event.says("provider_id", "journal")).await?;
    written(&path, before, "shutdown").await?;
    let process = Path::new("/proc").join(second["pid"].to_string());
    eventually(SOON, "the provider's process to end", || {
        std::future::ready(if process.exists() { Err(anyhow::anyhow!("it runs")) } else { Ok(()) })
    })
    .await
}
