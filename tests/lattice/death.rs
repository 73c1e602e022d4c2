//! A host dies.

use std::time::{Duration, Instant};

use anyhow::ensure;
use swiftcart_support::eventually;

use crate::audit;
use crate::load::{self, Load};
use crate::world::World;

/// Everything that ran on the dead host alone must run elsewhere by then.
const MOVED: Duration = Duration::from_secs(20);
/// How long a buyer tries.
const PATIENCE: Duration = Duration::from_secs(90);
/// Orders per second while it dies; every buyer repeats until he is answered.
const RATE: u32 = 40;

/// Goal: kill -9 of a host under load: what ran on it alone moves within 20 s, buyers who repeat their request with the same key get their order, no call
/// hangs, all books are right. Method: buyers at both edges who go to the other one when theirs fails; the host that runs the consumer is killed.
pub(crate) async fn a_killed_hosts_work_moves(world: &mut World) -> anyhow::Result<()> {
    let store = audit::deploy(world).await?;
    let (sku, buyers) = (store.product(1_000_000).await?, store.buyers()?);
    let notification = "swiftcart-notification";
    // wadm put the consumer on one host: that one dies.
    let dying = usize::from(world.component(world.a(), notification).await?.is_none());
    let surviving = world.hosts[1 - dying].id().to_owned();
    let load = Load::start(RATE, {
        let (clients, sku) = (store.clients.clone(), sku.clone());
        move |number| {
            let at = usize::try_from(number).unwrap_or(0);
            let (clients, token, sku) = (clients.clone(), buyers[at % buyers.len()].clone(), sku.clone());
            async move {
                let (key, began, mut tried) = (uuid::Uuid::new_v4().to_string(), Instant::now(), at);
                loop {
                    let sent = Instant::now();
                    let client = clients[tried % clients.len()].clone();
                    let said = audit::buy(client, token.clone(), key.clone(), sku.clone()).await;
                    if sent.elapsed() > Duration::from_secs(15) {
                        return Err(format!("a call hung for {:?}: {said:?}", sent.elapsed()));
                    }
                    match said {
                        Ok(order) => return Ok(order),
                        Err(error) if began.elapsed() > PATIENCE => return Err(error),
                        Err(_) => tried += 1,
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    });
    // Orders flow before anything is killed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let killed = Instant::now();
    world.hosts[dying].kill()?;
    eventually(Duration::from_secs(60), "the consumer to run on the host that is left", async || {
        ensure!(world.component(&surviving, notification).await?.is_some(), "not yet");
        Ok(())
    })
    .await?;
    let moved = killed.elapsed();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let answers = load.end().await?;
    eprintln!("host killed: its work ran elsewhere after {moved:?}; {}", load::summary(&answers));
    let failed = load::failed(&answers);
    ensure!(failed.is_empty(), "{} buyers had no answer, the first: {:?}", failed.len(), failed.first());
    let bought: Vec<String> = answers.iter().filter_map(|answer| answer.outcome.as_ref().ok()).cloned().collect();
    eprintln!("{}", store.check(world, &bought, false).await?);
    ensure!(moved < MOVED, "it took {moved:?}");
    Ok(())
}
