//! Goal: every invariant is seen to fail. Method: the books of a small shop in which everything is right, with one thing at a time made wrong; that one
//! invariant names that one id, and no other invariant complains.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::facts::{
    Answer, Charge, Counted, Event, Key, Lag, Ledger, Mail, Movement, NotedMail, Payment, Refund, Stock, Unpublished,
};

const NOW: i64 = 1_000_000_000_000;
const OLD: i64 = NOW - 3_600_000_000;
const CONFIRMED: &str = "confirmed";
const DECLINED: &str = "declined";
const CANCELLED: &str = "cancelled";
const REJECTED: &str = "rejected";

fn order(state: &str, failure: Option<&str>) -> Order {
    Order {
        state: state.to_owned(),
        version: 2,
        currency: "USD".to_owned(),
        total_amount: 200,
        changed_at: OLD,
        decided_by: Some(if failure == Some("out_of_stock_after_payment") { "saga" } else { "request" }.to_owned()),
        failure_code: failure.map(str::to_owned),
        lines: BTreeMap::from([("CUP".to_owned(), 2)]),
        ..Order::default()
    }
}

/// Adds an order with everything that belongs to it.
fn add(facts: &mut Facts, id: &str, mut order: Order) {
    let charged = order.was_confirmed();
    let refunded = charged && order.state != "CONFIRMED";
    let mut topics = vec![if charged { "payments.succeeded.v1" } else { "payments.failed.v1" }];
    let mut mails = Vec::new();
    let ledger = facts.ledger.get_or_insert_default();
    if charged {
        order.payment_id = Some(format!("pi_{id}"));
        topics.push("orders.confirmed.v1");
        mails.push("order_confirmed");
        ledger.charges.push(Charge {
            payment_id: format!("pi_{id}"),
            order_id: Some(id.to_owned()),
            amount: 200,
            currency: "USD".to_owned(),
        });
    }
    if refunded {
        (order.refund_state, order.refund_amount) = (Some("succeeded".to_owned()), Some(200));
        topics.push("payments.refunded.v1");
        ledger.refunds.push(Refund { refund_id: format!("re_{id}"), payment_id: format!("pi_{id}"), amount: 200 });
    }
    match order.state.as_str() {
        "FAILED" => topics.push("orders.failed.v1"),
        "CANCELLED" => {
            topics.push("orders.cancelled.v1");
            mails.push("order_cancelled");
        }
        _ => {}
    }
    if order.was_rejected() {
        topics.push("inventory.rejected.v1");
        mails.push("order_failed");
    } else if charged {
        facts.movements.push(movement(id, "confirmed", -2));
        if refunded {
            facts.movements.push(movement(id, "return", 2));
        }
    }
    for topic in topics {
        facts.events.push(Event {
            topic: topic.to_owned(),
            order_id: id.to_owned(),
            event_id: format!("{id}-{topic}"),
        });
    }
    for kind in mails {
        let (order_id, kind, message_id) = (id.to_owned(), kind.to_owned(), format!("{kind}.{id}@shop"));
        let noted = NotedMail {
            order_id: order_id.clone(),
            kind: kind.clone(),
            state: "sent".to_owned(),
            message_id: message_id.clone(),
        };
        facts.noted_mails.push(noted);
        facts.mailbox.get_or_insert_default().push(Mail { order_id, kind, message_id });
    }
    facts.payments.insert(
        id.to_owned(),
        Payment {
            state: if charged { "succeeded" } else { "declined" }.to_owned(),
            amount: Some(200),
            payment_id: order.payment_id.clone(),
            changed_at: OLD,
        },
    );
    facts.keys.push(Key { key: format!("key-{id}"), order_id: id.to_owned(), decided: true });
    let status = if charged { 201 } else { 402 };
    let (user, key) = ("buyer".to_owned(), format!("key-{id}"));
    facts.answers.push(Answer { status, order_id: id.to_owned(), user, key });
    facts.known.insert(id.to_owned());
    facts.orders.insert(id.to_owned(), order);
}

fn movement(id: &str, kind: &str, delta: i64) -> Movement {
    Movement { sku: "CUP".to_owned(), kind: kind.to_owned(), delta, order_id: id.to_owned() }
}

fn right() -> Facts {
    let mut facts = Facts { taken_at: NOW, ..Facts::default() };
    add(&mut facts, CONFIRMED, order("CONFIRMED", None));
    add(&mut facts, DECLINED, order("FAILED", Some("payment_declined")));
    add(&mut facts, CANCELLED, order("CANCELLED", None));
    add(&mut facts, REJECTED, order("FAILED", Some("out_of_stock_after_payment")));
    // Three are held by a reservation that nothing has taken out yet.
    let counted = vec![Counted { counter: Some(5), reserved: 3, on_hand: 8 }];
    facts.stock.push(Stock { sku: "CUP".to_owned(), on_hand: 8, moved: 8, counted });
    facts.lags.push(Lag { group: "inventory".to_owned(), topic: "orders.confirmed.v1".to_owned(), messages: 0 });
    facts
}

