//! Code that is wrong makes dead letters; code that is right makes good what they missed.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use rdkafka::message::{Message as _, OwnedMessage};
use serde_json::Value;
use swiftcart_support::eventually;
use swiftcart_tests::broker::{Broker, header};
use swiftcart_tests::operator::Operator;
use uuid::Uuid;

use crate::audit;
use crate::builds::{self, Build};
use crate::swap;
use crate::world::{SETTLED, World};

const COMPONENT: &str = "notification";
const EVENTS: &str = "orders.confirmed.v1";
const DEAD: &str = "orders.confirmed.dlq";
const ORDERS: usize = 12;

/// Has wadm bring another build of the component to wherever it runs.
async fn upgrade(world: &World, version: &str, build: &Build) -> anyhow::Result<()> {
    let images = BTreeMap::from([(COMPONENT, build.reference())]);
    let manifest = audit::production(world, version, &images)?;
    let file = audit::write(world, &format!("production-{version}"), &manifest)?;
    world.wash.run(&["app", "deploy", &file]).await?.success()?;
    swap::serves(world, COMPONENT, build).await
}

/// Goal: a batch poisoned by a bad build is replayed after a fixed build is swapped in, and every effect is there once, in the service that failed and
/// in those that did not. Method: a component that understands no event of ours takes the place of `notification`; orders; the right one again;
/// `dlq replay` twice; all books and the mailbox.
pub(crate) async fn a_poisoned_batch_is_replayed_after_the_fix_and_applied_once(
    world: &mut World,
) -> anyhow::Result<()> {
    let store = audit::deploy(world).await?;
    let folder = world.folder("builds")?;
    let wrong = builds::copy(&world.built.guests.join("consumer.wasm"), &folder, "wrong-notification")?;
    upgrade(world, "0.0.2", &wrong).await?;

    let sku = store.product(100).await?;
    let mut bought = Vec::new();
    for number in 0..ORDERS {
        let client = store.clients[number % store.clients.len()].clone();
        let token = client.token(&format!("buyer-{}", Uuid::new_v4()), "orders:read orders:write")?;
        let order = audit::buy(client, token, Uuid::new_v4().to_string(), sku.clone()).await;
        bought.push(order.map_err(anyhow::Error::msg)?);
    }
    let servers = world.shop.addresses().kafka_bootstrap_servers.clone();
    let broker = Broker::new(&servers);
    eventually(SETTLED, "every event to be among the dead letters of the wrong build", async || {
        let letters = broker.read_all(DEAD).await?;
        let of_wrong = |letter: &&OwnedMessage| {
            let key = String::from_utf8_lossy(letter.key().unwrap_or_default()).into_owned();
            header(letter, "dlq-group").as_deref() == Some(COMPONENT)
                && header(letter, "dlq-component-digest").as_deref() == Some(wrong.digest.as_str())
                && bought.contains(&key)
        };
        let found = letters.iter().filter(of_wrong).count();
        ensure!(found == ORDERS, "{found} dead letters of {ORDERS}");
        Ok(())
    })
    .await?;

    let right = builds::another(&world.built.artifacts.join("notification.wasm"), &folder, 3)?;
    upgrade(world, "0.0.3", &right).await?;
    let operator = Operator::new(&world.built.host, &servers);
    let replay = ["replay", "--topic", DEAD, "--group", COMPONENT, "--rate", "100", "--yes", "--note", "fixed build"];
    let report = operator.json(&replay).await?;
    // Not fewer; more if an event of an earlier case was still on its way.
    ensure!(report["replayed"].as_u64() >= Some(ORDERS as u64), "{report}");
    ensure!(report["left"] == 0 && report["failure"] == Value::Null, "{report}");
    let again = operator.json(&replay).await?;
    ensure!(again["selected"] == 0, "a second run found {again}");

    eventually(SETTLED, "both groups to be past the replays", async || {
        for group in ["inventory", COMPONENT] {
            let (done, end) = broker.progress(group, EVENTS).await?;
            ensure!(done == end, "{group} has done {done} of {end}");
        }
        Ok(())
    })
    .await?;
    // The events are there twice, the replays beside the originals; the effects once.
    let books = store.check(world, &bought, false).await?;
    let inbox = world.client.inbox().await?;
    for order in &bought {
        let mails = inbox.iter().filter(|mail| mail.header("swiftcart-order-id") == Some(order)).count();
        ensure!(mails == 1, "{mails} mails about order {order}");
    }
    let left = operator.json(&["list", "--topic", DEAD, "--group", COMPONENT, "--state", "open"]).await?;
    let topic = left.pointer("/topics/0").context("no topic")?;
    ensure!(topic["open"] == 0, "{topic}");
    eprintln!("{ORDERS} poisoned events replayed after the fix: {books}");
    Ok(())
}
