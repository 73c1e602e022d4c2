//! Applications by `wash app`, brought about by the real wadm.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::{Value, json};
use swiftcart_support::eventually;

use crate::audit;
use crate::builds::Build;
use crate::load::{self, Load};
use crate::stage;
use crate::world::{SETTLED, World};

/// A greeter behind an edge on host `a`.
pub(crate) fn hello(build: &Build, version: &str) -> Value {
    let on_a = json!([{"name": "on-a", "requirements": {"zone": "a"}}]);
    json!({
        "apiVersion": "core.oam.dev/v1beta1",
        "kind": "Application",
        "metadata": {"name": "hello", "annotations": {"version": version, "description": "A greeter behind an edge"}},
        "spec": {"components": [
            {
                "name": "greeter", "type": "component",
                "properties": {"image": build.reference(), "id": "greeter", "config": [{"name": "words"}]},
                "traits": [{"type": "spreadscaler", "properties": {"instances": 64, "spread": on_a}}],
            },
            {
                "name": "web", "type": "capability",
                "properties": {"image": "wasmcloud+builtin://http-server", "id": "web", "config": [{"name": "edge"}]},
                "traits": [
                    {"type": "spreadscaler", "properties": {"instances": 1, "spread": on_a}},
                    {"type": "link", "properties": {
                        "namespace": "wasi", "package": "http", "interfaces": ["incoming-handler"],
                        "source": {"config": [{"name": "open"}]}, "target": {"name": "greeter"},
                    }},
                ],
            },
        ]},
    })
}

/// Deploys `hello` with this build for the first time; gives its URL.
pub(crate) async fn deploy_hello(world: &World, build: &Build) -> anyhow::Result<String> {
    world.put_configs().await?;
    world.lattice.put_config("open", &[("public_paths", "GET /*")]).await?;
    world.lattice.put_config("words", &[("greeting", "hello")]).await?;
    put(world, build, "0.0.1").await?;
    let url = world.edge(0, "web").await?;
    eventually(SETTLED, "the greeter to answer", async || stage::told(world, &url).await).await?;
    Ok(url)
}

/// Deploys another version of `hello` and waits until wadm says that it is so.
pub(crate) async fn put(world: &World, build: &Build, version: &str) -> anyhow::Result<()> {
    let file = audit::write(world, &format!("hello-{version}"), &hello(build, version))?;
    world.wash.run(&["app", "deploy", &file]).await?.success()?;
    eventually(SETTLED, "the image of the manifest to run", async || {
        let listed = world.component(world.a(), "greeter").await?.unwrap_or_default();
        ensure!(listed["image_ref"] == build.reference(), "{listed}");
        let annotations = &listed["annotations"];
        ensure!(
            annotations["wasmcloud.dev/managed-by"] == "wadm" && annotations["wasmcloud.dev/appspec"] == "hello",
            "{listed}"
        );
        Ok(())
    })
    .await?;
    world.deployed("hello").await
}