fn found(facts: &Facts, settled_seconds: u32) -> BTreeSet<(&'static str, String)> {
    let report = check(facts, Scope { settled_seconds });
    report.findings().map(|finding| (finding.invariant, finding.id.clone())).collect()
}

fn ledger(facts: &mut Facts) -> &mut Ledger {
    facts.ledger.as_mut().unwrap()
}

fn events_of<'a>(facts: &'a mut Facts, id: &'a str, topic: &'a str) -> impl Iterator<Item = &'a mut Event> {
    facts.events.iter_mut().filter(move |event| event.order_id == id && event.topic == topic)
}

type Wrong = (&'static str, &'static str, fn(&mut Facts));

#[test]
fn right_books_are_clean_and_every_check_looked_at_something() {
    let report = check(&right(), Scope::default());
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.orders, report.judged), (4, 4));
    for row in &report.rows {
        assert!(row.checked > 0 && row.skipped.is_none(), "{} looked at nothing", row.invariant);
    }
}

fn each(wrongs: &[Wrong]) {
    for (number, (invariant, id, make_wrong)) in wrongs.iter().enumerate() {
        let mut facts = right();
        make_wrong(&mut facts);
        let expected = BTreeSet::from([(*invariant, (*id).to_owned())]);
        assert_eq!(found(&facts, 0), expected, "case {number} of {invariant}");
    }
}

#[test]
fn wrong_money_is_found() {
    each(&[
        ("charged-once", "pi_x", |facts| {
            ledger(facts).charges.push(Charge {
                payment_id: "pi_x".to_owned(),
                amount: 1,
                currency: "USD".to_owned(),
                order_id: None,
            });
        }),
        ("charged-once", "ghost", |facts| {
            let order_id = Some("ghost".to_owned());
            ledger(facts).charges.push(Charge {
                payment_id: "pi_x".to_owned(),
                amount: 1,
                currency: "USD".to_owned(),
                order_id,
            });
        }),
        ("charged-once", CONFIRMED, |facts| {
            // The second was given back, so that the sums agree: it was a second charge all the same.
            let mut second = ledger(facts).charges[0].clone();
            second.payment_id = "pi_y".to_owned();
            second.amount = 0;
            ledger(facts).charges.push(second);
        }),
        ("charged-iff-confirmed", CONFIRMED, |facts| facts.orders.get_mut(CONFIRMED).unwrap().total_amount = 201),
        ("charged-iff-confirmed", CONFIRMED, |facts| ledger(facts).charges[0].currency = "EUR".to_owned()),
        ("refunded-once", CANCELLED, |facts| {
            let mut second = ledger(facts).refunds[0].clone();
            second.amount = 0;
            ledger(facts).refunds.push(second);
        }),
        ("refunded-once", CANCELLED, |facts| facts.orders.get_mut(CANCELLED).unwrap().refund_amount = Some(100)),
        ("payment-rows", CONFIRMED, |facts| facts.payments.get_mut(CONFIRMED).unwrap().payment_id = None),
        ("payment-rows", CONFIRMED, |facts| facts.payments.get_mut(CONFIRMED).unwrap().amount = Some(2)),
        ("payment-rows", CONFIRMED, |facts| {
            facts.orders.get_mut(CONFIRMED).unwrap().payment_id = Some("pi_z".to_owned())
        }),
    ]);
    let mut facts = right();
    ledger(&mut facts).charges.remove(0);
    let wrong =
        BTreeSet::from([("charged-iff-confirmed", CONFIRMED.to_owned()), ("payment-rows", CONFIRMED.to_owned())]);
    assert_eq!(found(&facts, 0), wrong, "a confirmed order that was never charged");
    let mut facts = right();
    ledger(&mut facts).refunds.clear();
    for id in [CANCELLED, REJECTED] {
        assert!(found(&facts, 0).contains(&("charged-iff-confirmed", id.to_owned())), "{id} keeps the buyer's money");
    }
}

/// What an order is that the PSP would not give back.
fn stuck(facts: &mut Facts) {
    facts.orders.get_mut(CANCELLED).unwrap().refund_state = Some("failed".to_owned());
    ledger(facts).refunds.retain(|refund| refund.payment_id != format!("pi_{CANCELLED}"));
    for event in events_of(facts, CANCELLED, "payments.refunded.v1") {
        event.topic = "payments.refund-failed.v1".to_owned();
    }
}

