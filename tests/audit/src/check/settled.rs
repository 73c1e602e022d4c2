//! Whether anything is left to happen. Invariant checked: nothing that was begun is left lying.

use super::{Judged, Outcome};

pub(super) fn settled(judged: &Judged<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let (facts, before) = (judged.facts, judged.before);
    let late = |at: i64| at <= before;
    let seconds = |at: i64| (facts.taken_at - at) / 1_000_000;
    for (id, order) in &facts.orders {
        let pending = if order.state == "PENDING" {
            Some("PENDING")
        } else {
            (order.refund_state.as_deref() == Some("pending")).then_some("waiting for its refund")
        };
        let problem = pending.filter(|_| late(order.changed_at) && !facts.moving.contains(id));
        outcome.look(id, problem.map(|what| format!("is {what} for {} s", seconds(order.changed_at))));
    }
    for (id, payment) in &facts.payments {
        let open = matches!(payment.state.as_str(), "started" | "unknown") && late(payment.changed_at);
        outcome.look(
            id,
            open.then(|| format!("has a payment that is {} for {} s", payment.state, seconds(payment.changed_at))),
        );
    }
    for row in &facts.unpublished {
        let what =
            || format!("lies in the outbox of {} for {} since {} s", row.database, row.topic, seconds(row.created_at));
        outcome.look(&row.event_id, late(row.created_at).then(what));
    }
    for lag in &facts.lags {
        // On a live shop a few messages are always on their way.
        let behind = lag.messages > 0 && before == facts.taken_at;
        outcome.look(&lag.group, behind.then(|| format!("is {} messages behind in {}", lag.messages, lag.topic)));
    }
    let dead: usize = facts.dead_letters.values().sum();
    let lag: i64 = facts.lags.iter().map(|lag| lag.messages).sum();
    outcome.note = Some(format!("consumers are {lag} messages behind, {dead} dead letters"));
    outcome
}
