//! A real cluster of three Kafka nodes: three copies of each topic, two of which must have a message before it counts.

use std::time::Duration;

use anyhow::ensure;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use swiftcart_support::eventually;
use swiftcart_tests::broker::Broker;

use crate::fault::{Fault, Victim};
use crate::settings::settings;
use crate::storm::storm;
use crate::world::{Chaos, Form};

/// A topic that not all brokers know by then was not made.
const KNOWN: Duration = Duration::from_secs(60);

/// Goal: no single broker is needed: while each dies and each stalls, orders are taken, and no event is lost or applied twice. Method: the same load; every
/// node is killed once and stalled once; the auditor reads what the cluster has in the end.
pub(crate) async fn each_broker_of_three_dies_under_load(chaos: &mut Chaos) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(settings().seed);
    let world = chaos.world(Form::ThreeBrokers).await?;
    let broker = Broker::new(&world.shop.addresses().kafka_bootstrap_servers);
    for topic in ["orders.confirmed.v1", "orders.failed.v1", "payments.succeeded.v1"] {
        // Each broker hears of a new topic at a time of its own.
        eventually(KNOWN, "three copies of each topic", async || {
            let copies = broker.copies(topic).await?;
            ensure!(copies == Some(3), "{topic} has {copies:?} copies: no broker could be spared");
            Ok(())
        })
        .await?;
    }
    let nodes = [Victim::Kafka(0), Victim::Kafka(1), Victim::Kafka(2)];
    let faults: Vec<Fault> = nodes.into_iter().flat_map(|node| [Fault::Kill(node), Fault::Stall(node)]).collect();
    let run = storm(world, &faults, &mut random).await?;
    eprintln!("{run}");
    Ok(())
}
