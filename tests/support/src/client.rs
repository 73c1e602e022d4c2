//! A client for everything that a test or a tool asks a shop: its API, the PSP's books, the inbox, the host's admin port.
//! Invariant: an HTTP answer is never an error here, whatever its status; only a missing answer is.

use std::time::Duration;

use anyhow::{Context, ensure};
use jsonwebtoken::Algorithm;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{ClientBuilder, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use swiftcart_sim::{keys, token};

use crate::shop::Addresses;

/// All scopes of the API.
pub const ALL_SCOPES: &str = "orders:read orders:write inventory:write";

/// Begins a client for servers on 127.0.0.1; use it wherever a test speaks HTTP.
///
/// In one build of the whole workspace reqwest has TLS without a provider of cryptography of its own (the host brings both), and would
/// panic without one of the process, whether or not HTTPS is ever spoken.
pub fn http_client() -> ClientBuilder {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread was faster: then there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    // A proxy of the environment must not come between us and 127.0.0.1.
    reqwest::Client::builder().no_proxy()
}

/// A client; cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    addresses: Addresses,
    keys: keys::Keys,
}

/// An HTTP answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body, byte for byte.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none, with status and body.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{} with a body that is not JSON: {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header as text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer itself if it has this status.
    ///
    /// # Errors
    /// When it has another, with the body.
    pub fn expect_status(self, status: u16) -> anyhow::Result<Self> {
        ensure!(self.status == status, "expected {status}, got {}: {}", self.status, self.text());
        Ok(self)
    }
}

/// A mail in the inbox.
#[derive(Clone, Debug, Deserialize)]
pub struct Mail {
    /// maildev's id.
    pub id: String,
    /// Subject.
    #[serde(default)]
    pub subject: String,
    /// Receivers.
    #[serde(default)]
    pub to: Vec<Mailbox>,
    /// Sender.
    #[serde(default)]
    pub from: Vec<Mailbox>,
    /// Headers, names in small letters.
    #[serde(default)]
    pub headers: serde_json::Map<String, Value>,
    /// Text part.
    #[serde(default)]
    pub text: Option<String>,
    /// HTML part.
    #[serde(default)]
    pub html: Option<Value>,
}

impl Mail {
    /// A header, its name in any letters.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(&name.to_ascii_lowercase())?.as_str()
    }
}

/// One party of a mail.
#[derive(Clone, Debug, Deserialize)]
pub struct Mailbox {
    /// Mail address.
    pub address: String,
    /// Display name.
    #[serde(default)]
    pub name: String,
}

impl Client {
    /// A client for a shop, also one that another program started (`State::read`).
    ///
    /// # Errors
    /// When the issuer's keys cannot be read.
    pub fn new(addresses: &Addresses) -> anyhow::Result<Self> {
        let http =
            http_client().timeout(Duration::from_secs(30)).redirect(reqwest::redirect::Policy::none()).build()?;
        Ok(Self { http, addresses: addresses.clone(), keys: keys::load_or_create(&addresses.issuer_keys)? })
    }

