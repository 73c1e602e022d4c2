//! A real cluster of three Kafka nodes: three copies of each topic, two of which must have a message before it counts.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::fault::{Fault, Victim};
use crate::settings::settings;
use crate::storm::storm;
use crate::world::Chaos;

/// Goal: no single broker is needed: while each dies and each stalls, orders are taken, and no event is lost or applied twice. Method: the same load; every
/// node is killed once and stalled once; the auditor reads what the cluster has in the end.
pub(crate) async fn each_broker_of_three_dies_under_load(chaos: &mut Chaos) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(settings().seed);
    let nodes = [Victim::Kafka(0), Victim::Kafka(1), Victim::Kafka(2)];
    let faults: Vec<Fault> = nodes.into_iter().flat_map(|node| [Fault::Kill(node), Fault::Stall(node)]).collect();
    let run = storm(chaos.world(3).await?, &faults, &mut random).await?;
    eprintln!("{run}");
    Ok(())
}
