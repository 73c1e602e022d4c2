//! All points of one scene. Invariant: every one of them strikes, or the scene fails; a scene ends with an audit.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use redis::AsyncCommands as _;
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::buyer::Buyer;
use crate::control::{Action, Moment, Strike, Watch};
use crate::world::{Over, SOON, World};

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

/// How often a scene is played until the call that is meant is watched.
const TRIES: u32 = 8;

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
    let effects = play(world, scene, &sku, None).await.with_context(|| format!("{}: record", scene.name))?.effects;
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
                let played = play(world, scene, &sku, Some(strike)).await.with_context(label)?;
                *ends.entry(played.end).or_default() += 1;
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

/// What a scene showed.
struct Played {
    /// The effects of the call that was watched, if nothing struck.
    effects: Vec<String>,
    /// How it ended for the buyer.
    end: String,
}

/// Plays the scene until the call that is meant was watched.
async fn play(world: &mut World, scene: Scene, sku: &str, strike: Option<Strike>) -> anyhow::Result<Played> {
    for _ in 0..TRIES {
        if let Some(played) = attempt(world, scene, sku, strike).await? {
            return Ok(played);
        }
    }
    bail!("the timer's call was missed {TRIES} times")
}

/// Plays the scene once; nothing if a timer's call was missed.
async fn attempt(world: &mut World, scene: Scene, sku: &str, strike: Option<Strike>) -> anyhow::Result<Option<Played>> {
    let buyer = Buyer::new(&world.client, sku, scene.card)?;
    let over = begin(world, scene, &buyer, strike).await?;
    let struck = match strike {
        Some(_) => world.struck(&over).await?,
        None => true,
    };
    let end = match scene.cause {
        Cause::Order => insist(world, &buyer).await?,
        Cause::OrderTimer(..) | Cause::StockTimer(..) => {
            world.swept(&buyer.name).await?;
            world.states(&buyer.name).await?.join(", ")
        }
    };
    world.answers.extend(buyer.into_answers());
    if strike.is_some() {
        return Ok(struck.then(|| Played { effects: Vec::new(), end }));
    }
    world.settled().await?;
    let calls = world.control.progress().await?.calls;
    let effects = calls.into_iter().max_by_key(Vec::len).unwrap_or_default();
    let missed = scene.cause != Cause::Order && effects.len() < 2;
    Ok((!missed).then_some(Played { effects, end }))
}

/// Sets off what is watched.
async fn begin(world: &mut World, scene: Scene, buyer: &Buyer, strike: Option<Strike>) -> anyhow::Result<Over> {
    let watch = Watch { component: scene.component, export: scene.export, trace: None, subject: None };
    match scene.cause {
        Cause::Order => {
            let trace = Uuid::new_v4().simple().to_string();
            world.control.arm(&Watch { trace: Some(&trace), ..watch }, strike).await?;
            // Whether there is an answer, and which, is what this is about.
            let _ = buyer.ask(Some(&trace)).await;
            Ok(Over::Never)
        }
        Cause::OrderTimer(timer, left) => {
            leave(world, buyer, left).await?;
            due(world, buyer, &Watch { subject: Some(timer), ..watch }, strike).await?;
            Ok(Over::Decided(world.orders.clone(), buyer.name.clone()))
        }
        Cause::StockTimer(timer, left) => {
            leave(world, buyer, left).await?;
            world.control.arm(&Watch { subject: Some(timer), ..watch }, strike).await?;
            let over = overdue(world, buyer).await?;
            if strike.is_none() {
                eventually(SOON, "the reservation to be given back", async || {
                    ensure!(over.reached().await?, "it is still there");
                    Ok(())
                })
                .await?;
            }
            Ok(over)
        }
    }
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
    world.struck(&Over::Never).await?;
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
    Ok(play(world, scene, sku, None).await?.effects)
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
async fn overdue(world: &World, buyer: &Buyer) -> anyhow::Result<Over> {
    let order: String = sqlx::query_scalar("SELECT id::text FROM orders WHERE user_id = $1::uuid")
        .bind(&buyer.name)
        .fetch_one(&world.orders)
        .await?;
    let client = redis::Client::open(world.shop.addresses().redis_url.as_str())?;
    let mut redis = client.get_multiplexed_async_connection().await?;
    let _: () = redis.hset(format!("reservation:{order}"), "expires", 1).await?;
    let _: () = redis.zadd("reservations:expiry", &order, 1).await?;
    Ok(Over::Released(redis, order))
}