#[test]
fn a_refund_that_failed_is_owed_and_told() {
    let mut facts = right();
    stuck(&mut facts);
    let report = check(&facts, Scope::default());
    assert!(report.is_clean(), "{report}");
    assert!(report.to_string().contains(&format!("owed by hand, for the PSP refused: {CANCELLED}")), "{report}");
    // Nobody was told.
    let mut facts = right();
    stuck(&mut facts);
    facts.events.retain(|event| event.topic != "payments.refund-failed.v1");
    assert_eq!(found(&facts, 0), BTreeSet::from([("payment-events", CANCELLED.to_owned())]));
    // The PSP gave it back all the same.
    let mut facts = right();
    stuck(&mut facts);
    let refund = Refund { refund_id: "re_x".to_owned(), payment_id: format!("pi_{CANCELLED}"), amount: 200 };
    ledger(&mut facts).refunds.push(refund);
    assert!(found(&facts, 0).contains(&("refunded-once", CANCELLED.to_owned())));
    // It came back and was made by hand: each turn has its event.
    let mut facts = right();
    for (topic, event_id) in [("payments.refund-failed.v1", "a"), ("payments.refunded.v1", "b")] {
        let (topic, order_id) = (topic.to_owned(), CANCELLED.to_owned());
        facts.events.push(Event { topic, order_id, event_id: event_id.to_owned() });
    }
    assert!(found(&facts, 0).is_empty());
}

#[test]
fn wrong_stock_is_found() {
    each(&[
        ("stock-not-negative", "CUP", |facts| {
            let stock = &mut facts.stock[0];
            (stock.on_hand, stock.moved) = (-1, -1);
            stock.counted = vec![Counted { counter: None, reserved: 0, on_hand: -1 }];
        }),
        ("stock-adds-up", "CUP", |facts| facts.stock[0].moved = 9),
        ("stock-counter", "CUP", |facts| facts.stock[0].counted[0].counter = Some(6)),
        ("stock-applied-once", CONFIRMED, |facts| facts.movements.push(movement(CONFIRMED, "confirmed", -2))),
        ("stock-applied-once", CONFIRMED, |facts| facts.movements.retain(|movement| movement.order_id != CONFIRMED)),
        ("stock-applied-once", CONFIRMED, |facts| facts.movements[0].sku = "POT".to_owned()),
        ("stock-applied-once", CANCELLED, |facts| facts.movements.retain(|movement| movement.kind != "return")),
        ("stock-applied-once", REJECTED, |facts| facts.movements.push(movement(REJECTED, "confirmed", -2))),
        ("stock-applied-once", "ghost", |facts| facts.movements.push(movement("ghost", "confirmed", -2))),
    ]);
}

#[test]
fn a_counter_that_only_moves_is_not_wrong() {
    let mut facts = right();
    let look = |counter| Counted { counter: Some(counter), reserved: 3, on_hand: 8 };
    for (looks, wrong) in [([4, 6], false), ([4, 5], false), ([4, 4], true)] {
        facts.stock[0].counted = looks.map(look).to_vec();
        assert_eq!(found(&facts, 0).len(), usize::from(wrong), "{looks:?}");
    }
    facts.stock[0].counted = vec![Counted { counter: None, reserved: 3, on_hand: 8 }];
    assert!(found(&facts, 0).is_empty(), "a counter that is not there is worked out when needed");
}

#[test]
fn wrong_events_are_found() {
    each(&[
        ("order-events", CONFIRMED, |facts| {
            facts.events.retain(|event| event.event_id != "confirmed-orders.confirmed.v1")
        }),
        ("order-events", CONFIRMED, |facts| {
            let (topic, order_id) = ("orders.confirmed.v1".to_owned(), CONFIRMED.to_owned());
            facts.events.push(Event { topic, order_id, event_id: "another".to_owned() });
        }),
        ("order-events", DECLINED, |facts| {
            let (topic, order_id) = ("orders.confirmed.v1".to_owned(), DECLINED.to_owned());
            facts.events.push(Event { topic, order_id, event_id: "wrong".to_owned() });
        }),
        ("order-events", REJECTED, |facts| {
            events_of(facts, REJECTED, "inventory.rejected.v1").for_each(|event| event.order_id = CANCELLED.to_owned());
        }),
        ("payment-events", DECLINED, |facts| facts.events.retain(|event| event.topic != "payments.failed.v1")),
        ("payment-events", CANCELLED, |facts| {
            let (topic, order_id) = ("payments.refunded.v1".to_owned(), CANCELLED.to_owned());
            facts.events.push(Event { topic, order_id, event_id: "second".to_owned() });
        }),
        ("payment-events", CANCELLED, |facts| {
            facts.events.retain(|event| event.event_id != "cancelled-payments.refunded.v1");
        }),
        ("events-have-causes", "ghost", |facts| {
            let (topic, order_id) = ("orders.failed.v1".to_owned(), "ghost".to_owned());
            facts.events.push(Event { topic, order_id, event_id: "some".to_owned() });
        }),
        ("events-have-causes", CONFIRMED, |facts| {
            events_of(facts, CONFIRMED, "orders.confirmed.v1").for_each(|event| event.event_id.clear());
        }),
    ]);
    let mut facts = right();
    let again = facts.events.clone();
    facts.events.extend(again);
    assert!(found(&facts, 0).is_empty(), "the same event delivered twice is one event");
    facts.events.retain(|event| event.topic != "orders.confirmed.v1");
    facts.forgotten_before.insert("orders.confirmed.v1".to_owned(), OLD + 1);
    assert!(found(&facts, 0).is_empty(), "a topic cannot show what it no longer keeps");
}