/// Goal: `wash app` works from the first deployment to the last trace. Method: deploy, list, status, an upgrade of the image under load, undeploy, delete.
pub(crate) async fn an_application_is_deployed_upgraded_and_undeployed(world: &mut World) -> anyhow::Result<()> {
    let (first, second) = (stage::greeter(world, 1)?, stage::greeter(world, 2)?);
    let url = deploy_hello(world, &first).await?;
    ensure!(stage::told(world, &url).await? == json!({"build": "0001", "greeting": "hello"}));
    let listed = world.wash.ok(&["app", "list"]).await?.to_string();
    ensure!(listed.contains(r#""deployed_version":"0.0.1""#) && listed.contains(r#""name":"hello""#), "{listed}");
    let status = world.wash.ok(&["app", "status", "hello"]).await?;
    ensure!(status.pointer("/status/status/type").is_some_and(|found| found == "deployed"), "{status}");
    ensure!(world.component(world.b(), "greeter").await?.is_none(), "it runs on a host that does not match");

    let load = Load::start(200, {
        let (http, url) = (world.http.clone(), Arc::new(url.clone()));
        move |_| {
            let (http, url) = (http.clone(), url.clone());
            async move {
                let answer = http.get(url.as_str()).send().await.map_err(|error| format!("{error:#}"))?;
                let (status, body) = (answer.status(), answer.text().await.map_err(|error| format!("{error:#}"))?);
                if status == 200 { Ok(body) } else { Err(format!("{status}: {body}")) }
            }
        }
    });
    put(world, &second, "0.0.2").await?;
    let answers = load.end().await?;
    eprintln!("upgrade by wadm: {}", load::summary(&answers));
    ensure!(load::failed(&answers).is_empty(), "{:?}", load::failed(&answers).first());
    ensure!(stage::told(world, &url).await? == json!({"build": "0002", "greeting": "hello"}));

    world.wash.run(&["app", "undeploy", "hello"]).await?.success()?;
    world.nothing_runs().await?;
    ensure!(world.http.get(&url).send().await.is_err(), "the port is still open");
    world.wash.run(&["app", "delete", "hello"]).await?.success()?;
    ensure!(world.lattice.applications().await?.is_empty(), "wadm still knows it");
    Ok(())
}

/// Goal: the production manifest runs the whole shop on two hosts; an order that comes in at either is decided and applied. Method: deploy with `wash`,
/// buy at both edges, audit; undeploy leaves nothing.
pub(crate) async fn the_shop_runs_on_two_hosts(world: &mut World) -> anyhow::Result<()> {
    let store = audit::deploy(world).await?;
    let (sku, buyers) = (store.product(1_000).await?, store.buyers()?);
    let mut answered = Vec::new();
    for (number, token) in buyers.iter().enumerate() {
        let client = store.clients[number % store.clients.len()].clone();
        let key = uuid::Uuid::new_v4().to_string();
        let bought = audit::buy(client, token.clone(), key, sku.clone()).await;
        answered.push(bought.map_err(|error| anyhow::anyhow!("at host {}: {error}", number % 2))?);
    }
    eprintln!("production.yaml on two hosts: {}", store.check(world, &answered, true).await?);
    for host in [world.a(), world.b()] {
        let inventory = world.lattice.inventory(host).await?;
        let components = inventory["components"].as_array().map_or(0, Vec::len);
        ensure!(components >= 4, "only {components} components on {host}");
    }
    world.wash.run(&["app", "undeploy", "swiftcart"]).await?.success()?;
    world.nothing_runs().await
}

/// Goal: code comes from a registry as from a file, for `wash start` and for wadm, and nobody needs the registry for what runs. Method: `wash push` of two
/// builds under two tags; the first deployed, the second as an upgrade; a tag that is not there is refused; the registry stops, the host starts again.
pub(crate) async fn components_come_from_a_registry(world: &mut World) -> anyhow::Result<()> {
    let mut pushed = Vec::new();
    for build in [1, 2] {
        let made = stage::greeter(world, build)?;
        let reference = format!("{}/swiftcart/greeter:{build}.0.0", world.registry.host());
        let file = made.path.display().to_string();
        world.wash.run(&["push", &reference, &file, "--insecure"]).await?.success()?;
        pushed.push((reference, made.digest));
    }
    let [(first, first_digest), (second, second_digest)] = pushed.as_slice() else { anyhow::bail!("two were pushed") };
    stage::start(world, world.a(), first, "greeter", &[]).await?;
    ensure!(world.digest(0, "greeter").await?.as_ref() == Some(first_digest), "other code runs");
    ensure!(stage::called(world).await?.contains("0001"));
    world.wash.run(&["update", "component", "greeter", second]).await?.success()?;
    eventually(SETTLED, "the second build to run", async || {
        ensure!(world.digest(0, "greeter").await?.as_ref() == Some(second_digest), "not yet");
        Ok(())
    })
    .await?;
    let missing = format!("{}/swiftcart/greeter:9.9.9", world.registry.host());
    world.wash.refused(&["start", "component", &missing, "missing", "--host-id", world.a()]).await?;
    world.wash.run(&["stop", "component", "greeter", "--host-id", world.a()]).await?.success()?;

    // What was pulled once is on disk.
    world.registry.stop().await?;
    stage::start(world, world.a(), first, "greeter", &[]).await?;
    ensure!(stage::called(world).await?.contains("0001"));
    Ok(())
}
