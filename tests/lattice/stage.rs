//! What many cases begin with, put there by the real `wash`. Invariant: ids are the same everywhere: `greeter`, `web`, `caller`, `echo`.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use swiftcart_support::eventually;

use crate::builds::{self, Build};
use crate::world::{SOON, World, text};

/// A build of the greeter.
pub(crate) fn greeter(world: &World, build: u32) -> anyhow::Result<Build> {
    builds::greeter(&world.built.guests, &world.folder("builds")?, build)
}

/// Starts a component on a host.
pub(crate) async fn start(world: &World, host: &str, reference: &str, id: &str, more: &[&str]) -> anyhow::Result<()> {
    let mut arguments = vec!["start", "component", reference, id, "--host-id", host, "--max-instances", "64"];
    arguments.extend(more);
    world.wash.run(&arguments).await?.success().map(drop)
}

/// Starts an edge on a host in front of a component that is open to everybody; gives its URL.
pub(crate) async fn web(world: &World, host: usize, id: &str, target: &str) -> anyhow::Result<String> {
    world.put_configs().await?;
    world.lattice.put_config("open", &[("public_paths", "GET /*,POST /*")]).await?;
    let host_id = world.hosts[host].id();
    let arguments =
        ["start", "provider", "wasmcloud+builtin://http-server", id, "--host-id", host_id, "--config", "edge"];
    world.wash.run(&arguments).await?.success()?;
    let arguments =
        ["link", "put", id, target, "wasi", "http", "--interface", "incoming-handler", "--source-config", "open"];
    world.wash.run(&arguments).await?.success()?;
    world.edge(host, id).await
}

/// A greeter of this build on the first host behind an edge; gives the edge's URL.
pub(crate) async fn greeter_on_the_web(world: &World, build: u32) -> anyhow::Result<String> {
    start(world, world.a(), &greeter(world, build)?.reference(), "greeter", &[]).await?;
    let url = web(world, 0, "web", "greeter").await?;
    eventually(SOON, "the greeter to answer", async || {
        let told = told(world, &url).await?;
        ensure!(told["build"] == format!("{build:04}"), "{told}");
        Ok(())
    })
    .await?;
    Ok(url)
}

/// What a greeter says of itself over HTTP.
pub(crate) async fn told(world: &World, url: &str) -> anyhow::Result<Value> {
    let answer = world.http.get(url).send().await?;
    let (status, body) = (answer.status(), answer.text().await?);
    ensure!(status == 200, "{status}: {body}");
    serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))
}

/// What a greeter says when `wash call` asks it.
pub(crate) async fn called(world: &World) -> anyhow::Result<String> {
    // The wRPC 0.29 inside wash may publish a call before its own subscription to the answer is there; such a call never ends. A hang of the host
    // would hang each time.
    const TRIES: u32 = 3;
    for _ in 0..TRIES {
        let calling = world.wash.run(&["call", "greeter", "test:greeting/greet.hello"]);
        if let Ok(said) = tokio::time::timeout(SOON, calling).await {
            return Ok(said?.success()?.stdout);
        }
    }
    anyhow::bail!("`wash call` hung {TRIES} times, {SOON:?} each")
}

/// `caller` on the first host behind an edge, linked to `echo`; gives the edge's URL. Where `echo` runs is up to the case.
pub(crate) async fn caller_on_the_web(world: &World) -> anyhow::Result<String> {
    link_caller(world).await?;
    let guest = world.built.guests.join("caller.wasm");
    start(world, world.a(), &format!("file://{}", text(&guest)), "caller", &[]).await?;
    web(world, 0, "web", "caller").await
}

/// The link from `caller` to `echo`.
pub(crate) async fn link_caller(world: &World) -> anyhow::Result<()> {
    let arguments = ["link", "put", "caller", "echo", "test", "calls", "--interface", "echo"];
    world.wash.run(&arguments).await?.success().map(drop)
}

/// Starts `echo` on a host.
pub(crate) async fn echo(world: &World, host: &str) -> anyhow::Result<()> {
    start(world, host, &format!("file://{}", text(&world.built.guests.join("echo.wasm"))), "echo", &[]).await
}

/// What `caller` says to an operation: status and body.
pub(crate) async fn call(world: &World, url: &str, operation: &Value) -> anyhow::Result<(u16, Value)> {
    let answer = world.http.post(url).json(operation).send().await?;
    let (status, body) = (answer.status().as_u16(), answer.text().await?);
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
}
