//! Policies of links, changed by `wash` while calls flow: what counts is what callers meet, and what the operator's own command shows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_support::client::{Answer, Client};
use swiftcart_support::eventually;
use tokio::process::Command;
use uuid::Uuid;

use crate::audit::{self, Store};
use crate::stage;
use crate::world::{SETTLED, SOON, World};

/// The policy of the link from order to payment, as docs/lattice.md names it.
const POLICY: &str = "payment-policy";
/// Its breaker.
const PAYMENT: &str = "swiftcart-order.swiftcart-payment.swiftcart.payment.payments";
/// What the PSP takes: less than the policy that ships allows, more than the strict one.
const PSP: Duration = Duration::from_millis(1_500);
/// Three failures open it, for five seconds.
const STRICT: [&str; 5] = [
    "policy.deadline_ms=600",
    "policy.breaker.window_calls=3",
    "policy.breaker.minimum_calls=3",
    "policy.breaker.open_ms=5000",
    "policy.breaker.open_max_ms=5000",
];

/// What `swiftcart-host breaker list` says of one breaker of the first host; null if there is none.
async fn breaker(world: &World, id: &str) -> anyhow::Result<Value> {
    let arguments = ["breaker", "list", "--json", "--admin", world.hosts[0].admin_url()];
    let listing = Command::new(&world.built.host).args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(SOON, listing).await.context("the command did not end")??;
    ensure!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    Ok(told["breakers"].as_array().into_iter().flatten().find(|found| found["id"] == id).cloned().unwrap_or_default())
}

async fn put_config(world: &World, name: &str, pairs: &[&str]) -> anyhow::Result<()> {
    let arguments: Vec<&str> = ["config", "put", name].into_iter().chain(pairs.iter().copied()).collect();
    world.wash.run(&arguments).await?.success().map(drop)
}

/// Goal: a link that is put again with a policy has it, and without it has none. Method: a callee that takes longer than the policy's deadline.
pub(crate) async fn a_link_gets_a_policy_by_wash(world: &mut World) -> anyhow::Result<()> {
    const LINK: [&str; 8] = ["link", "put", "caller", "echo", "test", "calls", "--interface", "echo"];
    stage::echo(world, world.a()).await?;
    let url = stage::caller_on_the_web(world).await?;
    let waiting = json!({"with_words": {"conduct": {"Wait": 1_500}}});
    let says = async |what: &str, is: fn(&Value) -> bool| {
        eventually(SOON, what, async || {
            let (status, answer) = stage::call(world, &url, &waiting).await?;
            ensure!(status == 200 && is(&answer), "{status}: {answer}");
            Ok(())
        })
        .await
    };
    says("the call to be done", |answer| *answer == json!({"Ok": 0})).await?;
    put_config(world, "echo-policy", &["policy.deadline_ms=300", "policy.breaker.minimum_calls=50"]).await?;
    let with_policy: Vec<&str> = LINK.into_iter().chain(["--source-config", "echo-policy"]).collect();
    world.wash.run(&with_policy).await?.success()?;
    let is_cut = |answer: &Value| answer["Err"]["Uncertain"].as_str().is_some_and(|why| why.ends_with("(deadline)"));
    says("the call to be cut", is_cut).await?;
    let shown = breaker(world, "caller.echo.test.calls.echo").await?;
    ensure!(shown["state"] == "closed" && shown["failed"].as_u64() >= Some(1), "{shown}");
    world.wash.run(&LINK).await?.success()?;
    says("the call to be done again", |answer| *answer == json!({"Ok": 0})).await?;
    let shown = breaker(world, "caller.echo.test.calls.echo").await?;
    ensure!(shown.is_null(), "the link has no policy and a breaker: {shown}");
    Ok(())
}

/// Goal: `wash config put` changes how long an order waits for its payment, and when payment is given up, of a shop that runs; nothing is restarted, and
/// all books agree afterwards. Method: a PSP that takes a second and a half; a strict policy, then the one that ships again.
pub(crate) async fn the_policy_before_payment_is_changed_under_a_running_shop(world: &mut World) -> anyhow::Result<()> {
    let store = audit::deploy(world).await?;
    let changed = change(world, &store).await;
    store.clients[0].psp_faults(&json!({})).await?;
    let answered = changed?;
    eprintln!("policy changed by wash: {}", store.check(world, &answered, true).await?);
    Ok(())
}

