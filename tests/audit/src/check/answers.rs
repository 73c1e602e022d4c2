//! What clients were told. Invariant checked: an answer is never taken back.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Outcome};

pub(super) fn exist(judged: &Judged<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let facts = judged.facts;
    for answer in facts.answers.iter().filter(|answer| matches!(answer.status, 201 | 202)) {
        let problem = match facts.orders.get(&answer.order_id) {
            None if facts.known.contains(&answer.order_id) => None,
            None => Some(format!("was answered {} and does not exist", answer.status)),
            Some(order) if answer.status == 201 && !order.was_confirmed() => {
                Some(format!("was answered 201 and is {}", order.state))
            }
            Some(_) => None,
        };
        outcome.look(&answer.order_id, problem);
    }
    // What was stored to be told again was told, or would have been.
    for key in &facts.keys {
        let problem = match facts.orders.get(&key.order_id) {
            None if facts.known.contains(&key.order_id) => None,
            None => Some(format!("stands under the key {} and does not exist", key.key)),
            Some(order) if !judged.may_judge(&key.order_id) || key.decided == (order.state != "PENDING") => None,
            Some(order) => Some(format!("is {} and its answer is stored: {}", order.state, key.decided)),
        };
        outcome.look(&key.order_id, problem);
    }
    outcome
}

pub(super) fn one_key_one_order(judged: &Judged<'_>) -> Outcome {
    let mut orders: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let answers =
        judged.facts.answers.iter().filter(|answer| matches!(answer.status, 201 | 202) && !answer.key.is_empty());
    for answer in answers {
        orders.entry((&answer.user, &answer.key)).or_default().insert(&answer.order_id);
    }
    let mut outcome = Outcome::default();
    for ((_, key), ids) in orders {
        let ids: Vec<&str> = ids.into_iter().collect();
        let first = ids.first().copied().unwrap_or_default();
        outcome.look(first, (ids.len() > 1).then(|| format!("and others came of the key {key}: {}", ids.join(", "))));
    }
    if judged.facts.answers.is_empty() {
        outcome.skipped = Some("nobody wrote answers down");
    }
    outcome
}
