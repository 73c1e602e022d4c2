//! A buyer of one order, who keeps the key. Invariant: every answer that names an order is written down for the auditor.

use std::sync::{Mutex, PoisonError};

use anyhow::ensure;
use reqwest::Method;
use serde_json::{Value, json};
use swiftcart_audit::Answer;
use swiftcart_support::client::{self, Client, send};
use uuid::Uuid;

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
        request = request.header("idempotency-key", &self.key);
        if let Some(trace) = trace {
            request = request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
        }
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

    /// What he was told.
    pub(crate) fn into_answers(self) -> Vec<Answer> {
        self.answers.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn for_good(answer: &client::Answer, told: &Value) -> bool {
    match answer.status {
        201 | 402 => true,
        409 => matches!(told["type"].as_str(), Some("/problems/out-of-stock" | "/problems/order-failed")),
        _ => false,
    }
}
