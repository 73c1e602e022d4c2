//! A buyer of one order, who keeps the key. Invariant: every answer that names an order is written down for the auditor.

use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use swiftcart_audit::Answer;
use swiftcart_support::client::{self, Client, send};
use swiftcart_support::eventually;
use uuid::Uuid;

use crate::world::{PRICE, SOON};

/// Somebody who wants one thing.
pub(crate) struct Buyer {
    client: Client,
    /// Also the user id in the shop, for it is a UUID.
    pub(crate) name: String,
    token: String,
    key: String,
    body: Value,
    answers: Mutex<Vec<Answer>>,
}

impl Buyer {
    pub(crate) fn new(client: &Client, sku: &str, card: &str) -> anyhow::Result<Self> {
        let name = Uuid::new_v4().to_string();
        Ok(Self {
            client: client.clone(),
            token: client.token(&name, "orders:read orders:write")?,
            key: format!("crash-{}", Uuid::new_v4()),
            body: json!({"items": [{"sku": sku, "qty": 1}], "currency": "USD", "payment": {"method": card}}),
            answers: Mutex::default(),
            name,
        })
    }

    /// Asks once, in the trace if one is given. Gives the status if the answer is one for good.
    ///
    /// # Errors
    /// When there was no answer, one that is not for good, or one that no contract allows.
    pub(crate) async fn ask(&self, trace: Option<&str>) -> anyhow::Result<u16> {
        let mut request = self.client.request(Method::POST, "/orders", Some(&self.token))?.json(&self.body);
        request = within(request.header("idempotency-key", &self.key), trace);
        let answer = send(request).await?;
        let told = answer.json()?;
        if matches!(answer.status, 201 | 202) {
            let order_id = told["orderId"].as_str().unwrap_or_default().to_owned();
            let (user, key) = (self.name.clone(), self.key.clone());
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.push(Answer { status: answer.status, order_id, user, key });
        }
        ensure!(for_good(&answer, &told), "{} {}", answer.status, answer.text());
        Ok(answer.status)
    }

    /// Repeats the request until it is answered with a confirmed order, as it is once and for all; its id.
    pub(crate) async fn insist_on_an_order(&self) -> anyhow::Result<String> {
        let status = eventually(SOON, "a decided answer", async || self.ask(None).await).await?;
        ensure!(status == 201, "the order was answered {status}");
        self.order()
    }

    /// Takes the order back, in the trace if one is given. Gives its state.
    ///
    /// # Errors
    /// When there was no answer, or another one than that it is cancelled and what it cost is owed or given back.
    pub(crate) async fn cancel(&self, trace: Option<&str>) -> anyhow::Result<String> {
        let order = self.order()?;
        let request = self.client.request(Method::POST, &format!("/orders/{order}/cancel"), Some(&self.token))?;
        let told = send(within(request, trace)).await?.expect_status(200)?.json()?;
        let right = told["state"] == "CANCELLED" && told["orderId"] == *order && told["refund"]["amount"] == PRICE;
        ensure!(right, "{told}");
        Ok("CANCELLED".to_owned())
    }

    fn order(&self) -> anyhow::Result<String> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.last().map(|answer| answer.order_id.clone()).context("he was told of no order")
    }

    /// What he was told.
    pub(crate) fn into_answers(self) -> Vec<Answer> {
        self.answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn within(request: RequestBuilder, trace: Option<&str>) -> RequestBuilder {
    match trace {
        Some(trace) => request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")),
        None => request,
    }
}

fn for_good(answer: &client::Answer, told: &Value) -> bool {
    match answer.status {
        201 | 402 => true,
        409 => matches!(told["type"].as_str(), Some("/problems/out-of-stock" | "/problems/order-failed")),
        _ => false,
    }
}
