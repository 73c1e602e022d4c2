//! Code is replaced under load: nothing fails, nothing is lost, and the old code is gone when the host says so.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use swiftcart_support::eventually;

use crate::applications;
use crate::audit;
use crate::builds::{self, Build};
use crate::load::{self, Answered, Load};
use crate::stage;
use crate::world::{SETTLED, SOON, World};

/// Requests per second to a component alone.
const RATE: u32 = 500;
/// Orders per second through the whole shop, when [`ORDERS_VARIABLE`] does not say otherwise: what two cores that also run all servers, two
/// hosts and the compiler of each new build can do without queues.
const ORDERS: u32 = 150;
/// Says how many on a larger machine.
const ORDERS_VARIABLE: &str = "SWIFTCART_LATTICE_ORDERS_PER_SECOND";
/// How often code is replaced.
const SWAPS: u32 = 20;

/// When the host said that a build serves, and which.
struct Swapped {
    said: Instant,
    build: u32,
}

/// A load of requests to a greeter; an answer's text is the build that gave it. Every tenth request takes a while, so that some are in flight at each swap.
fn greeter_load(world: &World, url: &str) -> Load {
    let (http, url) = (world.http.clone(), url.to_owned());
    Load::start(RATE, move |number| {
        let (http, url) = (http.clone(), if number % 10 == 0 { format!("{url}/wait/100") } else { url.clone() });
        async move {
            let answer = http.get(url).send().await.map_err(|error| format!("{error:#}"))?;
            let (status, body) = (answer.status(), answer.text().await.map_err(|error| format!("{error:#}"))?);
            if status != 200 {
                return Err(format!("{status}: {body}"));
            }
            let told: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
            told["build"].as_str().map(str::to_owned).ok_or_else(|| format!("no build: {told}"))
        }
    })
}

/// Nothing failed, and whatever was sent after the host's word about a build was answered by that build or a later one.
fn checked(what: &str, answers: &[Answered], swaps: &[Swapped]) -> anyhow::Result<()> {
    let mut late = 0;
    for answer in answers {
        let Ok(told) = &answer.outcome else { continue };
        let told: u32 = told.parse().with_context(|| format!("the build is `{told}`"))?;
        let least = swaps.iter().filter(|swap| swap.said <= answer.sent).map(|swap| swap.build).max().unwrap_or(0);
        late += u32::from(told < least);
    }
    eprintln!("{what}: {} swaps; {}; {late} answers of old code after its end", swaps.len(), load::summary(answers));
    let failed = load::failed(answers);
    ensure!(failed.is_empty(), "{what}: {} requests failed, the first: {:?}", failed.len(), failed.first());
    ensure!(late == 0, "{what}: {late} answers came from code that had been replaced");
    Ok(())
}

/// Goal: `wash update component` under load. Method: twenty updates between two builds; answers tell who gave them; the inventory tells who is left.
pub(crate) async fn updates_under_load_lose_nothing(world: &mut World) -> anyhow::Result<()> {
    let url = stage::greeter_on_the_web(world, 1).await?;
    let load = greeter_load(world, &url);
    let mut swaps = Vec::new();
    for build in 2..2 + SWAPS {
        let made = stage::greeter(world, build)?;
        let mark = world.events.mark();
        world.wash.run(&["update", "component", "greeter", &made.reference()]).await?.success()?;
        world.events.wait(mark, SOON, "component_scaled", |event| event.says("image_ref", made.reference())).await?;
        swaps.push(Swapped { said: Instant::now(), build });
        ensure!(world.digest(0, "greeter").await? == Some(made.digest), "the inventory shows another digest");
    }
    let answers = load.end().await?;
    checked("update under load", &answers, &swaps)
}

/// Goal: an upgrade by wadm, which commands the stop of what runs, is a swap all the same. Method: twenty versions of a manifest.
pub(crate) async fn upgrades_by_wadm_lose_nothing(world: &mut World) -> anyhow::Result<()> {
    let url = applications::deploy_hello(world, &stage::greeter(world, 1)?).await?;
    let load = greeter_load(world, &url);
    let mut swaps = Vec::new();
    for build in 2..2 + SWAPS {
        let made = stage::greeter(world, build)?;
        let mark = world.events.mark();
        applications::put(world, &made, &format!("0.0.{build}")).await?;
        let of_made = |event: &swiftcart_support::lattice::Event| {
            event.says("image_ref", made.reference()) && event.says("max_instances", 64)
        };
        world.events.wait(mark, SOON, "component_scaled", of_made).await?;
        swaps.push(Swapped { said: Instant::now(), build });
    }
    let answers = load.end().await?;
    checked("upgrade by wadm under load", &answers, &swaps)
}