    /// Where the shop is.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A token for an hour, with the mail address `<subject>@example.com`, signed with ES256.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, subject: &str, scope: &str) -> anyhow::Result<String> {
        self.mint(&self.token_request(subject, scope))
    }

    /// The request of `token`, for tests that change something in it.
    #[must_use]
    pub fn token_request(&self, subject: &str, scope: &str) -> token::Request {
        token::Request {
            issuer: self.addresses.issuer_url.clone(),
            audience: self.addresses.issuer_audience.clone(),
            subject: subject.to_owned(),
            scope: scope.to_owned(),
            email: Some(format!("{subject}@example.com")),
            expires_in_seconds: 3600,
            algorithm: Algorithm::ES256,
        }
    }

    /// Signs a token with the issuer's key.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn mint(&self, request: &token::Request) -> anyhow::Result<String> {
        token::mint(&self.keys, request)
    }

    /// Begins any request to the shop's API; `send` ends it.
    ///
    /// # Errors
    /// When the shop has no host.
    pub fn request(&self, method: Method, path: &str, token: Option<&str>) -> anyhow::Result<RequestBuilder> {
        let edge = self.addresses.edge_url.as_deref().context("this shop has no host")?;
        let request = self.http.request(method, format!("{edge}{path}"));
        Ok(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// `POST /orders`.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn post_order(&self, token: &str, key: Option<&str>, body: &Value) -> anyhow::Result<Answer> {
        let mut request = self.request(Method::POST, "/orders", Some(token))?.json(body);
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key);
        }
        send(request).await
    }

    /// `GET` of any path of the API.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn get(&self, path: &str, token: Option<&str>) -> anyhow::Result<Answer> {
        send(self.request(Method::GET, path, token)?).await
    }

    /// `GET /orders/{id}`.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn get_order(&self, token: &str, order: &str) -> anyhow::Result<Answer> {
        self.get(&format!("/orders/{order}"), Some(token)).await
    }

    /// `POST /orders/{id}/cancel`.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn cancel_order(&self, token: &str, order: &str) -> anyhow::Result<Answer> {
        send(self.request(Method::POST, &format!("/orders/{order}/cancel"), Some(token))?).await
    }

    /// `PUT /products/{sku}`.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn put_product(&self, token: &str, sku: &str, body: &Value) -> anyhow::Result<Answer> {
        send(self.request(Method::PUT, &format!("/products/{sku}"), Some(token))?.json(body)).await
    }

    /// `POST /products/{sku}/stock`.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn post_stock(
        &self,
        token: &str,
        sku: &str,
        key: Option<&str>,
        delta: i64,
        reason: &str,
    ) -> anyhow::Result<Answer> {
        let mut request = self
            .request(Method::POST, &format!("/products/{sku}/stock"), Some(token))?
            .json(&json!({"delta": delta, "reason": reason}));
        if let Some(key) = key {
            request = request.header(HeaderName::from_static("idempotency-key"), key);
        }
        send(request).await
    }

    /// Makes a product with stock, in one go.
    ///
    /// # Errors
    /// When either call is refused.
    pub async fn stock_product(&self, sku: &str, unit_price: i64, currency: &str, stock: i64) -> anyhow::Result<()> {
        let token = self.token("stock-keeper", "inventory:write")?;
        let product = self
            .put_product(
                &token,
                sku,
                &json!({"name": format!("Product {sku}"), "unitPrice": unit_price, "currency": currency}),
            )
            .await?;
        ensure!(matches!(product.status, 200 | 201), "making {sku}: {} {}", product.status, product.text());
        self.post_stock(&token, sku, None, stock, "restock").await?.expect_status(200)?;
        Ok(())
    }

    /// Sets the PSP's faults, replacing those set before (`{}` clears them).
    ///
    /// # Errors
    /// When the PSP does not take them.
    pub async fn psp_faults(&self, faults: &Value) -> anyhow::Result<()> {
        send(self.http.put(format!("{}/_control/faults", self.addresses.psp_base_url)).json(faults))
            .await?
            .expect_status(204)?;
        Ok(())
    }

    /// The PSP's faults that are still to come.
    ///
    /// # Errors
    /// When the PSP does not answer.
    pub async fn psp_faults_left(&self) -> anyhow::Result<Value> {
        send(self.http.get(format!("{}/_control/faults", self.addresses.psp_base_url)))
            .await?
            .expect_status(200)?
            .json()
    }

    /// Tells the PSP where to send webhooks (`url`) and with which faults (`delay_ms`, `duplicate`, `reorder`); `{}` stops them.
    ///
    /// # Errors
    /// When the PSP does not take it.
    pub async fn psp_webhooks(&self, delivery: &Value) -> anyhow::Result<()> {
        send(self.http.put(format!("{}/_control/webhooks", self.addresses.psp_base_url)).json(delivery))
            .await?
            .expect_status(204)?;
        Ok(())
    }

    /// Decides a refund at the PSP: `succeeded` or `failed`.
    ///
    /// # Errors
    /// When the PSP has no such refund.
    pub async fn psp_decide_refund(&self, refund_id: &str, status: &str) -> anyhow::Result<()> {
        let url = format!("{}/_control/refunds/{refund_id}", self.addresses.psp_base_url);
        send(self.http.post(url).json(&json!({"status": status}))).await?.expect_status(204)?;
        Ok(())
    }

    /// The PSP's books: `intents`, `refunds`, and by order id `orders` with `charges`, `charged`, `refunded`, and the ids of `refunds` (money went
    /// back), `refundsPending` and `refundsFailed`.
    ///
    /// # Errors
    /// When the PSP does not answer.
    pub async fn psp_ledger(&self) -> anyhow::Result<Value> {
        send(self.http.get(format!("{}/_control/ledger", self.addresses.psp_base_url)))
            .await?
            .expect_status(200)?
            .json()
    }

    /// Empties the PSP's books and clears its faults.
    ///
    /// # Errors
    /// When the PSP does not answer.
    pub async fn psp_reset(&self) -> anyhow::Result<()> {
        send(self.http.post(format!("{}/_control/reset", self.addresses.psp_base_url))).await?.expect_status(204)?;
        Ok(())
    }

    /// All mails, in order of arrival.
    ///
    /// # Errors
    /// When there is no inbox or it does not answer.
    pub async fn inbox(&self) -> anyhow::Result<Vec<Mail>> {
        let answer = send(self.http.get(self.inbox_url("/api/email")?)).await?.expect_status(200)?;
        serde_json::from_slice(&answer.body).context("reading the inbox")
    }

    /// Deletes all mails.
    ///
    /// # Errors
    /// When there is no inbox or it does not answer.
    pub async fn clear_inbox(&self) -> anyhow::Result<()> {
        send(self.http.delete(self.inbox_url("/api/email/all")?)).await?.expect_status(200)?;
        Ok(())
    }

    fn inbox_url(&self, path: &str) -> anyhow::Result<String> {
        let base = self
            .addresses
            .mail_web_url
            .as_deref()
            .context("there is no inbox to read: set MAIL_WEB_URL beside SMTP_URL")?;
        Ok(format!("{base}{path}"))
    }

    /// Any page of the host's admin port.
    ///
    /// # Errors
    /// When there is no host or no answer.
    pub async fn admin(&self, path: &str) -> anyhow::Result<Answer> {
        let admin = self.addresses.admin_url.as_deref().context("this shop has no host")?;
        send(self.http.get(format!("{admin}{path}"))).await
    }

    /// What the host runs (`/v1/inventory`).
    ///
    /// # Errors
    /// When there is no host or no answer.
    pub async fn inventory(&self) -> anyhow::Result<Value> {
        self.admin("/v1/inventory").await?.expect_status(200)?.json()
    }

    /// The sum of all samples of a metric whose labels contain the given ones; 0 when there is none.
    ///
    /// # Errors
    /// When there is no host or no answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> anyhow::Result<f64> {
        let page = self.admin("/metrics").await?.expect_status(200)?.text();
        Ok(sum_of_samples(&page, name, labels))
    }
}

/// Sends a request and reads the whole answer.
///
/// # Errors
/// When no answer came.
pub async fn send(request: RequestBuilder) -> anyhow::Result<Answer> {
    let response = request.send().await?;
    Ok(Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.bytes().await?.to_vec(),
    })
}

fn sum_of_samples(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    page.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (found, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once('}')?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let wanted =
                labels.iter().all(|(name, value)| found.split(',').any(|label| label == format!("{name}=\"{value}\"")));
            if wanted { value.split_whitespace().next()?.parse::<f64>().ok() } else { None }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\",y=\"2\"} 4\na_b 5\na 1\n";
        for (labels, sum) in
            [(&[("y", "2")][..], 7.0), (&[("x", "1"), ("y", "2")], 3.0), (&[], 8.0), (&[("z", "2")], 0.0)]
        {
            assert!((sum_of_samples(page, "a", labels) - sum).abs() < f64::EPSILON);
        }
    }
}
