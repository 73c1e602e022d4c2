//! All points of one scene. Invariant: every one of them strikes, or the scene fails; a scene ends with an audit.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use redis::AsyncCommands as _;
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::buyer::Buyer;
use crate::control::{Action, Moment, Strike, Watch};
use crate::world::{SOON, World};

/// A call from outside, and what sets it off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene {
    /// For the report.
    pub(crate) name: &'static str,
    /// The component that is called.
    pub(crate) component: &'static str,
    /// Its export.
    pub(crate) export: &'static str,
    /// How the order is paid.
    pub(crate) card: &'static str,
    /// What there is of the product before.
    pub(crate) stock: i64,
    /// What sets the call off.
    pub(crate) cause: Cause,
}

/// What sets a call off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A buyer's request, or an event that follows from it.
    Order,
    /// A timer of this name that finds an order which was left like this.
    OrderTimer(&'static str, Left),
    /// A timer of this name that finds the overdue reservation of such an order.
    StockTimer(&'static str, Left),
}

/// How an order was left PENDING by a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Its stock is reserved and nothing more.
    Reserved,
    /// The PSP has the money and nobody wrote that down.
    Charged,
}

/// The exports that are called from outside.
pub(crate) const EDGE: &str = "wasi:http/incoming-handler";
pub(crate) const MESSAGES: &str = "swiftcart:kafka/handler";
pub(crate) const TIMER: &str = "swiftcart:timer/handler";

