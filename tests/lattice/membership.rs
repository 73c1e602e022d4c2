//! A host as a member: found, described, labelled, chosen, stopped.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_support::lattice::Event;

use crate::stage;
use crate::world::{LATTICE, SOON, World};

/// Goal: both hosts are there with all that a client asks of a host. Method: `wash get hosts` and `get inventory`, and the bare answers.
pub(crate) async fn hosts_are_found_and_tell_what_they_are(world: &mut World) -> anyhow::Result<()> {
    let listed = world.wash.ok(&["get", "hosts"]).await?.to_string();
    let hosts = world.lattice.hosts().await?;
    ensure!(hosts.len() == 2, "{} hosts answer a ping: {hosts:?}", hosts.len());
    for (id, zone) in [(world.a(), "a"), (world.b(), "b")] {
        ensure!(listed.contains(id), "`wash get hosts` does not list {id}: {listed}");
        ensure!(id.len() == 56 && id.starts_with('N'), "{id} is no host key");
        let host = hosts.iter().find(|host| host["id"] == id).context("the host did not answer")?;
        let labels = &host["labels"];
        ensure!(labels["zone"] == zone && host["lattice"] == LATTICE, "{host}");
        for label in ["hostcore.arch", "hostcore.os", "hostcore.osfamily"] {
            ensure!(labels[label].as_str().is_some_and(|value| !value.is_empty()), "no {label}: {host}");
        }
        ensure!(host["friendly_name"].is_string() && host["uptime_seconds"].is_u64(), "{host}");
        let inventory = world.wash.ok(&["get", "inventory", id]).await?;
        ensure!(inventory.to_string().contains(id), "{inventory}");
        let inventory = world.lattice.inventory(id).await?;
        ensure!(inventory["host_id"] == id && inventory["components"] == json!([]), "{inventory}");
        ensure!(inventory["providers"] == json!([]), "{inventory}");
    }
    // wadm asks this at each heartbeat and gives up on the heartbeat when nobody answers.
    world.wash.run(&["get", "claims"]).await?.success()?;
    Ok(())
}

fn is_cloud_event(event: &Event) -> bool {
    let whole = &event.whole;
    let text = |member: &str| whole[member].as_str().is_some_and(|text| !text.is_empty());
    whole["specversion"] == "1.0"
        && whole["type"] == format!("com.wasmcloud.lattice.{}", event.name)
        && whole["datacontenttype"] == "application/json"
        && text("id")
        && text("time")
        && text("source")
}

/// Goal: wadm lives on heartbeats: each host's come, at the interval that it was told, with everything in them. Method: two of each host.
pub(crate) async fn heartbeats_come_in_time_and_say_everything(world: &mut World) -> anyhow::Result<()> {
    let mark = world.events.mark();
    for id in [world.a(), world.b()] {
        let of_host = |event: &Event| event.name == "host_heartbeat" && event.whole["source"] == id;
        let (first, second) = eventually(SOON, "two heartbeats", || {
            let mut beats = world.events.after(mark).into_iter().filter(of_host);
            std::future::ready(beats.next().zip(beats.next()).context("fewer than two"))
        })
        .await?;
        for beat in [first, second] {
            ensure!(is_cloud_event(&beat), "{}", beat.whole);
            let data = beat.data();
            ensure!(data["host_id"] == id && data["components"].is_array() && data["providers"].is_array(), "{data}");
            ensure!(data["labels"].is_object() && data["friendly_name"].is_string(), "{data}");
            ensure!(data["uptime_seconds"].is_u64() && data["uptime_human"].is_string(), "{data}");
            let version = data["version"].as_str().unwrap_or_default();
            ensure!(version.split('.').count() >= 3, "wadm drops a heartbeat of version `{version}`");
        }
    }
    Ok(())
}

/// Goal: labels decide placement, so they change at run time and wadm hears of it in a heartbeat. Method: `wash label` and its `--delete`.
pub(crate) async fn labels_are_set_and_taken_away(world: &mut World) -> anyhow::Result<()> {
    let id = world.a().to_owned();
    let label = async || anyhow::Ok(world.lattice.inventory(&id).await?["labels"]["disk"].clone());
    let mark = world.events.mark();
    world.wash.run(&["label", &id, "disk=ssd"]).await?.success()?;
    ensure!(label().await? == "ssd", "the label is not there");
    world.events.wait(mark, SOON, "labels_changed", |event| event.data()["labels"]["disk"] == "ssd").await?;
    world.events.wait(mark, SOON, "host_heartbeat", |event| event.data()["labels"]["disk"] == "ssd").await?;
    // What the machine is cannot be said otherwise. `wash` refuses by itself, with exit code 0; the host must not rely on that.
    let label_of_machine = json!({"key": "hostcore.os", "value": "amiga"});
    for verb in ["put", "del"] {
        let refused = world.lattice.control(&format!("label.{verb}.{id}"), &label_of_machine).await?;
        ensure!(refused["success"] == false, "{refused}");
    }
    world.wash.run(&["label", &id, "disk", "--delete"]).await?.success()?;
    ensure!(label().await? == Value::Null, "the label is still there");
    let labels = world.lattice.inventory(&id).await?["labels"].clone();
    ensure!(labels["hostcore.os"] != "amiga" && labels["zone"] == "a", "{labels}");
    Ok(())
}

