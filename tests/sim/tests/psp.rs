//! Goal: the PSP simulator keeps Stripe's promises (idempotency, declines, refunds) and its faults are what they say.
//! Method: the real server on a free port, a plain HTTP client, books read back over the control calls and from the journal.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use swiftcart_sim::{psp, serve};

struct Server {
    base: String,
    client: Client,
}

impl Server {
    async fn start(journal: &Path) -> Self {
        // In one build with the host, reqwest has TLS without cryptography of its own; another test may have been faster.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let psp = psp::Psp::open(psp::Options {
            journal: journal.to_owned(),
            secret_key: Some("sk_test_1".into()),
            webhook_secret: Some("whsec_1".into()),
        })
        .unwrap();
        let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(serve::serve(listener, psp.router(), std::future::pending()));
        Self { base, client: Client::builder().no_proxy().timeout(Duration::from_millis(700)).build().unwrap() }
    }

    async fn post(&self, path: &str, key: Option<&str>, body: String) -> reqwest::Result<Response> {
        let mut request = self.client.post(format!("{}{path}", self.base)).bearer_auth("sk_test_1").body(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.header("content-type", "application/x-www-form-urlencoded").send().await
    }

    async fn pay(&self, key: &str, order: &str, method: &str) -> reqwest::Result<Response> {
        self.post("/v1/payment_intents", Some(key), payment(order, method, 1999)).await
    }

    async fn faults(&self, faults: Value) {
        let answer = self.client.put(format!("{}/_control/faults", self.base)).json(&faults).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    }

    async fn get(&self, path: &str) -> Value {
        self.client
            .get(format!("{}{path}", self.base))
            .bearer_auth("sk_test_1")
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap()
    }

    async fn charges(&self, order: &str) -> i64 {
        self.get("/_control/ledger").await["orders"][order]["charges"].as_i64().unwrap_or(0)
    }
}

fn payment(order: &str, method: &str, amount: i64) -> String {
    format!(
        "amount={amount}&currency=EUR&payment_method={method}&confirm=true&metadata[order_id]={order}&payment_method_types[]=card"
    )
}

async fn json(response: reqwest::Result<Response>) -> (StatusCode, Value) {
    let response = response.unwrap();
    (response.status(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_key_charges_once_and_is_replayed_byte_for_byte_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("psp.jsonl");
    let first = {
        let server = Server::start(&journal).await;
        let first = server.pay("k1", "o1", "pm_card_visa").await.unwrap();
        assert!(!first.headers().contains_key("idempotent-replayed"));
        first.text().await.unwrap()
    };
    // A kill in the middle of a write leaves half a line.
    let mut text = std::fs::read(&journal).unwrap();
    text.extend_from_slice(b"{\"intent\":{\"id\":\"pi_ha");
    std::fs::write(&journal, text).unwrap();
    let server = Server::start(&journal).await;
    let second = server.pay("k1", "o1", "pm_card_visa").await.unwrap();
    assert_eq!(second.headers()["idempotent-replayed"], "true");
    assert_eq!(second.text().await.unwrap(), first);
    assert_eq!(server.charges("o1").await, 1);
    let (status, body) = json(server.pay("k1", "o2", "pm_card_visa").await).await;
    assert_eq!((status, body["error"]["type"].as_str()), (StatusCode::BAD_REQUEST, Some("idempotency_error")));
    let found = server.get("/v1/payment_intents/search?query=metadata%5B'order_id'%5D%3A'o1'").await;
    assert_eq!(found["data"][0]["status"], "succeeded");
    assert_eq!(found["data"][0]["amount_received"], 1999);
    let id = found["data"][0]["id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/v1/payment_intents/{id}")).await, found["data"][0]);
    assert_eq!(server.get("/v1/payment_intents?limit=1").await["data"][0], found["data"][0]);
}

