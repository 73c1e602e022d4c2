//! Goal: the simulator's webhooks are Stripe's (signed over the bytes, tried again until 2xx) and its faults are what they say; refunds that wait, fail
//! or are refused show in its books. Method: the real server, and a server of the test's own that takes the events and refuses the first.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use reqwest::Client;
use serde_json::{Value, json};
use swiftcart_sim::{psp, serve};

const SECRET: &str = "whsec_1";

/// What came, as (signature header, body), the refused ones too.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<(String, String)>>>);

impl Taken {
    fn all(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().clone()
    }
    fn types(&self) -> Vec<String> {
        self.all().iter().map(|(_, body)| event(body)["type"].as_str().unwrap().to_owned()).collect()
    }
    async fn wait(&self, count: usize) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.all().len() < count {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{} of {count} events: {:?}",
                self.all().len(),
                self.types()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn event(body: &str) -> Value {
    serde_json::from_str(body).unwrap()
}

/// Takes events; the first is answered with 500.
async fn take(State(taken): State<Taken>, headers: HeaderMap, body: String) -> StatusCode {
    let signature = headers["stripe-signature"].to_str().unwrap().to_owned();
    let mut all = taken.0.lock().unwrap();
    all.push((signature, body));
    if all.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}

struct Scene {
    base: String,
    client: Client,
    taken: Taken,
    hook: String,
}

impl Scene {
    async fn start(journal: &Path) -> Self {
        let options =
            psp::Options { journal: journal.to_owned(), secret_key: None, webhook_secret: Some(SECRET.into()) };
        let psp = psp::Psp::open(options).unwrap();
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve::serve(listener, psp.router(), std::future::pending()));
        let taken = Taken::default();
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let hook = format!("http://{}/hook", listener.local_addr().unwrap());
        let router = Router::new().route("/hook", post(take)).with_state(taken.clone());
        tokio::spawn(serve::serve(listener, router, std::future::pending()));
        // In one build of the whole workspace reqwest has TLS without a provider of cryptography of its own.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { base, client: Client::builder().no_proxy().build().unwrap(), taken, hook }
    }

    async fn control(&self, path: &str, body: Value) {
        let url = format!("{}/_control/{path}", self.base);
        let request = if path.starts_with("refunds") { self.client.post(url) } else { self.client.put(url) };
        assert_eq!(request.json(&body).send().await.unwrap().status(), StatusCode::NO_CONTENT);
    }

    async fn post(&self, path: &str, body: String) -> (StatusCode, Value) {
        let request = self.client.post(format!("{}{path}", self.base)).bearer_auth("sk").body(body);
        let answer = request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.base)).bearer_auth("sk").send().await.unwrap().json().await.unwrap()
    }

    async fn pay(&self, order: &str, method: &str) -> String {
        let body = format!("amount=1999&currency=eur&payment_method={method}&confirm=true&metadata[order_id]={order}");
        let (_, answer) = self.post("/v1/payment_intents", body).await;
        let intent = if answer["error"].is_null() { &answer } else { &answer["error"]["payment_intent"] };
        intent["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn events_are_signed_and_tried_again_until_they_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::start(&folder.path().join("j")).await;
    scene.pay("o", "pm_card_visa").await;
    scene.control("webhooks", json!({"url": scene.hook})).await;
    let id = scene.pay("o", "pm_card_visa").await;
    scene.taken.wait(2).await;
    scene.pay("o", "pm_card_chargeDeclined").await;
    scene.taken.wait(3).await;
    scene.post("/v1/refunds", format!("payment_intent={id}")).await;
    scene.taken.wait(5).await;
    let mut types = scene.taken.types();
    types[3..].sort();
    assert_eq!(
        types,
        [
            "payment_intent.succeeded",
            "payment_intent.succeeded",
            "payment_intent.payment_failed",
            "charge.refunded",
            "refund.updated"
        ],
        "nothing was sent before a URL was told, and the refused event came again"
    );
    let all = scene.taken.all();
    assert_eq!(all[0].1, all[1].1);
    for (signature, body) in &all {
        let seconds = signature.split_once("t=").unwrap().1.split_once(',').unwrap().0.parse().unwrap();
        assert_eq!(*signature, psp::webhook::sign(SECRET, seconds, body.as_bytes()));
    }
    assert_eq!(event(&all[1].1)["data"]["object"]["metadata"]["order_id"], "o");
    assert_eq!(event(&all[4].1)["data"]["object"]["payment_intent"], id);
}

#[tokio::test]
async fn events_come_twice_and_out_of_order_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let scene = Scene::start(&folder.path().join("j")).await;
    scene.taken.0.lock().unwrap().push(("first".into(), "{\"type\":\"x\"}".into()));
    scene.control("webhooks", json!({"url": scene.hook, "duplicate": true, "reorder": true})).await;
    let first = scene.pay("1", "pm_card_visa").await;
    let second = scene.pay("2", "pm_card_visa").await;
    scene.taken.wait(5).await;
    let all = scene.taken.all();
    let ids: Vec<String> =
        all[1..].iter().map(|(_, body)| event(body)["data"]["object"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, [&second, &second, &first, &first].map(String::clone));
    assert_eq!(event(&all[1].1)["id"], event(&all[2].1)["id"]);
}

#[tokio::test]
async fn refunds_wait_fail_and_are_refused_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("j");
    let scene = Scene::start(&journal).await;
    let id = scene.pay("o", "pm_card_visa").await;
    let ask = || scene.post("/v1/refunds", format!("payment_intent={id}"));
    scene.control("faults", json!({"refuse_refunds": true})).await;
    assert_eq!(ask().await.1["error"]["code"], "charge_disputed");
    scene.control("faults", json!({"pend_refunds": true})).await;
    let (_, waiting) = ask().await;
    assert_eq!(waiting["status"], "pending");
    let account = |ledger: &Value| ledger["orders"]["o"].clone();
    let books = account(&scene.get("/_control/ledger").await);
    assert_eq!(
        (&books["refunded"], &books["refundsPending"], &books["refunds"]),
        (&json!(0), &json!([waiting["id"]]), &json!([]))
    );
    assert_eq!(ask().await.1["error"]["code"], "charge_already_refunded");
    scene.control(&format!("refunds/{}", waiting["id"].as_str().unwrap()), json!({"status": "failed"})).await;
    scene.control("faults", json!({})).await;
    let (_, done) = ask().await;
    assert_eq!(done["status"], "succeeded");
    let list = scene.get(&format!("/v1/refunds?payment_intent={id}&limit=100")).await;
    assert_eq!((&list["data"][0], &list["data"][1]["status"]), (&done, &json!("failed")), "newest first");
    assert_eq!(scene.get("/v1/refunds?payment_intent=pi_none").await["data"], json!([]));
    // The books are the same after a restart.
    let books = account(&scene.get("/_control/ledger").await);
    assert_eq!(books["refunds"], json!([done["id"]]));
    assert_eq!((&books["refunded"], &books["refundsFailed"]), (&json!(1999), &json!([waiting["id"]])));
    let again = Scene::start(&journal).await;
    assert_eq!(account(&again.get("/_control/ledger").await), books);
}
