//! Talks to the guest `probe`. Invariant: an answer with another status than 200 is only an error where a case says so.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use swiftcart_support::client::{Answer, http_client, send};

/// One edge and a token; cheap to clone.
#[derive(Clone)]
pub(crate) struct Probe {
    http: reqwest::Client,
    address: String,
    token: String,
}

impl Probe {
    pub(crate) fn new(address: String, token: String) -> anyhow::Result<Self> {
        let http = http_client().timeout(Duration::from_secs(30)).build()?;
        Ok(Self { http, address, token })
    }

    /// The same edge for somebody else.
    pub(crate) fn with_token(&self, token: String) -> Self {
        Self { token, ..self.clone() }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("http://{}{path}", self.address))
    }

    pub(crate) fn request(&self, operation: &Value) -> RequestBuilder {
        self.http.post(format!("http://{}/run", self.address)).bearer_auth(&self.token).json(operation)
    }

    pub(crate) async fn ask(&self, operation: &Value) -> anyhow::Result<Answer> {
        send(self.request(operation)).await
    }

    /// What the operation gave.
    pub(crate) async fn run(&self, operation: &Value) -> anyhow::Result<Value> {
        self.ask(operation).await?.expect_status(200).with_context(|| operation.to_string())?.json()
    }

    pub(crate) async fn transact(&self, statements: &[Value]) -> anyhow::Result<Value> {
        self.run(&json!({"transact": {"statements": statements}})).await
    }
}

/// A statement as JSON.
pub(crate) fn statement(sql: &str, params: Value) -> Value {
    json!({"sql": sql, "params": params, "expected_rows": null})
}
