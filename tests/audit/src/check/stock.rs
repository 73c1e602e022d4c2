//! Stock. Invariant checked: the shelf, its history, the counters and the orders tell the same story.

use std::collections::BTreeMap;

use super::{Judged, Outcome};
use crate::facts::{Counted, Order};

/// What an order moved: how many movements and how much, by kind and sku.
type Moved<'a> = BTreeMap<(&'a str, &'a str), (usize, i64)>;

pub(super) fn not_negative(judged: &Judged<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for stock in &judged.facts.stock {
        let lowest = stock.counted.last().and_then(|counted| counted.counter).unwrap_or(0).min(stock.on_hand);
        outcome
            .look(&stock.sku, (lowest < 0).then(|| format!("{} on hand, {:?}", stock.on_hand, stock.counted.last())));
    }
    outcome
}

pub(super) fn adds_up(judged: &Judged<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    for stock in &judged.facts.stock {
        let (on_hand, moved) = (stock.on_hand, stock.moved);
        let wrong = on_hand != moved;
        outcome.look(&stock.sku, wrong.then(|| format!("{on_hand} on hand, all movements add up to {moved}")));
    }
    outcome
}

/// A counter is wrong only if it was wrong by the same number at every look.
pub(super) fn counter(judged: &Judged<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut missing = 0;
    for stock in &judged.facts.stock {
        let drift = stock.counted.first().map_or(0, Counted::drift);
        let wrong = drift != 0 && stock.counted.iter().all(|counted| counted.drift() == drift);
        let Some(last) = stock.counted.last() else { continue };
        missing += usize::from(last.counter.is_none());
        let what = || {
            let (counter, reserved) = (last.counter.unwrap_or(0), last.reserved);
            format!("counter {counter}, {} on hand, {reserved} in open reservations: wrong by {drift}", last.on_hand)
        };
        outcome.look(&stock.sku, wrong.then(what));
    }
    if missing > 0 {
        outcome.note = Some(format!("{missing} counters are not in Redis and will be worked out when needed"));
    }
    outcome
}

pub(super) fn applied_once(judged: &Judged<'_>) -> Outcome {
    let mut moved: BTreeMap<&str, Moved<'_>> = BTreeMap::new();
    for movement in &judged.facts.movements {
        let of_order = moved.entry(&movement.order_id).or_default();
        let entry = of_order.entry((&movement.kind, &movement.sku)).or_default();
        *entry = (entry.0 + 1, entry.1 + movement.delta);
    }
    let mut outcome = Outcome::default();
    for (id, order) in judged.orders() {
        outcome.look(id, problem(order, moved.get(id.as_str()).unwrap_or(&BTreeMap::new())));
    }
    for id in moved.keys().filter(|id| !judged.facts.known.contains(**id)) {
        outcome.look(id, Some("moved stock and does not exist".to_owned()));
    }
    outcome
}

fn problem(order: &Order, moved: &Moved<'_>) -> Option<String> {
    let lines = |kind: &'static str, sign: i64| {
        order.lines.iter().map(move |(sku, quantity)| ((kind, sku.as_str()), (1, sign * quantity)))
    };
    let taken: BTreeMap<_, _> = lines("confirmed", -1).collect();
    let taken_and_returned: BTreeMap<_, _> = lines("confirmed", -1).chain(lines("return", 1)).collect();
    let right = match order.state.as_str() {
        "CONFIRMED" => *moved == taken,
        // A cancellation that overtook the confirmation bars it: then nothing moved at all.
        "CANCELLED" => moved.is_empty() || *moved == taken_and_returned,
        _ => moved.is_empty(),
    };
    (!right).then(|| {
        let found: Vec<String> =
            moved.iter().map(|((kind, sku), (count, sum))| format!("{count} {kind} of {sku} {sum:+}")).collect();
        let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
        format!("is {} with lines {:?} and moved {found}", order.state, order.lines)
    })
}