/// Gives the orders that were answered 201.
async fn change(world: &World, store: &Store) -> anyhow::Result<Vec<String>> {
    let (client, sku, buyers) = (&store.clients[0], store.product(1_000).await?, store.buyers()?);
    let shipped = world.lattice.stored_config(POLICY).await?.context("the shop's policy is not stored")?;
    let instances = world.component(world.a(), "swiftcart-order").await?.unwrap_or_default();
    let mut answered = Vec::new();
    let began = Instant::now();
    answered.push(confirmed(&buy(client, &buyers[0], &sku).await?)?);
    eprintln!("the first order, with everything to be warmed up, took {:?}", began.elapsed());
    client.psp_faults(&json!({"latency_ms": PSP.as_millis()})).await?;
    let began = Instant::now();
    answered.push(confirmed(&buy(client, &buyers[0], &sku).await?)?);
    ensure!(began.elapsed() >= PSP, "the PSP is not slow: {:?}", began.elapsed());
    let shown = breaker(world, PAYMENT).await?;
    ensure!(shown["state"] == "closed" && shown["calls"].as_u64() >= Some(2), "{shown}");

    put_config(world, POLICY, &STRICT).await?;
    let (answer, took) = eventually(SOON, "an order that does not wait for the PSP", async || {
        let began = Instant::now();
        let answer = buy(client, &buyers[1], &sku).await?;
        ensure!(answer.status == 202, "{} {}", answer.status, answer.text());
        Ok((answer, began.elapsed()))
    })
    .await?;
    ensure!(took < PSP && answer.json()?["state"] == "PENDING", "after {took:?}: {}", answer.text());
    let (refused, took) = eventually(SOON, "an order that is refused at once", async || {
        let began = Instant::now();
        let answer = buy(client, &buyers[2], &sku).await?;
        ensure!(answer.status == 503, "{} {}", answer.status, answer.text());
        Ok((answer, began.elapsed()))
    })
    .await?;
    let told = refused.json()?;
    ensure!(told["type"] == "/problems/payment-unavailable" && refused.header("retry-after").is_some(), "{told}");
    let shown = breaker(world, PAYMENT).await?;
    ensure!(shown["state"] == "open" || shown["state"] == "half-open", "{shown}");
    eprintln!("strict policy: refused after {took:?}; {shown}");

    // The policy that ships, with a PSP as slow as before: orders wait for it again.
    let pairs: Vec<String> = shipped.as_object().into_iter().flatten().map(|(key, value)| pair(key, value)).collect();
    put_config(world, POLICY, &pairs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let order = eventually(SETTLED, "an order that waits for the PSP", async || {
        confirmed(&buy(client, &buyers[3], &sku).await?)
    })
    .await?;
    answered.push(order);
    client.psp_faults(&json!({})).await?;
    eventually(SETTLED, "the breaker to close", async || {
        confirmed(&buy(client, &buyers[4], &sku).await?)?;
        let shown = breaker(world, PAYMENT).await?;
        ensure!(shown["state"] == "closed", "{shown}");
        Ok(())
    })
    .await?;
    let now = world.component(world.a(), "swiftcart-order").await?.unwrap_or_default();
    ensure!(now == instances, "order was started again: {now}, before {instances}");
    Ok(answered)
}

fn pair(key: &str, value: &Value) -> String {
    format!("{key}={}", value.as_str().unwrap_or_default())
}

async fn buy(client: &Client, token: &str, sku: &str) -> anyhow::Result<Answer> {
    client.post_order(token, Some(&Uuid::new_v4().to_string()), &audit::order_of(sku)).await
}

fn confirmed(answer: &Answer) -> anyhow::Result<String> {
    ensure!(answer.status == 201, "{} {}", answer.status, answer.text());
    Ok(answer.json()?["orderId"].as_str().context("no orderId")?.to_owned())
}
