//! The invariants of the shop, each a pure function of facts. Invariant: every one of them is listed once, in [`INVARIANTS`], and has a test that sees it
//! fail.

mod answers;
mod events;
mod mails;
mod money;
mod settled;
mod stock;
#[cfg(test)]
mod tests;

use crate::facts::{Facts, Order, Scope};
use crate::report::{Report, Row};

/// Something that is not as it was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which promise.
    pub invariant: &'static str,
    /// The order, sku, event or group.
    pub id: String,
    /// What was found, with figures.
    pub what: String,
}

/// A promise and how to check it.
struct Invariant {
    name: &'static str,
    promise: &'static str,
    check: fn(&Judged<'_>) -> Outcome,
}

const INVARIANTS: [Invariant; 16] = [
    Invariant {
        name: "charged-once",
        promise: "one charge at most per order, and none without an order",
        check: money::charged_once,
    },
    Invariant {
        name: "charged-iff-confirmed",
        promise: "charged in full and not refunded if and only if CONFIRMED",
        check: money::charged_iff_confirmed,
    },
    Invariant {
        name: "refunded-once",
        promise: "one refund at most per charge, of all of it, and the order shows it",
        check: money::refunded_once,
    },
    Invariant {
        name: "payment-rows",
        promise: "the shop's rows about charges say what the PSP's books say",
        check: money::payment_rows,
    },
    Invariant {
        name: "stock-not-negative",
        promise: "nothing on the shelf is less than nothing",
        check: stock::not_negative,
    },
    Invariant {
        name: "stock-adds-up",
        promise: "restocks + corrections - confirmed + returns = on hand",
        check: stock::adds_up,
    },
    Invariant { name: "stock-counter", promise: "Redis counter = on hand - open reservations", check: stock::counter },
    Invariant {
        name: "stock-applied-once",
        promise: "each order moved exactly its lines, once",
        check: stock::applied_once,
    },
    Invariant {
        name: "order-events",
        promise: "each state an order reached has exactly one event id, others have none",
        check: events::of_orders,
    },
    Invariant {
        name: "payment-events",
        promise: "each outcome of a payment has exactly one event id, others have none",
        check: events::of_payments,
    },
    Invariant {
        name: "events-have-causes",
        promise: "every event is about an order that exists",
        check: events::have_causes,
    },
    Invariant {
        name: "answered-exists",
        promise: "each order answered 201 or 202 exists, and 201 was CONFIRMED",
        check: answers::exist,
    },
    Invariant {
        name: "one-key-one-order",
        promise: "one idempotency key makes one order",
        check: answers::one_key_one_order,
    },
    Invariant {
        name: "mails-noted",
        promise: "one mail is noted for each (order, kind) that wants one, and for no other",
        check: mails::noted,
    },
    Invariant {
        name: "mails-delivered",
        promise: "each mail noted as sent arrived, under one Message-ID, and no other did",
        check: mails::delivered,
    },
    Invariant {
        name: "settled",
        promise: "nothing pending, outboxes empty, consumers at the end",
        check: settled::settled,
    },
];

/// What one check saw.
#[derive(Debug, Default)]
struct Outcome {
    checked: usize,
    /// (id, what).
    findings: Vec<(String, String)>,
    /// Why nothing could be checked.
    skipped: Option<&'static str>,
    /// Worth knowing, breaks no promise.
    note: Option<String>,
}

impl Outcome {
    fn skipped(why: &'static str) -> Self {
        Self { skipped: Some(why), ..Self::default() }
    }

    /// Counts one thing that was looked at.
    fn look(&mut self, id: &str, problem: Option<String>) {
        self.checked += 1;
        self.findings.extend(problem.map(|what| (id.to_owned(), what)));
    }
}

/// Facts with what may be judged in them.
struct Judged<'a> {
    facts: &'a Facts,
    /// What changed later than this may still have effects on their way.
    before: i64,
}

impl<'a> Judged<'a> {
    /// Decided orders whose effects must all be there.
    fn orders(&self) -> impl Iterator<Item = (&'a String, &'a Order)> {
        let (facts, before) = (self.facts, self.before);
        facts.orders.iter().filter(move |(id, order)| {
            order.state != "PENDING"
                && order.refund_state.as_deref() != Some("pending")
                && order.changed_at <= before
                && !facts.moving.contains(*id)
        })
    }

    /// Whether something about this order may be judged; what is about no order may.
    fn may_judge(&self, order_id: &str) -> bool {
        self.facts.orders.get(order_id).is_none_or(|order| order.changed_at <= self.before)
            && !self.facts.moving.contains(order_id)
    }
}

/// Checks every invariant.
#[must_use]
pub fn check(facts: &Facts, scope: Scope) -> Report {
    let judged = Judged { facts, before: facts.taken_at - i64::from(scope.settled_seconds) * 1_000_000 };
    let rows = INVARIANTS.iter().map(|invariant| {
        let outcome = (invariant.check)(&judged);
        let finding = |(id, what)| Finding { invariant: invariant.name, id, what };
        Row {
            invariant: invariant.name,
            promise: invariant.promise,
            checked: outcome.checked,
            findings: outcome.findings.into_iter().map(finding).collect(),
            skipped: outcome.skipped,
            note: outcome.note,
        }
    });
    Report { rows: rows.collect(), orders: facts.orders.len(), judged: judged.orders().count() }
}
