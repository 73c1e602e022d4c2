//! Goal: one mail per order and kind, to the right address, whatever fails in between; and the address never leaves the mail. Method: the use case
//! over a store and a mail server in memory, each failing on request, with redelivery after every failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use swiftcart_capabilities::email::{self, Mailer, Message};
use swiftcart_capabilities::kafka::Failure;
use swiftcart_domain::event::{
    Item, Order, OrderCancelled, OrderConfirmed, OrderFailed, OrderFailure, OrderPayment, PaymentStatus,
};
use swiftcart_domain::seal::{self, SecretKey};
use uuid::Uuid;

use crate::error::without_addresses;
use crate::model::Kind;
use crate::ports::{Begun, End, Store, Wanted};
use crate::service::{Incoming, Notification};

const ADDRESS: &str = "buyer@example.org";

/// Order and kind.
type Name = (Uuid, &'static str);
/// State and Message-ID.
type Mail = (&'static str, String);

#[derive(Default)]
struct Rows {
    mails: RefCell<BTreeMap<Name, Mail>>,
    inbox: RefCell<Vec<Uuid>>,
    fail_finish: Cell<bool>,
}

impl Store for &Rows {
    fn begin(&self, wanted: &Wanted, message_id: &str) -> Result<Begun, Failure> {
        let mut mails = self.mails.borrow_mut();
        let mail = mails.entry((wanted.order_id, wanted.kind.as_str())).or_insert(("sending", message_id.to_owned()));
        if mail.0 == "refused" {
            mail.0 = "sending";
        }
        Ok(if mail.0 == "sending" { Begun::Send(mail.1.clone()) } else { Begun::Over })
    }
    fn finish(&self, wanted: &Wanted, end: End) -> Result<(), Failure> {
        if self.fail_finish.take() {
            return Err(Failure::DependencyDown("gone".to_owned()));
        }
        let state = if end == End::Sent { "sent" } else { "refused" };
        self.mails.borrow_mut().get_mut(&(wanted.order_id, wanted.kind.as_str())).unwrap().0 = state;
        if end == End::Sent {
            self.inbox.borrow_mut().push(wanted.event_id);
        }
        Ok(())
    }
    fn unaddressed(&self, wanted: &Wanted, message_id: &str) -> Result<(), Failure> {
        self.mails
            .borrow_mut()
            .entry((wanted.order_id, wanted.kind.as_str()))
            .or_insert(("unaddressed", message_id.to_owned()));
        self.inbox.borrow_mut().push(wanted.event_id);
        Ok(())
    }
    fn prune(&self) -> Result<u64, Failure> {
        Ok(3)
    }
}

#[derive(Default)]
struct Server {
    taken: RefCell<Vec<Message>>,
    next: RefCell<Option<email::Error>>,
}

impl Mailer for Server {
    fn send(&self, message: &Message) -> Result<(), email::Error> {
        let answer = self.next.borrow_mut().take();
        if matches!(answer, None | Some(email::Error::Uncertain(_))) {
            self.taken.borrow_mut().push(message.clone());
        }
        answer.map_or(Ok(()), Err)
    }
}

#[derive(Default)]
struct Scene {
    rows: Rows,
    server: Server,
}

fn secret() -> SecretKey {
    SecretKey::from_bytes([7; 32])
}

fn sealed() -> String {
    seal::to_header(&seal::seal(&secret().public_key(), ADDRESS, |bytes| bytes.fill(9)).unwrap())
}

fn order() -> Order {
    Order {
        order_id: Uuid::from_u128(1),
        user_id: Uuid::from_u128(2),
        items: vec![
            Item { sku: "SKU-123".to_owned(), qty: 2, unit_price: 1299 },
            Item { sku: "B".to_owned(), qty: 1, unit_price: 5 },
        ],
        total_amount: 2603,
        currency: "USD".parse().unwrap(),
    }
}

fn payment() -> OrderPayment {
    OrderPayment { provider: "stripe".to_owned(), payment_id: "pi_1".to_owned(), status: PaymentStatus::Succeeded }
}

fn confirmed() -> Vec<u8> {
    serde_json::to_vec(&OrderConfirmed::new(0, order(), payment())).unwrap()
}

fn cancelled() -> Vec<u8> {
    serde_json::to_vec(&OrderCancelled::new(0, order(), Some(payment()))).unwrap()
}

fn failed(code: &str) -> Vec<u8> {
    serde_json::to_vec(&OrderFailed::new(0, order(), None, OrderFailure { code: code.to_owned() })).unwrap()
}

impl Scene {
    fn deliver(
        &self,
        topic: &str,
        payload: &[u8],
        sealed_email: Option<&str>,
        decided_by: Option<&str>,
    ) -> Result<(), Failure> {
        let notification = Notification {
            store: &self.rows,
            mailer: &self.server,
            secret_key: Ok(secret()),
            message_id_domain: "shop.example".to_owned(),
        };
        notification.consume(&Incoming { topic, payload, sealed_email, decided_by })
    }
    fn confirm(&self) -> Result<(), Failure> {
        self.deliver("orders.confirmed.v1", &confirmed(), Some(&sealed()), Some("request"))
    }
    fn state(&self, kind: Kind) -> Option<&'static str> {
        self.rows.mails.borrow().get(&(Uuid::from_u128(1), kind.as_str())).map(|mail| mail.0)
    }
}

#[test]
fn a_confirmed_order_is_mailed_once() {
    let scene = Scene::default();
    for _ in 0..3 {
        assert_eq!(scene.confirm(), Ok(()));
    }
    let taken = scene.server.taken.borrow();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].to, ADDRESS);
    assert_eq!(taken[0].message_id, "order_confirmed.00000000-0000-0000-0000-000000000001@shop.example");
    let headers: Vec<_> = taken[0].headers.iter().map(|header| (header.name.as_str(), header.value.as_str())).collect();
    assert_eq!(
        headers,
        [("Swiftcart-Mail-Kind", "order_confirmed"), ("Swiftcart-Order-Id", "00000000-0000-0000-0000-000000000001")]
    );
    assert!(
        taken[0].text.contains("2 x SKU-123 at USD 12.99 = USD 25.98\n")
            && taken[0].text.contains("Total: USD 26.03\n"),
        "{}",
        taken[0].text
    );
    assert_eq!(scene.rows.inbox.borrow().len(), 1);
}

