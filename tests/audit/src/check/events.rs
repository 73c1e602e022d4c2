//! Events. Invariant checked: an event exists if and only if its change of state is committed. The same event may have been delivered more than
//! once; it is then the same event id.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::{Judged, Outcome};

/// Tells that the PSP did not give money back.
const REFUND_FAILED: &str = "payments.refund-failed.v1";

/// Event ids by topic and order.
fn ids<'a>(judged: &'a Judged<'_>) -> BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>> {
    let mut ids: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for event in &judged.facts.events {
        ids.entry((&event.topic, &event.order_id)).or_default().insert(&event.event_id);
    }
    ids
}

/// Compares what there is with what there must be, in topics that still have messages of that time.
fn compare(
    judged: &Judged<'_>,
    ids: &BTreeMap<(&str, &str), BTreeSet<&str>>,
    order: &str,
    changed_at: i64,
    expected: &[(&str, RangeInclusive<usize>)],
) -> Option<String> {
    let mut wrong = Vec::new();
    for (topic, wanted) in expected {
        if judged.facts.forgotten_before.get(*topic).is_some_and(|oldest| changed_at < *oldest) {
            continue;
        }
        let count = ids.get(&(*topic, order)).map_or(0, BTreeSet::len);
        if !wanted.contains(&count) {
            wrong.push(format!("{count} event ids in {topic} instead of {}", wanted.start()));
        }
    }
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

pub(super) fn of_orders(judged: &Judged<'_>) -> Outcome {
    let ids = ids(judged);
    let mut outcome = Outcome::default();
    for (id, order) in judged.orders() {
        let expected = [
            ("orders.confirmed.v1", once(order.was_confirmed())),
            ("orders.failed.v1", once(order.state == "FAILED")),
            ("orders.cancelled.v1", once(order.state == "CANCELLED")),
            ("inventory.rejected.v1", once(order.was_rejected())),
        ];
        // Inventory may have rejected an order that its buyer cancelled at the same moment.
        let expected = if order.state == "CANCELLED" { expected.get(..3).unwrap_or_default() } else { &expected[..] };
        let problem = compare(judged, &ids, id, order.changed_at, expected);
        outcome.look(id, problem.map(|problem| format!("is {} and has {problem}", order.state)));
    }
    let delivered = judged.facts.events.len();
    let distinct: usize = ids.values().map(BTreeSet::len).sum();
    outcome.note = Some(format!("{distinct} events, {} of them delivered again", delivered.saturating_sub(distinct)));
    outcome
}

pub(super) fn of_payments(judged: &Judged<'_>) -> Outcome {
    let ids = ids(judged);
    let mut outcome = Outcome::default();
    for (id, payment) in &judged.facts.payments {
        if payment.changed_at > judged.before
            || !judged.may_judge(id)
            || matches!(payment.state.as_str(), "started" | "unknown")
        {
            continue;
        }
        // A tombstone tells nobody anything: no payment was asked for.
        let failed = matches!(payment.state.as_str(), "declined" | "unavailable") && payment.amount.is_some();
        let refund = judged.facts.orders.get(id).and_then(|order| order.refund_state.as_deref());
        let failures = ids.get(&(REFUND_FAILED, id.as_str())).map_or(0, BTreeSet::len);
        let (refunded, refund_failed) = refund_events(refund, failures);
        let expected = [
            ("payments.succeeded.v1", once(payment.state == "succeeded")),
            ("payments.failed.v1", once(failed)),
            ("payments.refunded.v1", refunded),
            (REFUND_FAILED, refund_failed),
        ];
        // While a refund is under way its event may come at any moment.
        let expected = if refund == Some("pending") { expected.get(..2).unwrap_or_default() } else { &expected[..] };
        let problem = compare(judged, &ids, id, payment.changed_at, expected);
        outcome.look(id, problem.map(|problem| format!("has a payment that is {} and {problem}", payment.state)));
    }
    outcome
}

fn once(wanted: bool) -> RangeInclusive<usize> {
    let count = usize::from(wanted);
    count..=count
}

/// How many events tell that money went back, and how many that it did not: a refund that failed may have succeeded before (it came back), and one that
/// succeeded may have failed before (it was made by hand), each time once.
fn refund_events(shown: Option<&str>, failures: usize) -> (RangeInclusive<usize>, RangeInclusive<usize>) {
    match shown {
        Some("succeeded") => (1..=1 + failures, 0..=failures),
        Some("failed") => (0..=failures, 1..=failures.max(1)),
        _ => (0..=0, 0..=0),
    }
}

pub(super) fn have_causes(judged: &Judged<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for ((topic, order), event_ids) in ids(judged) {
        let problem = if event_ids.contains("") {
            Some(format!("stands on a message of {topic} that is no event"))
        } else if judged.facts.known.contains(order) {
            None
        } else {
            Some(format!("has an event in {topic} and does not exist"))
        };
        outcome.look(order, problem);
    }
    outcome
}
