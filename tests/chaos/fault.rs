//! What can befall a shop. Invariant: a fault ends by itself: what it killed runs again, what it paused goes on, what it told the PSP to do is taken back.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_support::service::Service;
use swiftcart_support::shop::Shop;

use crate::world::World;

/// How long something stays dead before it is started again.
const DOWN_MS: std::ops::Range<u64> = 0..1500;
/// How long something accepts and never answers.
const STALLED_MS: std::ops::Range<u64> = 1500..4000;
/// How long the PSP is away or slow.
const PSP_MS: u64 = 2500;
/// Calls of the PSP that fail, hang and so on.
const PSP_CALLS: u64 = 6;
/// So long these calls may take to come.
const PSP_CALLED: Duration = Duration::from_secs(60);

/// A server or the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Host,
    Postgres,
    Redis,
    /// A node, from 0 on.
    Kafka(usize),
    Mail,
    Psp,
    Issuer,
    Nats,
    Wadm,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, then a start on the same data.
    Kill(Victim),
    /// SIGKILL of Redis, then a start without any data.
    LoseRedis,
    /// SIGSTOP for a while: it accepts and never answers.
    Stall(Victim),
    /// The PSP answers 500.
    PspFails,
    /// The PSP answers 503 before it does anything.
    PspAway,
    /// The PSP reads and never answers, without an effect.
    PspHangs,
    /// The PSP charges and never answers.
    PspChargesAndHangs,
    /// The PSP charges and cuts the connection.
    PspChargesAndCuts,
    /// The PSP takes two seconds for everything.
    PspSlow,
}

/// Each kind once, for a shop without a lattice and with one Kafka node.
pub(crate) const ALL: [Fault; 20] = [
    Fault::Kill(Victim::Host),
    Fault::Kill(Victim::Postgres),
    Fault::Kill(Victim::Redis),
    Fault::Kill(Victim::Kafka(0)),
    Fault::Kill(Victim::Mail),
    Fault::Kill(Victim::Psp),
    Fault::Kill(Victim::Issuer),
    Fault::LoseRedis,
    Fault::Stall(Victim::Host),
    Fault::Stall(Victim::Postgres),
    Fault::Stall(Victim::Redis),
    Fault::Stall(Victim::Kafka(0)),
    Fault::Stall(Victim::Mail),
    Fault::Stall(Victim::Psp),
    Fault::PspFails,
    Fault::PspAway,
    Fault::PspHangs,
    Fault::PspChargesAndHangs,
    Fault::PspChargesAndCuts,
    Fault::PspSlow,
];

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(victim) => write!(out, "kill -9 {}", victim.name()),
            Self::LoseRedis => write!(out, "kill -9 redis, data lost"),
            Self::Stall(victim) => write!(out, "stall {}", victim.name()),
            Self::PspFails => write!(out, "psp: 500"),
            Self::PspAway => write!(out, "psp: 503"),
            Self::PspHangs => write!(out, "psp: hangs"),
            Self::PspChargesAndHangs => write!(out, "psp: charges, then hangs"),
            Self::PspChargesAndCuts => write!(out, "psp: charges, then cuts the connection"),
            Self::PspSlow => write!(out, "psp: slow"),
        }
    }
}

impl Victim {
    fn name(self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::Postgres => "postgres".to_owned(),
            Self::Redis => "redis".to_owned(),
            Self::Kafka(node) => format!("kafka {}", node + 1),
            Self::Mail => "mail server".to_owned(),
            Self::Psp => "psp".to_owned(),
            Self::Issuer => "token issuer".to_owned(),
            Self::Nats => "nats".to_owned(),
            Self::Wadm => "wadm".to_owned(),
        }
    }

    fn service(self, shop: &mut Shop) -> anyhow::Result<&mut Service> {
        let found: Option<&mut Service> = match self {
            Self::Host => shop.host.as_deref_mut(),
            Self::Postgres => shop.postgres.as_deref_mut(),
            Self::Redis => shop.redis.as_deref_mut(),
            Self::Kafka(0) => shop.kafka.as_deref_mut(),
            Self::Kafka(node) => shop.more_kafka.get_mut(node - 1).map(|node| &mut **node),
            Self::Mail => shop.maildev.as_deref_mut(),
            Self::Psp => Some(&mut shop.psp),
            Self::Issuer => Some(&mut shop.issuer),
            Self::Nats => shop.nats.as_deref_mut(),
            Self::Wadm => shop.wadm.as_deref_mut(),
        };
        found.with_context(|| format!("{} is not ours to kill", self.name()))
    }
}

impl Fault {
    /// Does it, and ends it.
    pub(crate) async fn strike(self, world: &mut World, random: &mut StdRng) -> anyhow::Result<()> {
        match self {
            Self::Kill(victim) => {
                victim.service(&mut world.shop)?.kill()?;
                pause(random, DOWN_MS).await;
                victim.service(&mut world.shop)?.start().await
            }
            Self::LoseRedis => {
                let Some(redis) = &mut world.shop.redis else { bail!("Redis is not ours to kill") };
                redis.kill_and_lose()?;
                pause(random, DOWN_MS).await;
                redis.start().await
            }
            Self::Stall(victim) => {
                victim.service(&mut world.shop)?.pause()?;
                pause(random, STALLED_MS).await;
                victim.service(&mut world.shop)?.resume()
            }
            Self::PspAway => psp_for(world, json!({"unavailable": true})).await,
            Self::PspSlow => psp_for(world, json!({"latency_ms": 2000})).await,
            Self::PspFails => psp_calls(world, "fail_next").await,
            Self::PspHangs => psp_calls(world, "hang_next").await,
            Self::PspChargesAndHangs => psp_calls(world, "charge_then_hang_next").await,
            Self::PspChargesAndCuts => psp_calls(world, "charge_then_close_next").await,
        }
    }
}

/// The length of a fault is part of it; nothing is waited for here.
async fn pause(random: &mut StdRng, millis: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(millis))).await;
}

async fn psp_for(world: &World, faults: Value) -> anyhow::Result<()> {
    world.client.psp_faults(&faults).await?;
    tokio::time::sleep(Duration::from_millis(PSP_MS)).await;
    world.client.psp_faults(&json!({})).await
}

/// Until as many calls have come as shall fail.
async fn psp_calls(world: &World, kind: &str) -> anyhow::Result<()> {
    world.client.psp_faults(&json!({kind: PSP_CALLS})).await?;
    let came = eventually(PSP_CALLED, "the calls that the PSP shall fail", async || {
        let left = world.client.psp_faults_left().await?;
        ensure!(left[kind] == 0, "{} have not come yet", left[kind]);
        Ok(())
    })
    .await;
    world.client.psp_faults(&json!({})).await?;
    came
}