#[test]
fn a_failed_order_is_mailed_unless_the_request_told_the_buyer() {
    let scene = Scene::default();
    assert_eq!(
        scene.deliver("orders.failed.v1", &failed("payment_declined"), Some(&sealed()), Some("request")),
        Ok(())
    );
    assert!(scene.server.taken.borrow().is_empty());
    for decided_by in [Some("sweep"), Some("saga"), None] {
        let scene = Scene::default();
        assert_eq!(
            scene.deliver("orders.failed.v1", &failed("out_of_stock_after_payment"), Some(&sealed()), decided_by),
            Ok(())
        );
        assert!(scene.server.taken.borrow()[0].text.contains("You get back what you paid."));
        assert_eq!(scene.state(Kind::OrderFailed), Some("sent"));
    }
}

#[test]
fn a_cancelled_order_is_mailed_once_beside_the_mail_that_confirmed_it() {
    let scene = Scene::default();
    assert_eq!(scene.confirm(), Ok(()));
    for _ in 0..3 {
        assert_eq!(
            scene.deliver("orders.cancelled.v1", &cancelled(), Some(&sealed()), Some("request")),
            Ok(()),
            "the request asked for it, and is mailed all the same"
        );
    }
    let taken = scene.server.taken.borrow();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[1].to, ADDRESS);
    assert_eq!(taken[1].message_id, "order_cancelled.00000000-0000-0000-0000-000000000001@shop.example");
    for part in ["is cancelled", "2 x SKU-123 at USD 12.99 = USD 25.98\n", "You get back the USD 26.03 that you paid"] {
        let mail = format!("{}\n{}", taken[1].subject, taken[1].text);
        assert!(mail.contains(part), "{part}: {mail}");
    }
    assert_eq!(scene.state(Kind::OrderCancelled), Some("sent"));
    assert_eq!(scene.rows.inbox.borrow().len(), 2);
}