#[test]
fn wrong_answers_are_found() {
    each(&[
        ("answered-exists", "ghost", |facts| {
            facts.answers[1] = Answer { status: 202, order_id: "ghost".to_owned(), ..Answer::default() }
        }),
        ("answered-exists", DECLINED, |facts| facts.answers[1].status = 201),
        ("answered-exists", "ghost", |facts| facts.keys[0].order_id = "ghost".to_owned()),
        ("answered-exists", CONFIRMED, |facts| facts.keys[0].decided = false),
        ("one-key-one-order", CANCELLED, |facts| facts.answers[0].key = facts.answers[2].key.clone()),
    ]);
}

#[test]
fn wrong_mails_are_found() {
    each(&[
        ("mails-noted", CONFIRMED, |facts| {
            facts.noted_mails.remove(0);
            facts.mailbox.as_mut().unwrap().remove(0);
        }),
        ("mails-noted", CONFIRMED, |facts| facts.noted_mails[0].state = "sending".to_owned()),
        ("mails-delivered", CONFIRMED, |facts| {
            facts.mailbox.as_mut().unwrap().remove(0);
        }),
        ("mails-delivered", CONFIRMED, |facts| {
            let mut second = facts.mailbox.as_ref().unwrap()[0].clone();
            second.message_id = "another@shop".to_owned();
            facts.mailbox.as_mut().unwrap().push(second);
        }),
        ("mails-delivered", DECLINED, |facts| {
            let (order_id, kind) = (DECLINED.to_owned(), "order_failed".to_owned());
            facts.mailbox.as_mut().unwrap().push(Mail { order_id, kind, message_id: "m@shop".to_owned() });
        }),
    ]);
    let mut facts = right();
    let copy = facts.mailbox.as_ref().unwrap()[0].clone();
    facts.mailbox.as_mut().unwrap().push(copy);
    assert!(found(&facts, 0).is_empty(), "a copy under the same Message-ID is the same mail");
}

#[test]
fn what_is_left_lying_is_found() {
    each(&[
        ("settled", "waiting", |facts| {
            let pending = Order { state: "PENDING".to_owned(), changed_at: OLD, ..Order::default() };
            facts.orders.insert("waiting".to_owned(), pending);
        }),
        ("settled", CANCELLED, |facts| {
            facts.orders.get_mut(CANCELLED).unwrap().refund_state = Some("pending".to_owned())
        }),
        ("settled", "open", |facts| {
            let payment = Payment { state: "unknown".to_owned(), amount: Some(1), payment_id: None, changed_at: OLD };
            facts.payments.insert("open".to_owned(), payment);
        }),
        ("settled", "e1", |facts| {
            let (database, topic) = ("orders".to_owned(), "orders.failed.v1".to_owned());
            facts.unpublished.push(Unpublished { database, event_id: "e1".to_owned(), topic, created_at: OLD });
        }),
        ("settled", "inventory", |facts| facts.lags[0].messages = 3),
    ]);
}

#[test]
fn what_is_young_or_moving_is_not_judged() {
    let mut facts = right();
    facts.movements.retain(|movement| movement.order_id != CONFIRMED);
    assert_eq!(found(&facts, 0).len(), 1);
    facts.moving.insert(CONFIRMED.to_owned());
    assert!(found(&facts, 0).is_empty(), "it changed while it was read");
    facts.moving.clear();
    facts.orders.get_mut(CONFIRMED).unwrap().changed_at = NOW - 5_000_000;
    assert!(found(&facts, 30).is_empty(), "five seconds old");
    assert_eq!(found(&facts, 3).len(), 1);
}

#[test]
fn without_the_books_of_the_psp_it_says_so() {
    let mut facts = right();
    (facts.ledger, facts.mailbox) = (None, None);
    let report = check(&facts, Scope::default());
    assert!(report.is_clean());
    let skipped: Vec<_> = report.rows.iter().filter(|row| row.skipped.is_some()).map(|row| row.invariant).collect();
    assert_eq!(skipped, ["charged-once", "charged-iff-confirmed", "refunded-once", "payment-rows", "mails-delivered"]);
    assert!(report.to_string().contains("not checked: the PSP's books cannot be read"));
}
