//! Configuration, the admin port, and the end of a host.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::json;
use swiftcart_support::eventually;

use crate::fixture::{Contract, DEADLINE};

// Goal: a component reads its own configuration and secrets, and none of the host's. Method: one key of each kind.
pub(crate) async fn configuration_reaches_the_component(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let secret = fixture.shop.addresses().psp_secret_key.clone();
    for (key, expected) in [
        ("greeting", json!("hello")),
        ("psp_secret_key", json!(secret)),
        ("host.reuse", json!(null)),
        ("url", json!(null)),
        ("nothing", json!(null)),
    ] {
        let answer = probe.run(&json!({"config": {"key": key}})).await?;
        ensure!(answer == json!({"Ok": expected}), "{key} is not what it should be");
    }
    let other = fixture.narrow().await?.run(&json!({"config": {"key": "greeting"}})).await?;
    ensure!(other == json!({"Ok": null}), "another component reads it: {other}");
    Ok(())
}

// Goal: the admin port tells health, measures and exactly what runs, and no secret. Method: read all pages; compare digests with the files.
pub(crate) async fn the_admin_port_tells_what_runs(fixture: &mut Contract) -> anyhow::Result<()> {
    for (path, status) in
        [("/healthz", 200), ("/readyz", 200), ("/metrics", 200), ("/v1/inventory", 200), ("/v1/nothing", 404)]
    {
        fixture.client.admin(path).await?.expect_status(status).context(path)?;
    }
    for (component, file) in [("probe", "probe"), ("narrow", "probe"), ("consumer", "consumer")] {
        let output = Command::new("sha256sum").arg(fixture.built.guests.join(format!("{file}.wasm"))).output()?;
        let sum = String::from_utf8(output.stdout)?;
        let sum = sum.split_whitespace().next().context("no digest")?;
        ensure!(fixture.digest(component).await? == format!("sha256:{sum}"), "the digest of {component}");
    }
    let inventory = fixture.client.admin("/v1/inventory").await?.text();
    let metrics = fixture.client.admin("/metrics").await?.text();
    ensure!(inventory.contains("\"target\":\"narrow-echo\"") && metrics.contains("# TYPE swiftcart_"), "{inventory}");
    let addresses = fixture.shop.addresses();
    for secret in [&addresses.psp_secret_key, &addresses.redis_url].into_iter().chain(addresses.database_urls.values())
    {
        ensure!(!inventory.contains(secret) && !metrics.contains(secret), "a secret is shown");
    }
    Ok(())
}

// Goal: after SIGTERM no new request is taken, the one that runs is answered, and the host ends with 0. Method: a request of 1.5 seconds,
// the signal when the inventory shows it at work.
pub(crate) async fn a_running_request_is_finished_before_the_end(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let running = tokio::spawn({
        let probe = probe.clone();
        async move { probe.run(&json!({"wait": {"ms": 1500}})).await }
    });
    eventually(DEADLINE, "the request to be at work", || async {
        let inventory = fixture.client.inventory().await?;
        let components = inventory["components"].as_array().context("no components")?;
        let busy =
            components.iter().find(|found| found["name"] == "probe").and_then(|found| found["busyInstances"].as_u64());
        ensure!(busy == Some(1), "{busy:?} instances are busy");
        Ok(())
    })
    .await?;
    let process = fixture.shop.host()?.process().context("the host does not run")?;
    ensure!(Command::new("kill").args(["-TERM", &process.pid.to_string()]).status()?.success());
    eventually(DEADLINE, "new requests to be refused", || async {
        let refused = probe.get("/public").send().await.is_err();
        ensure!(refused, "a new connection is still served");
        Ok(())
    })
    .await?;
    ensure!(!running.is_finished(), "the request ended too early for this to show anything");
    ensure!(running.await?? == 1500, "the request was cut");
    let mut ended = None;
    eventually(DEADLINE, "the host to end", || {
        ended = fixture.shop.host().ok().and_then(|host| host.exited());
        std::future::ready(ended.context("it runs"))
    })
    .await?;
    ensure!(ended.and_then(|status| status.code()) == Some(0), "it ended with {ended:?}");
    Ok(())
}