/// Watches one undisturbed run, then strikes at every point that it showed.
pub(crate) async fn every_point(world: &mut World, scene: Scene) -> anyhow::Result<()> {
    let began = Instant::now();
    let sku = world.product(scene.stock).await?;
    // The first order of a product also fills caches.
    play(world, scene, &sku, None).await.with_context(|| format!("{}: first run", scene.name))?;
    let (effects, _) = play(world, scene, &sku, None).await.with_context(|| format!("{}: record", scene.name))?;
    ensure!(!effects.is_empty(), "{}: no effect was seen", scene.name);
    println!("\n{}: {} effects", scene.name, effects.len());
    for (number, effect) in effects.iter().enumerate() {
        println!("{:>5}  {effect}", number + 1);
    }
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let mut points = 0;
    for (index, effect) in effects.iter().enumerate() {
        for moment in [Moment::Before, Moment::After] {
            for action in [Action::Fail, Action::Die] {
                let strike = Strike { effect: index + 1, moment, action };
                let label = || format!("{}: {strike} ({effect})", scene.name);
                let (_, end) = play(world, scene, &sku, Some(strike)).await.with_context(label)?;
                *ends.entry(end).or_default() += 1;
                points += 1;
            }
        }
    }
    world.settled().await.with_context(|| scene.name)?;
    let report = world.audited().await.with_context(|| scene.name)?;
    println!(
        "{}: {points} points of {points} converged ({} deaths), ends {ends:?}, {} orders audited, {:.0} s",
        scene.name,
        points / 2,
        report.judged,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Plays the scene once. Gives the effects of the call that was watched, if nothing struck, and how it ended for the buyer.
async fn play(
    world: &mut World,
    scene: Scene,
    sku: &str,
    strike: Option<Strike>,
) -> anyhow::Result<(Vec<String>, String)> {
    let buyer = Buyer::new(&world.client, sku, scene.card)?;
    let trace = Uuid::new_v4().simple().to_string();
    let watch = Watch { component: scene.component, export: scene.export, trace: None, subject: None };
    match scene.cause {
        Cause::Order => {
            world.control.arm(&Watch { trace: Some(&trace), ..watch }, strike).await?;
            // Whether there is an answer, and which, is what this is about.
            let _ = buyer.ask(Some(&trace)).await;
        }
        Cause::OrderTimer(timer, left) => {
            leave(world, &buyer, left).await?;
            due(world, &buyer, &Watch { subject: Some(timer), ..watch }, strike).await?;
        }
        Cause::StockTimer(timer, left) => {
            leave(world, &buyer, left).await?;
            world.control.arm(&Watch { subject: Some(timer), ..watch }, strike).await?;
            overdue(world, &buyer).await?;
            if strike.is_none() {
                released(world, &buyer).await?;
            }
        }
    }
    if strike.is_some() {
        world.struck().await?;
    }
    let end = match scene.cause {
        Cause::Order => insist(world, &buyer).await?,
        Cause::OrderTimer(..) | Cause::StockTimer(..) => {
            world.swept(&buyer.name).await?;
            world.states(&buyer.name).await?.join(", ")
        }
    };
    world.answers.extend(buyer.into_answers());
    if strike.is_some() {
        return Ok((Vec::new(), end));
    }
    world.settled().await?;
    let calls = world.control.progress().await?.calls;
    Ok((calls.into_iter().max_by_key(Vec::len).unwrap_or_default(), end))
}

/// Repeats the request, as a buyer who got no answer does, until it is decided.
async fn insist(world: &World, buyer: &Buyer) -> anyhow::Result<String> {
    eventually(SOON, "a decided answer", async || {
        world.lapse(&buyer.name, false).await?;
        Ok(buyer.ask(None).await?.to_string())
    })
    .await
}

/// Makes an order that its request leaves PENDING: a crash point does it.
async fn leave(world: &mut World, buyer: &Buyer, left: Left) -> anyhow::Result<()> {
    let effects = match &world.create {
        Some(effects) => effects.clone(),
        None => {
            let sku = world.product(10).await?;
            let effects = Box::pin(watch_create(world, &sku)).await?;
            world.create.insert(effects).clone()
        }
    };
    let number = |what: &str| {
        let found = effects.iter().position(|effect| effect.contains(what));
        found.map(|index| index + 1).with_context(|| format!("a create has no effect {what}: {effects:?}"))
    };
    let (effect, moment) = match left {
        Left::Reserved => (number(".reserve")?, Moment::After),
        // What follows the PSP's answer is writing it down.
        Left::Charged => (number(" http POST ")? + 1, Moment::Before),
    };
    let trace = Uuid::new_v4().simple().to_string();
    let watch = Watch { component: "gateway", export: EDGE, trace: Some(&trace), subject: None };
    world.control.arm(&watch, Some(Strike { effect, moment, action: Action::Fail })).await?;
    let answer = buyer.ask(Some(&trace)).await;
    world.struck().await?;
    let states = world.states(&buyer.name).await?;
    ensure!(states == ["PENDING"], "the order was to be left PENDING and is {states:?}: {answer:?}");
    Ok(())
}

async fn watch_create(world: &mut World, sku: &str) -> anyhow::Result<Vec<String>> {
    let scene = Scene {
        name: "create",
        component: "gateway",
        export: EDGE,
        card: "pm_card_visa",
        stock: 10,
        cause: Cause::Order,
    };
    play(world, scene, sku, None).await?;
    Ok(play(world, scene, sku, None).await?.0)
}

/// Lets the sweep find a buyer's order in the moment in which its call is watched, not before.
async fn due(world: &World, buyer: &Buyer, watch: &Watch<'_>, strike: Option<Strike>) -> anyhow::Result<()> {
    let mut transaction = world.orders.begin().await?;
    sqlx::query(
        "UPDATE orders SET lease_until = now() - interval '1 minute' WHERE user_id = $1::uuid AND state = 'PENDING'",
    )
    .bind(&buyer.name)
    .execute(&mut *transaction)
    .await?;
    world.control.arm(watch, strike).await?;
    transaction.commit().await?;
    Ok(())
}

/// Sets the end of a buyer's reservation back.
async fn overdue(world: &World, buyer: &Buyer) -> anyhow::Result<()> {
    let order = pending_order(world, buyer).await?;
    let mut redis = connection(world).await?;
    let _: () = redis.hset(format!("reservation:{order}"), "expires", 1).await?;
    let _: () = redis.zadd("reservations:expiry", order, 1).await?;
    Ok(())
}

/// Waits until it is given back.
async fn released(world: &World, buyer: &Buyer) -> anyhow::Result<()> {
    let order = pending_order(world, buyer).await?;
    let redis = connection(world).await?;
    eventually(SOON, "the reservation to be given back", async || {
        let score: Option<f64> = redis.clone().zscore("reservations:expiry", &order).await?;
        ensure!(score.is_none(), "it is still there");
        Ok(())
    })
    .await
}

async fn pending_order(world: &World, buyer: &Buyer) -> anyhow::Result<String> {
    let found = sqlx::query_scalar("SELECT id::text FROM orders WHERE user_id = $1::uuid").bind(&buyer.name);
    Ok(found.fetch_one(&world.orders).await?)
}

async fn connection(world: &World) -> anyhow::Result<redis::aio::MultiplexedConnection> {
    let client = redis::Client::open(world.shop.addresses().redis_url.as_str())?;
    Ok(client.get_multiplexed_async_connection().await?)
}