#[tokio::test]
async fn declines_and_refusals_have_stripes_codes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("j")).await;
    for (method, code, decline_code) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_chargeDeclinedLostCard", "card_declined", "lost_card"),
        ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ] {
        let (status, body) = json(server.pay(method, "o", method).await).await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED, "{method}");
        let error = &body["error"];
        assert_eq!((error["code"].as_str(), error["decline_code"].as_str()), (Some(code), Some(decline_code)));
        assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
    }
    assert_eq!(server.charges("o").await, 0);
    for (body, code) in [
        (payment("o", "pm_nonsense", 100), "resource_missing"),
        (payment("o", "pm_card_visa", 49), "amount_too_small"),
        (payment("o", "pm_card_visa", 100_000_000), "amount_too_large"),
        (payment("o", "pm_card_visa", 100) + "&colour=red", "parameter_unknown"),
    ] {
        let (status, answer) = json(server.post("/v1/payment_intents", Some("same"), body).await).await;
        assert_eq!((status, answer["error"]["code"].as_str()), (StatusCode::BAD_REQUEST, Some(code)));
    }
    // A malformed request was not kept, so its key is still free.
    assert_eq!(server.pay("same", "o", "pm_card_visa").await.unwrap().status(), StatusCode::OK);
    let wrong =
        server.client.get(format!("{}/v1/refunds/re_1", server.base)).bearer_auth("sk_wrong").send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
    let basic = server
        .client
        .get(format!("{}/v1/refunds/re_1", server.base))
        .basic_auth("sk_test_1", Some(""))
        .send()
        .await
        .unwrap();
    assert_eq!(basic.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_intent_that_wants_the_buyer_can_be_cancelled_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("j")).await;
    let (status, intent) = json(server.pay("a", "o", "pm_card_authenticationRequired").await).await;
    assert_eq!((status, intent["status"].as_str()), (StatusCode::OK, Some("requires_action")));
    let path = format!("/v1/payment_intents/{}/cancel", intent["id"].as_str().unwrap());
    let (status, intent) = json(server.post(&path, None, "cancellation_reason=abandoned".into()).await).await;
    assert_eq!((status, intent["status"].as_str()), (StatusCode::OK, Some("canceled")));
    let (status, refused) = json(server.post(&path, None, String::new()).await).await;
    assert_eq!(
        (status, refused["error"]["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("payment_intent_unexpected_state"))
    );
    let body = payment("o", "pm_card_authenticationRequired", 500) + "&error_on_requires_action=true";
    let (status, refused) = json(server.post("/v1/payment_intents", None, body).await).await;
    assert_eq!(
        (status, refused["error"]["code"].as_str()),
        (StatusCode::PAYMENT_REQUIRED, Some("authentication_required"))
    );
    assert_eq!(server.charges("o").await, 0);
}

#[tokio::test]
async fn refunds_never_give_back_more_than_was_charged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("j")).await;
    let (_, intent) = json(server.pay("a", "o", "pm_card_mastercard").await).await;
    let id = intent["id"].as_str().unwrap();
    let (status, part) =
        json(server.post("/v1/refunds", Some("r1"), format!("payment_intent={id}&amount=999")).await).await;
    assert_eq!((status, part["status"].as_str()), (StatusCode::OK, Some("succeeded")));
    let (status, _) = json(server.post("/v1/refunds", None, format!("payment_intent={id}&amount=1001")).await).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (_, rest) = json(server.post("/v1/refunds", Some("r2"), format!("payment_intent={id}")).await).await;
    assert_eq!(rest["amount"], 1000);
    let (_, again) = json(server.post("/v1/refunds", Some("r2"), format!("payment_intent={id}")).await).await;
    assert_eq!(again, rest);
    let (_, refused) = json(server.post("/v1/refunds", Some("r3"), format!("payment_intent={id}")).await).await;
    assert_eq!(refused["error"]["code"], "charge_already_refunded");
    assert_eq!(server.get(&format!("/v1/refunds/{}", rest["id"].as_str().unwrap())).await, rest);
    assert_eq!(server.get("/_control/ledger").await["orders"]["o"]["refunded"], 1999);
}

#[tokio::test]
async fn faults_are_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("j")).await;

    server.faults(json!({"unavailable": true})).await;
    assert_eq!(server.pay("u", "u", "pm_card_visa").await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    server.faults(json!({"hang_next": 1})).await;
    assert!(server.pay("u", "u", "pm_card_visa").await.unwrap_err().is_timeout());
    assert_eq!(server.charges("u").await, 0);
    // Neither fault touched the key.
    assert_eq!(server.pay("u", "u", "pm_card_visa").await.unwrap().status(), StatusCode::OK);

    server.faults(json!({"fail_next": 1})).await;
    for replayed in [false, true] {
        let answer = server.pay("f", "f", "pm_card_visa").await.unwrap();
        assert_eq!(
            (answer.status(), answer.headers().contains_key("idempotent-replayed")),
            (StatusCode::INTERNAL_SERVER_ERROR, replayed)
        );
    }
    assert_eq!(server.charges("f").await, 0);

    server.faults(json!({"charge_then_hang_next": 1, "charge_then_close_next": 1})).await;
    assert!(server.pay("h", "h", "pm_card_visa").await.unwrap_err().is_timeout());
    let closed = server.pay("c", "c", "pm_card_visa").await.unwrap_err();
    assert!(!closed.is_timeout() && !closed.is_connect(), "{closed:?}");
    for order in ["h", "c"] {
        assert_eq!(server.charges(order).await, 1);
        assert_eq!(server.pay(order, order, "pm_card_visa").await.unwrap().headers()["idempotent-replayed"], "true");
    }

    server.faults(json!({"decline_all": true})).await;
    assert_eq!(server.pay("d", "d", "pm_card_visa").await.unwrap().status(), StatusCode::PAYMENT_REQUIRED);

    server.faults(json!({"fail_rate": 0.5, "seed": 7})).await;
    let mut seen = Vec::new();
    for round in 0..2 {
        server.faults(json!({"fail_rate": 0.5, "seed": 7})).await;
        let mut statuses = Vec::new();
        for call in 0..20 {
            statuses.push(server.pay(&format!("{round}-{call}"), "s", "pm_card_visa").await.unwrap().status());
        }
        seen.push(statuses);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].contains(&StatusCode::OK) && seen[0].contains(&StatusCode::INTERNAL_SERVER_ERROR));
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_its_payment_and_a_key_in_flight_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("j")).await;
    server.faults(json!({"latency_ms": 1200})).await;
    assert!(server.pay("k", "o", "pm_card_visa").await.unwrap_err().is_timeout());
    let (status, body) = json(server.pay("k", "o", "pm_card_visa").await).await;
    assert_eq!((status, body["error"]["code"].as_str()), (StatusCode::CONFLICT, Some("idempotency_key_in_use")));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while server.charges("o").await == 0 {
        assert!(tokio::time::Instant::now() < deadline, "the payment was never carried out");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.faults(json!({})).await;
    assert_eq!(server.pay("k", "o", "pm_card_visa").await.unwrap().headers()["idempotent-replayed"], "true");
    assert_eq!(server.charges("o").await, 1);
}
