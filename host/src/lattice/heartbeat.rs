//! Tells the lattice at equal intervals what runs here. Every heartbeat makes wadm rewrite its records, so it mends whatever event was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::member::Member;

/// Beats until told to stop: at once, then at intervals, and whenever asked to.
pub(crate) async fn run(member: Arc<Member>, interval: Duration, beat: Arc<Notify>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = beat.notified() => {}
            () = stop.cancelled() => return,
        }
        member.events.publish("host_heartbeat", member.inventory_json()).await;
    }
}
