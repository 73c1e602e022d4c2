//! Named configs and secrets, at rest and on their way to what runs.

use anyhow::{Context as _, ensure};
use serde_json::json;
use swiftcart_support::eventually;

use crate::stage;
use crate::world::{SOON, World};

/// Goal: the three verbs change what is stored, and say so. Method: put, get, delete; the bucket and the events.
pub(crate) async fn a_config_is_put_read_and_deleted(world: &mut World) -> anyhow::Result<()> {
    let mark = world.events.mark();
    world.wash.run(&["config", "put", "motto", "first=one", "second=two=2"]).await?.success()?;
    let stored = world.lattice.stored_config("motto").await?;
    ensure!(stored == Some(json!({"first": "one", "second": "two=2"})), "{stored:?}");
    world.events.wait(mark, SOON, "config_set", |event| event.says("config_name", "motto")).await?;
    let read = world.wash.ok(&["config", "get", "motto"]).await?.to_string();
    ensure!(read.contains("two=2"), "{read}");

    world.wash.run(&["config", "del", "motto"]).await?.success()?;
    ensure!(world.lattice.stored_config("motto").await?.is_none(), "it is still stored");
    world.events.wait(mark, SOON, "config_deleted", |event| event.says("config_name", "motto")).await?;
    let absent = world.lattice.control("config.get.motto", &serde_json::Value::Null).await?;
    ensure!(absent["success"] == true && absent["response"].is_null(), "{absent}");
    Ok(())
}

/// Goal: a changed config reaches what runs, without a restart and without a lost call; a deleted one leaves the last value. Method: the greeter
/// tells its greeting while configs change under it.
pub(crate) async fn a_changed_config_reaches_a_running_component(world: &mut World) -> anyhow::Result<()> {
    world.lattice.put_config("words", &[("greeting", "hello")]).await?;
    world.lattice.put_config("more-words", &[]).await?;
    let configs = ["--config", "words", "--config", "more-words"];
    stage::start(world, world.a(), &stage::greeter(world, 1)?.reference(), "greeter", &configs).await?;
    let url = stage::web(world, 0, "web", "greeter").await?;
    let greets = async |wanted: &str| {
        eventually(SOON, &format!("the greeting `{wanted}`"), async || {
            let told = stage::told(world, &url).await?;
            ensure!(told["greeting"] == wanted, "{told}");
            Ok(())
        })
        .await
    };
    greets("hello").await?;
    let calls = {
        let (http, url) = (world.http.clone(), url.clone());
        tokio::spawn(async move {
            for _ in 0..400 {
                let answer = http.get(&url).send().await?;
                ensure!(answer.status() == 200, "{}", answer.status());
            }
            anyhow::Ok(())
        })
    };
    world.wash.run(&["config", "put", "words", "greeting=good day"]).await?.success()?;
    greets("good day").await?;
    // The config that is named later wins.
    world.wash.run(&["config", "put", "more-words", "greeting=good night"]).await?.success()?;
    greets("good night").await?;
    calls.await?.context("a call failed while the config changed")?;

    // wadm deletes configs that are still used (upstream issue 4704): a component keeps what it had, and wadm is told again.
    let mark = world.events.mark();
    world.wash.run(&["config", "del", "more-words"]).await?.success()?;
    let twice = eventually(SOON, "the second word about the deleted config", || {
        let told = world.events.after(mark);
        let told =
            told.iter().filter(|event| event.name == "config_deleted" && event.says("config_name", "more-words"));
        let count = told.count();
        std::future::ready(if count >= 2 { Ok(count) } else { Err(anyhow::anyhow!("{count} events")) })
    })
    .await?;
    ensure!(twice >= 2, "only told once");
    greets("good night").await
}

/// Goal: a secret is named on the lattice and read by the host; its value shows in no event, inventory, bucket or log. Method: a secret that is in
/// the environment of the hosts, given to a component that tells it.
pub(crate) async fn a_secret_arrives_and_shows_nowhere(world: &mut World) -> anyhow::Result<()> {
    let variable = "SWIFTCART_PSP_SECRET_KEY";
    let (_, secret) = world.settings.secrets.iter().find(|(name, _)| name == variable).context("no such secret")?;
    let mark = world.events.mark();
    world.wash.run(&["secrets", "put", "greeting", "env", variable]).await?.success()?;
    let reference = stage::greeter(world, 1)?.reference();
    stage::start(world, world.a(), &reference, "greeter", &["--config", "SECRET_greeting"]).await?;
    let url = stage::web(world, 0, "web", "greeter").await?;
    let told = eventually(SOON, "an answer", async || stage::told(world, &url).await).await?;
    ensure!(told["greeting"] == secret.as_str(), "the secret did not arrive");
    world.events.wait(mark, SOON, "host_heartbeat", |event| event.whole["source"] == world.a()).await?;
    let mut places = vec![
        ("the inventory".to_owned(), world.lattice.inventory(world.a()).await?.to_string()),
        ("the admin port".to_owned(), world.admin(0).await?.to_string()),
        ("the bucket of configs".to_owned(), format!("{:?}", world.lattice.stored_config("SECRET_greeting").await?)),
        ("the bucket of components".to_owned(), format!("{:?}", world.lattice.stored_component("greeter").await?)),
        ("the host's log".to_owned(), std::fs::read_to_string(world.hosts[0].log())?),
    ];
    places.extend(world.events.after(mark).into_iter().map(|event| (event.name, event.whole.to_string())));
    for (place, text) in places {
        ensure!(!text.contains(secret.as_str()), "the secret is in {place}");
    }
    Ok(())
}