/// Goal: who does not match stays silent; who runs it already too. Method: `wash start` without a host, with labels that one host, and no host, has.
pub(crate) async fn auctions_are_won_by_matching_hosts_alone(world: &mut World) -> anyhow::Result<()> {
    let build = stage::greeter(world, 1)?.reference();
    world.wash.refused(&["start", "component", &build, "greeter", "--constraint", "zone=z"]).await?;
    world.wash.run(&["start", "component", &build, "greeter", "--constraint", "zone=b"]).await?.success()?;
    ensure!(world.component(world.b(), "greeter").await?.is_some(), "it does not run where it should");
    ensure!(world.component(world.a(), "greeter").await?.is_none(), "it runs where it should not");
    // The one host that matches runs it: nobody bids.
    world.wash.refused(&["start", "component", &build, "greeter", "--constraint", "zone=b"]).await?;
    world
        .wash
        .refused(&["start", "provider", "wasmcloud+builtin://http-client", "client", "--constraint", "zone=z"])
        .await?;
    Ok(())
}

/// Goal: `wash stop host` ends the process in good order, after it said so. Method: a third host; its exit code and its last event.
pub(crate) async fn a_host_is_stopped(world: &mut World) -> anyhow::Result<()> {
    let mut host = world.another_host("host-c", LATTICE).await?;
    let id = host.id().to_owned();
    // Not this host: the body names another one.
    let other = world.lattice.control(&format!("host.stop.{id}"), &json!({"host_id": world.a()})).await?;
    ensure!(other["success"] == false, "{other}");
    let mark = world.events.mark();
    world.wash.run(&["stop", "host", &id]).await?.success()?;
    stopped(world, mark, &id).await?;
    ended(&mut host).await
}

/// Goal: wadm never learns of a host that goes silently until it is long missed, so SIGTERM is told too. Method: the signal; the event; the exit code.
pub(crate) async fn a_terminated_host_says_so(world: &mut World) -> anyhow::Result<()> {
    let mut host = world.another_host("host-d", LATTICE).await?;
    let (id, mark) = (host.id().to_owned(), world.events.mark());
    let process = host.process().context("the host does not run")?;
    let status = std::process::Command::new("kill").args(["-TERM", &process.pid.to_string()]).status()?;
    ensure!(status.success(), "the signal was not sent");
    stopped(world, mark, &id).await?;
    ended(&mut host).await
}

async fn stopped(world: &World, mark: usize, id: &str) -> anyhow::Result<()> {
    let event = world.events.wait(mark, SOON, "host_stopped", |event| event.whole["source"] == id).await?;
    ensure!(is_cloud_event(&event) && event.data()["labels"]["zone"] == "c", "{}", event.whole);
    Ok(())
}

async fn ended(host: &mut swiftcart_support::service::LatticeHost) -> anyhow::Result<()> {
    let status = eventually(SOON, "the host to end", || std::future::ready(host.exited().context("it runs"))).await?;
    ensure!(status.code() == Some(0), "it ended with {status}");
    Ok(())
}

/// Goal: lattices on one server do not see each other. Method: a third host on another lattice: who finds it, and whose config it has.
pub(crate) async fn another_lattice_is_another_world(world: &mut World) -> anyhow::Result<()> {
    let mut host = world.another_host("host-e", "elsewhere").await?;
    let there = world.wash.on("elsewhere");
    let listed = there.ok(&["get", "hosts"]).await?.to_string();
    ensure!(listed.contains(host.id()) && !listed.contains(world.a()), "{listed}");
    let here = world.wash.ok(&["get", "hosts"]).await?.to_string();
    ensure!(here.contains(world.a()) && !here.contains(host.id()), "{here}");
    there.run(&["config", "put", "only-there", "key=value"]).await?.success()?;
    ensure!(world.lattice.stored_config("only-there").await?.is_none(), "the config is here too");
    host.stop().await
}

/// Goal: an answer in words to whatever is asked, never silence. Method: subjects and bodies that no client sends.
pub(crate) async fn what_nobody_knows_is_refused_in_words(world: &mut World) -> anyhow::Result<()> {
    let id = world.a().to_owned();
    for (operation, body) in [
        (format!("component.juggle.{id}"), json!({})),
        (format!("provider.juggle.{id}"), json!({})),
        (format!("host.juggle.{id}"), json!({})),
        (format!("label.juggle.{id}"), json!({})),
        ("link.juggle".to_owned(), json!({})),
        ("config.juggle.name".to_owned(), json!({})),
        (format!("component.scale.{id}"), json!({"component_id": 7})),
        (format!("provider.start.{id}"), json!([])),
        ("link.put".to_owned(), json!("a text")),
        ("config.put.name".to_owned(), json!({"key": 7})),
        (
            format!("component.update.{id}"),
            json!({"component_id": "nobody", "host_id": id, "new_component_ref": "file:///nowhere.wasm"}),
        ),
        (format!("provider.stop.{id}"), json!({"provider_id": "nobody", "host_id": id})),
    ] {
        let answer = world.lattice.control(&operation, &body).await?;
        let worded = answer["message"].as_str().is_some_and(|message| !message.is_empty());
        ensure!(answer["success"] == false && worded, "{operation} {body} gives {answer}");
    }
    Ok(())
}