#[test]
fn without_an_address_there_is_nothing_to_do_and_that_is_recorded() {
    let scene = Scene::default();
    assert_eq!(scene.deliver("orders.confirmed.v1", &confirmed(), None, None), Ok(()));
    assert_eq!((scene.state(Kind::OrderConfirmed), scene.rows.inbox.borrow().len()), (Some("unaddressed"), 1));
}

#[test]
fn a_crash_after_sending_sends_again_under_the_same_message_id() {
    let scene = Scene::default();
    scene.rows.fail_finish.set(true);
    assert_eq!(scene.confirm(), Err(Failure::DependencyDown("gone".to_owned())));
    assert_eq!(scene.state(Kind::OrderConfirmed), Some("sending"));
    assert_eq!(scene.confirm(), Ok(()));
    assert_eq!(scene.confirm(), Ok(()));
    let taken = scene.server.taken.borrow();
    assert_eq!(taken.len(), 2);
    assert_eq!(taken[0].message_id, taken[1].message_id);
}

#[test]
fn what_the_mail_server_says_decides_and_its_addresses_are_struck_out() {
    let text = "550 5.1.1 <buyer@example.org>: no such user buyer@example.org".to_owned();
    let clean = "550 5.1.1 <address> no such user <address>";
    assert_eq!(without_addresses(&text), clean);
    for (answer, expected) in [
        (email::Error::Unavailable(text.clone()), Failure::DependencyDown(format!("mail server: {clean}"))),
        (email::Error::Uncertain(text.clone()), Failure::Retry(format!("mail server, outcome unknown: {clean}"))),
        (
            email::Error::Rejected(text.clone()),
            Failure::Reject(format!("the mail server refused it for good: {clean}")),
        ),
        (email::Error::Invalid(text.clone()), Failure::Reject(format!("the mail is malformed: {clean}"))),
    ] {
        let scene = Scene::default();
        *scene.server.next.borrow_mut() = Some(answer);
        assert_eq!(scene.confirm(), Err(expected));
        // Redelivered, or replayed from the dead letters after somebody helped.
        assert_eq!(scene.confirm(), Ok(()));
        assert_eq!(scene.state(Kind::OrderConfirmed), Some("sent"));
    }
}

#[test]
fn poison_is_rejected_and_a_missing_key_is_nobodys_fault() {
    let scene = Scene::default();
    let rejected = |answer: Result<(), Failure>| matches!(answer, Err(Failure::Reject(_)));
    assert!(rejected(scene.deliver("orders.confirmed.v1", b"{", None, None)));
    assert!(rejected(scene.deliver("orders.confirmed.v1", &failed("x"), None, None)));
    assert!(rejected(scene.deliver("orders.cancelled.v1", &confirmed(), None, None)));
    assert!(rejected(scene.deliver("other", &confirmed(), None, None)));
    assert!(rejected(scene.deliver("orders.confirmed.v1", &confirmed(), Some("no base64!"), None)));
    let other = seal::to_header(
        &seal::seal(&SecretKey::from_bytes([8; 32]).public_key(), ADDRESS, |bytes| bytes.fill(9)).unwrap(),
    );
    assert!(rejected(scene.deliver("orders.confirmed.v1", &confirmed(), Some(&other), None)));
    let keyless = Notification {
        store: &scene.rows,
        mailer: &scene.server,
        secret_key: Err("no key".to_owned()),
        message_id_domain: String::new(),
    };
    let (payload, sealed) = (confirmed(), sealed());
    let incoming =
        Incoming { topic: "orders.confirmed.v1", payload: &payload, sealed_email: Some(&sealed), decided_by: None };
    assert_eq!(keyless.consume(&incoming), Err(Failure::DependencyDown("no key".to_owned())));
    assert!(scene.rows.mails.borrow().is_empty());
    assert_eq!(keyless.tick("notification-retention"), Ok(3));
    assert!(rejected(keyless.tick("other").map(drop)));
}
