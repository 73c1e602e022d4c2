//! All points of one scene. Invariant: every one of them strikes, or the scene fails; a scene ends with an audit.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};

use crate::buyer::Buyer;
use crate::causes::{Cause, begin, end};
use crate::control::{Action, Call, Moment, Strike};
use crate::world::World;

/// A call from outside, and what sets it off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    /// For the report.
    pub(crate) name: &'static str,
    /// The component that is called.
    pub(crate) component: &'static str,
    /// Its export.
    pub(crate) export: &'static str,
    /// What the call is about, where that tells it from others.
    pub(crate) subject: Option<&'a str>,
    /// How the order is paid.
    pub(crate) card: &'static str,
    /// What there is of the product before.
    pub(crate) stock: i64,
    /// What sets the call off.
    pub(crate) cause: Cause,
}

/// How often a scene is played until the call that is meant is watched.
const TRIES: u32 = 8;

/// The exports that are called from outside.
pub(crate) const EDGE: &str = "wasi:http/incoming-handler";
pub(crate) const MESSAGES: &str = "swiftcart:kafka/handler";
pub(crate) const TIMER: &str = "swiftcart:timer/handler";

/// What the host does by itself is watched as calls of this component.
pub(crate) const HOST: &str = "host";
/// A batch of an outbox; its subject is the topics.
pub(crate) const RELAY: &str = "relay";
/// A commit of offsets; its subject is the group.
pub(crate) const COMMIT: &str = "commit";

impl Scene<'_> {
    /// The trace in which the call is found: what the host does by itself belongs to none.
    pub(crate) fn trace<'t>(&self, trace: &'t str) -> Option<&'t str> {
        (self.component != HOST).then_some(trace)
    }
}

/// Watches one undisturbed run, then strikes at every point that it showed.
pub(crate) async fn every_point(world: &mut World, scene: Scene<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    let (sku, effects) = record(world, scene).await?;
    let ends = every_strike(world, scene, &sku, &effects).await?;
    conclude(world, scene, &ends, began).await
}

/// The same for what the host does by itself: an undisturbed run shows which rows of steps there are, each with a subject of its own.
pub(crate) async fn every_step(world: &mut World, scene: Scene<'_>) -> anyhow::Result<()> {
    let began = Instant::now();
    let (sku, _) = record(world, scene).await?;
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Call { subject, effects } in world.control.progress().await?.calls {
        let longest = rows.entry(subject).or_default();
        if longest.len() < effects.len() {
            *longest = effects;
        }
    }
    let mut ends = Ends::new();
    for (subject, effects) in &rows {
        println!("       {subject}: {}", effects.join(", "));
        let scene = Scene { subject: Some(subject), ..scene };
        for (end, count) in every_strike(world, scene, &sku, effects).await? {
            *ends.entry(end).or_default() += count;
        }
    }
    conclude(world, scene, &ends, began).await
}

/// How the points of a scene ended for the buyers, and how many each way.
type Ends = BTreeMap<String, usize>;

/// Watches one undisturbed run; gives the product and the effects that were seen.
async fn record(world: &mut World, scene: Scene<'_>) -> anyhow::Result<(String, Vec<String>)> {
    let sku = world.product(scene.stock).await?;
    first_order(world, &sku, scene.card).await.with_context(|| format!("{}: first order", scene.name))?;
    let effects = play(world, scene, &sku, None).await.with_context(|| format!("{}: record", scene.name))?.effects;
    ensure!(!effects.is_empty(), "{}: no effect was seen", scene.name);
    println!("\n{}: {} effects", scene.name, effects.len());
    for (number, effect) in effects.iter().enumerate() {
        println!("{:>5}  {effect}", number + 1);
    }
    Ok((sku, effects))
}

/// Strikes before and after each effect, to fail and to die.
async fn every_strike(world: &mut World, scene: Scene<'_>, sku: &str, effects: &[String]) -> anyhow::Result<Ends> {
    let mut ends = Ends::new();
    for (index, effect) in effects.iter().enumerate() {
        for moment in [Moment::Before, Moment::After] {
            for action in [Action::Fail, Action::Die] {
                let strike = Strike { effect: index + 1, moment, action };
                let subject = scene.subject.unwrap_or_default();
                let label = || format!("{} {subject}: {strike} ({effect})", scene.name);
                let played = play(world, scene, sku, Some(strike)).await.with_context(label)?;
                *ends.entry(played.end).or_default() += 1;
            }
        }
    }
    Ok(ends)
}

/// Reads all books, and says how the scene went.
async fn conclude(world: &World, scene: Scene<'_>, ends: &Ends, began: Instant) -> anyhow::Result<()> {
    let points: usize = ends.values().sum();
    world.refunded().await.with_context(|| scene.name)?;
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

/// The first order of a product also fills caches.
pub(crate) async fn first_order(world: &mut World, sku: &str, card: &str) -> anyhow::Result<()> {
    let buyer = Buyer::new(&world.client, sku, card)?;
    end(world, Cause::Order, &buyer).await?;
    world.answers.extend(buyer.into_answers());
    Ok(())
}

/// What a scene showed.
pub(crate) struct Played {
    /// The effects of the call that was watched, if nothing struck.
    pub(crate) effects: Vec<String>,
    /// How it ended for the buyer.
    pub(crate) end: String,
}

/// Plays the scene until the call that is meant was watched.
pub(crate) async fn play(
    world: &mut World,
    scene: Scene<'_>,
    sku: &str,
    strike: Option<Strike>,
) -> anyhow::Result<Played> {
    for _ in 0..TRIES {
        if let Some(played) = attempt(world, scene, sku, strike).await? {
            return Ok(played);
        }
    }
    bail!("the call was missed {TRIES} times")
}

/// Plays the scene once; nothing if the call that is meant was missed.
async fn attempt(
    world: &mut World,
    scene: Scene<'_>,
    sku: &str,
    strike: Option<Strike>,
) -> anyhow::Result<Option<Played>> {
    let sku = match scene.cause {
        Cause::Rejection => &world.lost_product().await?,
        _ => sku,
    };
    let buyer = Buyer::new(&world.client, sku, scene.card)?;
    let over = begin(world, scene, &buyer, strike).await?;
    let struck = match strike {
        Some(_) => world.struck(&over).await?,
        None => true,
    };
    let end = end(world, scene.cause, &buyer).await?;
    if scene.cause == Cause::Rejection {
        world.forget(sku).await?;
    }
    world.answers.extend(buyer.into_answers());
    if strike.is_some() {
        return Ok(struck.then(|| Played { effects: Vec::new(), end }));
    }
    if scene.export != EDGE {
        // A request is done when it is answered.
        world.settled().await?;
    }
    let calls = world.control.progress().await?.calls;
    // The first of the longest: a message is followed by others of its trace.
    let effects = calls.into_iter().map(|call| call.effects).rev().max_by_key(Vec::len).unwrap_or_default();
    Ok((!is_missed(scene, &effects)).then_some(Played { effects, end }))
}

/// Whether somebody else did the work of the call that is meant: an earlier tick, or payment's sweep, which takes up what a message asked for.
fn is_missed(scene: Scene<'_>, effects: &[String]) -> bool {
    match (scene.component, scene.export) {
        ("payment", _) => !effects.iter().any(|effect| effect.contains(" http POST ")),
        (_, TIMER) => effects.len() < 2,
        _ => false,
    }
}
