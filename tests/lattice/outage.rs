//! The server of the lattice dies.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use swiftcart_support::eventually;

use crate::load::{self, Load};
use crate::stage;
use crate::world::{SETTLED, SOON, World};

/// Calls per second all the while.
const RATE: u32 = 50;
/// Longer than two heartbeats, so that some are missed.
const AWAY: Duration = Duration::from_secs(8);

/// Goal: kill -9 of NATS under load: what runs on a host goes on, calls between its components included; when NATS is back, so is everything that needs
/// it (pings, heartbeats, commands, links, events), and no host was started again. Method: calls over HTTP from before until after; then each kind of
/// what the lattice does, with its effect.
pub(crate) async fn hosts_outlive_their_server(world: &mut World) -> anyhow::Result<()> {
    stage::echo(world, world.a()).await?;
    let url = stage::caller_on_the_web(world).await?;
    let operation = json!({"join": {"left": "a", "right": "b", "times": 2}});
    eventually(SOON, "the call to work", async || {
        let (status, answer) = stage::call(world, &url, &operation).await?;
        ensure!(status == 200 && answer == "abab", "{status}: {answer}");
        Ok(())
    })
    .await?;
    let processes = [world.hosts[0].process(), world.hosts[1].process()];
    let load = Load::start(RATE, {
        let (http, url, operation) = (world.http.clone(), url.clone(), operation.clone());
        move |_| {
            let request = http.post(&url).json(&operation);
            async move {
                let answer = request.send().await.map_err(|error| error.to_string())?;
                let (status, text) = (answer.status(), answer.text().await.map_err(|error| error.to_string())?);
                if status == 200 && text == "\"abab\"" { Ok(text) } else { Err(format!("{status}: {text}")) }
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.shop.nats.as_mut().context("the NATS server is not ours")?.kill()?;
    tokio::time::sleep(AWAY).await;
    world.shop.nats.as_mut().context("the NATS server is not ours")?.start().await?;
    everything_works_again(world, &url).await?;
    let answers = load.end().await?;
    eprintln!("NATS was away for {AWAY:?}: {}", load::summary(&answers));
    let failed = load::failed(&answers);
    ensure!(failed.is_empty(), "{} local calls failed, the first: {:?}", failed.len(), failed.first());
    ensure!(answers.len() > AWAY.as_secs() as usize * RATE as usize, "only {} calls", answers.len());
    ensure!(processes == [world.hosts[0].process(), world.hosts[1].process()], "a host was started again");
    ensure!(world.hosts.iter_mut().all(|host| host.exited().is_none()), "a host ended");
    Ok(())
}

async fn everything_works_again(world: &World, url: &str) -> anyhow::Result<()> {
    eventually(SOON, "both hosts to answer a ping", async || {
        let hosts = world.lattice.hosts().await?;
        ensure!(hosts.len() == 2, "{hosts:?}");
        Ok(())
    })
    .await?;
    ensure!(world.component(world.a(), "echo").await?.is_some(), "the inventory has lost a component");
    for id in [world.a(), world.b()] {
        let mark = world.events.mark();
        world.events.wait(mark, SOON, "host_heartbeat", |event| event.whole["source"] == id).await?;
    }
    // Commands and events, on the host whose copy of the lattice's data was read before.
    stage::start(world, world.b(), &stage::greeter(world, 1)?.reference(), "greeter", &[]).await?;
    ensure!(stage::called(world).await?.contains("0001"), "another build answers");
    world.wash.run(&["update", "component", "greeter", &stage::greeter(world, 2)?.reference()]).await?.success()?;
    eventually(SOON, "the new build to answer", async || {
        let said = stage::called(world).await?;
        ensure!(said.contains("0002"), "{said}");
        Ok(())
    })
    .await?;
    // What is put now reaches a component that has run all the while: the watch on the lattice's data came back too. It goes by a second edge, so
    // that the calls that are counted are left alone.
    let second = stage::web(world, 1, "web-b", "greeter").await?;
    eventually(SETTLED, "the new edge to serve", async || stage::told(world, &second).await.map(drop)).await?;
    world.wash.run(&["link", "del", "web-b", "wasi", "http"]).await?.success()?;
    eventually(SETTLED, "the new edge to serve no more", async || {
        ensure!(stage::told(world, &second).await.is_err(), "it serves");
        Ok(())
    })
    .await?;
    let (status, answer) = stage::call(world, url, &json!({"join": {"left": "x", "right": null, "times": 1}})).await?;
    ensure!(status == 200 && answer == "x", "{status}: {answer}");
    Ok(())
}
