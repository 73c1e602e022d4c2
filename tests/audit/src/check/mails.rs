//! Mails. Invariant checked: one mail for each (order, kind). A mail server that died before it said that it has a mail is given it again, under the
//! same Message-ID: that is one mail with copies.

use std::collections::{BTreeMap, BTreeSet};

use super::{Judged, Outcome};
use crate::facts::Order;

/// Which mails an order wants.
fn wanted(order: &Order) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    if order.was_confirmed() {
        kinds.insert("order_confirmed");
    }
    if order.state == "CANCELLED" {
        kinds.insert("order_cancelled");
    }
    // Who asked was told by the answer.
    if order.state == "FAILED" && order.decided_by.as_deref() != Some("request") {
        kinds.insert("order_failed");
    }
    kinds
}

pub(super) fn noted(judged: &Judged<'_>) -> Outcome {
    let mut noted: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for mail in &judged.facts.noted_mails {
        noted.entry(&mail.order_id).or_default().insert(&mail.kind, &mail.state);
    }
    let mut outcome = Outcome::default();
    let mut refused = 0;
    for (id, order) in judged.orders() {
        let found = noted.get(id.as_str()).cloned().unwrap_or_default();
        refused += found.values().filter(|state| **state == "refused").count();
        let kinds: BTreeSet<&str> = found.keys().copied().collect();
        let wanted = wanted(order);
        let open: Vec<&str> = found.iter().filter(|(_, state)| **state == "sending").map(|(kind, _)| *kind).collect();
        let problem = if kinds != wanted {
            Some(format!("is {}, wants {wanted:?} and has {kinds:?}", order.state))
        } else if open.is_empty() {
            None
        } else {
            Some(format!("has mails that are still being sent: {}", open.join(", ")))
        };
        outcome.look(id, problem);
    }
    if refused > 0 {
        outcome.note = Some(format!("{refused} were refused by the mail server"));
    }
    outcome
}

pub(super) fn delivered(judged: &Judged<'_>) -> Outcome {
    let Some(mailbox) = &judged.facts.mailbox else { return Outcome::skipped("there is no inbox to read") };
    let mut arrived: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for mail in mailbox {
        arrived.entry((&mail.order_id, &mail.kind)).or_default().insert(&mail.message_id);
    }
    let mut outcome = Outcome::default();
    for mail in judged.facts.noted_mails.iter().filter(|mail| judged.may_judge(&mail.order_id)) {
        let ids = arrived.remove(&(mail.order_id.as_str(), mail.kind.as_str())).unwrap_or_default();
        let problem = match mail.state.as_str() {
            "sent" if ids.is_empty() => Some(format!("noted {} as sent and it did not arrive", mail.kind)),
            // Handed over, perhaps: if it arrived it is the one that was noted.
            _ if ids.iter().any(|id| *id != mail.message_id) => {
                Some(format!("noted {} as {} and these arrived: {ids:?}", mail.kind, mail.message_id))
            }
            "unaddressed" if !ids.is_empty() => Some(format!("noted {} as unaddressed and it arrived", mail.kind)),
            _ => None,
        };
        outcome.look(&mail.order_id, problem);
    }
    for (order, kind) in arrived.keys().filter(|(order, _)| judged.may_judge(order)) {
        outcome.look(order, Some(format!("got a mail {kind} that nobody noted")));
    }
    let distinct: BTreeSet<&str> = mailbox.iter().map(|mail| mail.message_id.as_str()).collect();
    outcome.note = Some(format!("{} mails, {} of them copies", mailbox.len(), mailbox.len() - distinct.len()));
    outcome
}
