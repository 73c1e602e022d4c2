//! The first seconds of new code. If too many of its calls trap, the version before serves again: an operator who sleeps is better served by
//! the old code than by a broken one.

use std::sync::Arc;

use super::{Inner, Notice, Running, lock};
use crate::limits;
use crate::runtime::Component;

/// Watches `new` for the time of its probation. `old` and what it was made of are kept for as long.
pub(super) fn begin(workload: &Arc<Inner>, new: Arc<Component>, old: Arc<Component>, made_of: Running) {
    // Whoever ends the host ends the watch; it holds no more than the version it may bring back.
    let workload = Arc::downgrade(workload);
    tokio::spawn(async move {
        let over = tokio::time::sleep(limits::PROBATION);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = new.pool.record.broke.notified() => {}
            }
            let Some(workload) = workload.upgrade() else { return };
            if !workload.slot(&made_of.plan.name).serves(&new) {
                return;
            }
            let (ended, broken) = new.pool.record.counts();
            if is_too_bad(ended, broken) {
                return go_back(&workload, &new, old, made_of, ended, broken).await;
            }
        }
    });
}

fn is_too_bad(ended: u64, broken: u64) -> bool {
    broken >= limits::PROBATION_TRAPS && broken.saturating_mul(100) >= ended.saturating_mul(limits::PROBATION_PERCENT)
}

async fn go_back(
    workload: &Arc<Inner>,
    new: &Arc<Component>,
    old: Arc<Component>,
    made_of: Running,
    ended: u64,
    broken: u64,
) {
    let id = made_of.plan.name.clone();
    let turn = workload.turn(&id);
    {
        let _order = turn.order.lock().await;
        old.pool.retire(false);
        if !workload.slot(&id).replace(new, old.clone()) {
            return;
        }
        new.pool.retire(true);
        workload.remember_again(made_of);
    }
    let reason = format!("{broken} of its first {ended} calls trapped");
    tracing::error!(component = %id, from = %new.identity.digest, to = %old.identity.digest, reason, "new code is given up; the version before serves again");
    metrics::counter!("swiftcart_component_rollbacks_total", "component" => id.clone()).increment(1);
    let notice = Notice::RolledBack {
        id: id.clone(),
        from: new.identity.digest.clone(),
        to: old.identity.digest.clone(),
        reason,
    };
    // Nobody listening is no fault.
    let _ = workload.notices.send(notice);
    drop(old);
    // Links may have changed since that version was made.
    if lock(&workload.running).contains_key(&id)
        && let Err(error) = workload.relink(&id).await
    {
        tracing::error!(component = %id, %error, "the version before keeps its links as they were");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a few traps among many answers do not turn a version back, a broken one is turned back at once. Method: counts.
    #[test]
    fn only_a_high_rate_of_traps_is_too_bad() {
        for (ended, broken, bad) in
            [(1, 1, false), (2, 2, false), (3, 3, true), (100, 3, false), (20, 10, true), (21, 5, false)]
        {
            assert_eq!(is_too_bad(ended, broken), bad, "{broken} of {ended}");
        }
    }
}
