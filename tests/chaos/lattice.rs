//! The shop as a lattice: what tells the host what to run dies, while orders come in.

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::fault::{Fault, Victim};
use crate::settings::settings;
use crate::storm::storm;
use crate::world::{Chaos, Form};

/// Goal: NATS and wadm are not needed to sell: what runs goes on without them, and a host that dies is given its work again. Method: the same load; NATS
/// killed and stalled, wadm and the host killed; the auditor.
pub(crate) async fn nats_and_wadm_die_under_load(chaos: &mut Chaos) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(settings().seed);
    let faults =
        [Fault::Kill(Victim::Nats), Fault::Stall(Victim::Nats), Fault::Kill(Victim::Wadm), Fault::Kill(Victim::Host)];
    let run = storm(chaos.world(Form::Lattice).await?, &faults, &mut random).await?;
    eprintln!("{run}");
    Ok(())
}
