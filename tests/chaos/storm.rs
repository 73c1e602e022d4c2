//! Every fault, one after the other, while orders come in.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use serde_json::json;
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::fault::{ALL, Fault};
use crate::load::{Load, Log, Shared, Shelf};
use crate::report::{Run, Struck};
use crate::settings::settings;
use crate::world::{Chaos, Form, World};

/// Good answers between two faults: the load really runs when the next one strikes.
const GOOD_BETWEEN: usize = 20;
/// A shop that has not recovered by then will not.
const RECOVERED: Duration = Duration::from_secs(180);
/// Products of which there is plenty.
const PRODUCTS: usize = 5;
const PLENTY: i64 = 10_000_000;
const FEW: i64 = 40;

/// Goal: whatever dies, stalls or fails, every answer given holds, nothing is lost or doubled, and the shop comes back by itself. Method: a steady load of all
/// kinds of orders; faults drawn by the seed, one at a time; a new order succeeds after each; in the end all books are audited.
pub(crate) async fn every_fault_under_load(chaos: &mut Chaos) -> anyhow::Result<()> {
    let settings = settings();
    let mut random = StdRng::seed_from_u64(settings.seed);
    let wanted = |fault: &&Fault| settings.only.as_ref().is_none_or(|only| fault.to_string().contains(only));
    let kinds: Vec<Fault> = ALL.iter().filter(wanted).copied().collect();
    ensure!(!kinds.is_empty(), "no fault has {:?} in its name", settings.only);
    let faults = draw(&kinds, settings.faults.unwrap_or(kinds.len()), &mut random);
    let world = chaos.world(Form::Alone).await?;
    let run = storm(world, &faults, &mut random).await?;
    if let Some(path) = &settings.json {
        std::fs::write(path, serde_json::to_vec_pretty(&run.json())?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    eprintln!("{run}");
    Ok(())
}

/// As many as wanted; each kind before any comes again.
fn draw(all: &[Fault], count: usize, random: &mut StdRng) -> Vec<Fault> {
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let mut round = all.to_vec();
        round.shuffle(random);
        drawn.extend(round.into_iter().take(count - drawn.len()));
    }
    drawn
}

/// A run with a list of faults. An error says with which seed it happened.
pub(crate) async fn storm(world: &mut World, faults: &[Fault], random: &mut StdRng) -> anyhow::Result<Run> {
    let settings = settings();
    let again = || {
        let (seed, rate, count) = (settings.seed, settings.rate, faults.len());
        let only = settings.only.as_ref().map(|only| format!(" --only '{only}'")).unwrap_or_default();
        format!("to run it again: cargo xtask test chaos -- --seed {seed} --faults {count} --rate {rate}{only}")
    };
    under_load(world, faults, random).await.with_context(again)
}

async fn under_load(world: &mut World, faults: &[Fault], random: &mut StdRng) -> anyhow::Result<Run> {
    let settings = settings();
    world.disorderly_webhooks().await?;
    let load = Load::start(&world.client, shelf(world).await?, settings.seed, settings.rate);
    let began = Instant::now();
    eprintln!("seed {}, {} orders a second", settings.seed, settings.rate);
    let mut struck = Vec::new();
    for (number, fault) in faults.iter().enumerate() {
        flowing(&load.log).await?;
        let at = Instant::now();
        eprintln!("[{:>7.1} s] {} of {}: {fault}", (at - began).as_secs_f64(), number + 1, faults.len());
        fault.strike(world, random).await.with_context(|| format!("fault {}: {fault}", number + 1))?;
        let lasted = at.elapsed();
        world.supervise().await?;
        world.disorderly_webhooks().await?;
        recovered(world).await.with_context(|| format!("after fault {}: {fault}", number + 1))?;
        struck.push(Struck { fault: fault.to_string(), at, lasted, recovered: at.elapsed() });
    }
    flowing(&load.log).await?;
    let log = load.finish().await?;
    promises(&log)?;
    let report = world.clean(log.answers.clone()).await?;
    let (seed, rate, audited) = (settings.seed, settings.rate, report.judged);
    eprint!("{report}");
    Ok(Run { seed, rate, began, faults: struck, log, audited })
}

async fn shelf(world: &World) -> anyhow::Result<Shelf> {
    let cancellations = world.takes_cancellations().await?;
    let mut plenty = Vec::new();
    for _ in 0..PRODUCTS {
        plenty.push(world.product(PLENTY).await?);
    }
    // The last units can be sold twice when Redis forgets its reservations; that needs the way back, which came with cancellations.
    let scarce = if cancellations { Some(world.product(FEW).await?) } else { None };
    Ok(Shelf { plenty, sold_out: world.sold_out().await?, scarce, cancellations })
}

/// Waits until the load has had good answers again.
async fn flowing(log: &Shared) -> anyhow::Result<()> {
    let before = log.lock().good.len();
    eventually(RECOVERED, "good answers", async || {
        let good = log.lock().good.len() - before;
        ensure!(good >= GOOD_BETWEEN, "{good} of {GOOD_BETWEEN}; answers so far: {:?}", log.lock().statuses);
        Ok(())
    })
    .await
}

/// Waits until somebody who comes now is served.
async fn recovered(world: &World) -> anyhow::Result<()> {
    let sku = eventually(RECOVERED, "a new product", async || world.product(1).await).await?;
    let token = world.client.token(&format!("probe-{}", Uuid::new_v4()), "orders:read orders:write")?;
    let body = json!({"items": [{"sku": sku, "qty": 1}], "currency": "USD", "payment": {"method": "pm_card_visa"}});
    let key = Uuid::new_v4().to_string();
    eventually(RECOVERED, "a new order", async || {
        let asked =
            tokio::time::timeout(Duration::from_secs(15), world.client.post_order(&token, Some(&key), &body)).await;
        asked.context("no answer")??.expect_status(201).map(drop)
    })
    .await
}

/// What answers must be like, whatever happened.
fn promises(log: &Log) -> anyhow::Result<()> {
    ensure!(
        log.wrong.is_empty(),
        "{} answers against the contract, among them: {:?}",
        log.wrong.len(),
        log.wrong.iter().take(5).collect::<Vec<_>>()
    );
    ensure!(log.gave_up == 0, "{} clients gave up; answers: {:?}", log.gave_up, log.statuses);
    Ok(())
}
