//! Money. Invariant checked: what the PSP took and kept is what confirmed orders cost, to the unit.

use std::collections::BTreeMap;

use super::{Judged, Outcome};
use crate::facts::{Charge, Ledger, Order};

const NO_LEDGER: &str = "the PSP's books cannot be read";

fn by_order(ledger: &Ledger) -> BTreeMap<&str, Vec<&Charge>> {
    let mut charges: BTreeMap<&str, Vec<&Charge>> = BTreeMap::new();
    for charge in &ledger.charges {
        charges.entry(charge.order_id.as_deref().unwrap_or_default()).or_default().push(charge);
    }
    charges
}

fn refunded(ledger: &Ledger, payment_id: &str) -> (usize, i64) {
    let refunds = ledger.refunds.iter().filter(|refund| refund.payment_id == payment_id);
    refunds.fold((0, 0), |(count, sum), refund| (count + 1, sum + refund.amount))
}

pub(super) fn charged_once(judged: &Judged<'_>) -> Outcome {
    let Some(ledger) = &judged.facts.ledger else { return Outcome::skipped(NO_LEDGER) };
    let mut outcome = Outcome::default();
    for (order, charges) in by_order(ledger) {
        let ids: Vec<&str> = charges.iter().map(|charge| charge.payment_id.as_str()).collect();
        if order.is_empty() {
            ids.iter().for_each(|id| outcome.look(id, Some("was charged for no order".to_owned())));
        } else if !judged.facts.known.contains(order) {
            outcome.look(order, Some(format!("was charged ({}) and does not exist", ids.join(", "))));
        } else {
            let many = (ids.len() > 1).then(|| format!("was charged {} times: {}", ids.len(), ids.join(", ")));
            outcome.look(order, many);
        }
    }
    outcome
}

pub(super) fn charged_iff_confirmed(judged: &Judged<'_>) -> Outcome {
    let Some(ledger) = &judged.facts.ledger else { return Outcome::skipped(NO_LEDGER) };
    let charges = by_order(ledger);
    let mut outcome = Outcome::default();
    let mut owing = Vec::new();
    for (id, order) in judged.orders() {
        let mut kept = 0;
        let mut currencies = Vec::new();
        for charge in charges.get(id.as_str()).into_iter().flatten() {
            kept += charge.amount - refunded(ledger, &charge.payment_id).1;
            currencies.push(charge.currency.as_str());
        }
        // What the PSP would not give back it keeps, and the buyer is owed it: told, and no contradiction.
        let stuck = order.refund_state.as_deref() == Some("failed");
        owing.extend(stuck.then_some(id.as_str()));
        let due = if order.state == "CONFIRMED" || stuck { order.total_amount } else { 0 };
        let foreign = currencies.iter().find(|currency| **currency != order.currency);
        let problem = if kept != due {
            Some(format!("is {} over {} {} and the PSP keeps {kept}", order.state, order.total_amount, order.currency))
        } else {
            foreign.map(|currency| format!("costs {} and was charged in {currency}", order.currency))
        };
        outcome.look(id, problem);
    }
    outcome.note = (!owing.is_empty()).then(|| format!("owed by hand, for the PSP refused: {}", owing.join(", ")));
    outcome
}

pub(super) fn refunded_once(judged: &Judged<'_>) -> Outcome {
    let Some(ledger) = &judged.facts.ledger else { return Outcome::skipped(NO_LEDGER) };
    let charges = by_order(ledger);
    let mut outcome = Outcome::default();
    for (id, order) in judged.orders() {
        let all: Vec<&Charge> = charges.get(id.as_str()).cloned().unwrap_or_default();
        let given_back = all.iter().map(|charge| refunded(ledger, &charge.payment_id));
        let (count, sum) = given_back.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        if count > 0 || order.refund_state.is_some() {
            let charged: i64 = all.iter().map(|charge| charge.amount).sum();
            outcome.look(id, refund_problem(order, count, sum, charged));
        }
    }
    outcome
}

fn refund_problem(order: &Order, count: usize, sum: i64, charged: i64) -> Option<String> {
    let shown = order.refund_state.as_deref();
    if count > 1 {
        Some(format!("was refunded {count} times, {sum} in all"))
    } else if count == 1 && sum != charged {
        Some(format!("was charged {charged} and refunded {sum}"))
    } else if (shown == Some("succeeded")) != (count == 1) {
        Some(format!("shows the refund {} and the PSP has {count}", shown.unwrap_or("none")))
    } else if count == 1 && order.refund_amount != Some(sum) {
        Some(format!("shows a refund of {:?} and the PSP gave {sum} back", order.refund_amount))
    } else {
        None
    }
}

pub(super) fn payment_rows(judged: &Judged<'_>) -> Outcome {
    let Some(ledger) = &judged.facts.ledger else { return Outcome::skipped(NO_LEDGER) };
    let charges = by_order(ledger);
    let mut outcome = Outcome::default();
    for (id, order) in judged.orders() {
        let charge = charges.get(id.as_str()).and_then(|charges| charges.first());
        let row = judged.facts.payments.get(id);
        let problem = match (row, charge) {
            (Some(row), Some(charge)) if row.state == "succeeded" => {
                let noted = row.payment_id.as_deref();
                if noted != Some(&charge.payment_id) {
                    Some(format!("has the payment {noted:?} noted and the PSP charged {}", charge.payment_id))
                } else if row.amount != Some(charge.amount) {
                    Some(format!("has {:?} noted and the PSP charged {}", row.amount, charge.amount))
                } else if order.was_confirmed() && order.payment_id.as_deref() != noted {
                    Some(format!("names the payment {:?} and {noted:?} was charged", order.payment_id))
                } else {
                    None
                }
            }
            (row, Some(charge)) => {
                let state = row.map_or("missing", |row| row.state.as_str());
                Some(format!("was charged ({}) and its payment row is {state}", charge.payment_id))
            }
            (Some(row), None) if row.state == "succeeded" => {
                Some(format!("has the payment {:?} noted and the PSP charged nothing", row.payment_id))
            }
            (_, None) => None,
        };
        outcome.look(id, problem);
    }
    outcome
}