/// Goal: the shop's own code: `order`, which answers requests, and `notification`, which consumes events, replaced in turn by update and by wadm, on both
/// hosts, while orders stream in: no request fails, no event is lost or has its effect twice. Method: twenty swaps; the audit of all books.
pub(crate) async fn order_and_a_consumer_are_swapped_under_load(world: &mut World) -> anyhow::Result<()> {
    let store = audit::deploy(world).await?;
    let (sku, buyers) = (store.product(1_000_000).await?, store.buyers()?);
    let orders = std::env::var(ORDERS_VARIABLE).ok().map_or(Ok(ORDERS), |text| text.parse())?;
    let load = Load::start(orders, {
        let (clients, sku) = (store.clients.clone(), sku.clone());
        move |number| {
            let at = usize::try_from(number).unwrap_or(0);
            let (client, token) = (clients[at % clients.len()].clone(), buyers[at % buyers.len()].clone());
            audit::buy(client, token, uuid::Uuid::new_v4().to_string(), sku.clone())
        }
    });
    let mut images = BTreeMap::new();
    for number in 1..=SWAPS {
        let component = if number % 2 == 0 { "notification" } else { "order" };
        let of = world.built.artifacts.join(format!("{component}.wasm"));
        let made = builds::another(&of, &world.folder("builds")?, number)?;
        // Two updates, then two upgrades, and so on, so that each component gets both.
        if number % 4 < 2 {
            update_everywhere(world, component, &made).await?;
        } else {
            images.insert(component, made.reference());
            let manifest = audit::production(world, &format!("0.1.{number}"), &images)?;
            let file = audit::write(world, &format!("production-{number}"), &manifest)?;
            world.wash.run(&["app", "deploy", &file]).await?.success()?;
        }
        serves(world, component, &made).await?;
    }
    let answers = load.end().await?;
    eprintln!("{SWAPS} swaps of order and notification: {}", load::summary(&answers));
    let failed = load::failed(&answers);
    let bought: Vec<String> = answers.iter().filter_map(|answer| answer.outcome.as_ref().ok()).cloned().collect();
    let books = store.check(world, &bought, true).await?;
    eprintln!("{books}");
    ensure!(failed.is_empty(), "{} orders failed, the first: {:?}", failed.len(), failed.first());
    let seconds = answers.iter().map(|answer| answer.sent).max().zip(answers.iter().map(|answer| answer.sent).min());
    let seconds = seconds.map_or(Duration::ZERO, |(last, first)| last - first).as_secs_f64();
    let rate = answers.len() as f64 / seconds.max(0.001);
    ensure!(rate >= f64::from(orders) * 0.95, "the load was {rate:.0} orders/s only");
    Ok(())
}

fn id(component: &str) -> String {
    format!("swiftcart-{component}")
}

async fn update_everywhere(world: &World, component: &str, made: &Build) -> anyhow::Result<()> {
    for host in [world.a(), world.b()] {
        if world.component(host, &id(component)).await?.is_some() {
            let arguments = ["update", "component", &id(component), &made.reference(), "--host-id", host];
            world.wash.run(&arguments).await?.success()?;
        }
    }
    Ok(())
}

/// Waits until this build and no other serves the component, wherever that runs.
pub(crate) async fn serves(world: &World, component: &str, made: &Build) -> anyhow::Result<()> {
    eventually(SETTLED, &format!("the new {component} to serve"), async || {
        let mut hosts = 0;
        for host in 0..world.hosts.len() {
            if let Some(digest) = world.digest(host, &id(component)).await? {
                ensure!(digest == made.digest, "host {host} runs {digest}");
                hosts += 1;
            }
        }
        ensure!(hosts > 0, "it runs nowhere");
        Ok(())
    })
    .await
}
