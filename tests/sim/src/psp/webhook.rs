//! Events of the books, posted as Stripe posts them. Invariant: what is posted is signed over the very bytes that are sent; an event is tried again
//! until somebody answers 2xx or the tries are used up, so it may come twice, late and out of order. Unlike Stripe's, an event that was not delivered
//! dies with the process: whoever is told by webhooks must also ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ledger::{Change, new_id, now};

/// Tries per event; the waits between them double from [`FIRST_WAIT`].
const TRIES: u32 = 8;
/// Until the second try.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// One try.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
/// By how much every second event is held back when events are to come out of order.
const REORDER_HOLD: Duration = Duration::from_millis(400);

/// What `PUT /_control/webhooks` takes; what is left out is off. It replaces whatever was set before.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// `http://host:port/path`; none: nothing is sent.
    pub url: Option<String>,
    /// Milliseconds before each event is sent.
    pub delay_ms: u64,
    /// Every event is sent twice.
    pub duplicate: bool,
    /// Every second event is held back so that the next one overtakes it.
    pub reorder: bool,
}

/// Counts of what was sent.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    /// Events that were made.
    events: u64,
    /// Deliveries that were answered with 2xx.
    delivered: u64,
    /// Deliveries that were given up.
    given_up: u64,
}

/// The sender; cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Sender(Arc<Inner>);

#[derive(Default)]
struct Inner {
    secret: Option<String>,
    state: Mutex<(Delivery, Counts)>,
}

impl Sender {
    /// A sender that signs with a secret; without one nothing is ever sent.
    pub(super) fn new(secret: Option<String>) -> Self {
        Self(Arc::new(Inner { secret, ..Inner::default() }))
    }

    fn state(&self) -> MutexGuard<'_, (Delivery, Counts)> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the settings.
    pub(super) fn set(&self, delivery: Delivery) {
        self.state().0 = delivery;
    }

    /// Settings and counts.
    pub(super) fn show(&self) -> Value {
        let (delivery, counts) = self.state().clone();
        json!({"delivery": delivery, "counts": counts})
    }

    /// Sends what a change of the books means.
    pub(super) fn tell(&self, change: &Change) {
        for (kind, object) in events(change) {
            self.send(kind, &object);
        }
    }

    fn send(&self, kind: &str, object: &Value) {
        let (Some(secret), (delivery, number)) = (self.0.secret.clone(), {
            let mut state = self.state();
            state.1.events += 1;
            (state.0.clone(), state.1.events)
        }) else {
            return;
        };
        let Some(url) = delivery.url else { return };
        let event = json!({
            "id": new_id("evt"), "object": "event", "api_version": "2025-09-30", "created": now(), "livemode": false,
            "pending_webhooks": 1, "type": kind, "data": {"object": object},
        });
        let held = if delivery.reorder && number % 2 == 1 { REORDER_HOLD } else { Duration::ZERO };
        let wait = Duration::from_millis(delivery.delay_ms) + held;
        for _ in 0..if delivery.duplicate { 2 } else { 1 } {
            let (this, url, secret, body) = (self.clone(), url.clone(), secret.clone(), event.to_string());
            tokio::spawn(async move { this.deliver(&url, &secret, &body, wait).await });
        }
    }

    async fn deliver(&self, url: &str, secret: &str, body: &str, wait: Duration) {
        tokio::time::sleep(wait).await;
        let mut pause = FIRST_WAIT;
        for _ in 0..TRIES {
            // Signed anew for each try, as Stripe does: the time is part of it.
            let header = sign(secret, now(), body.as_bytes());
            match tokio::time::timeout(TRY_TIMEOUT, post(url, &header, body)).await {
                Ok(Ok(status)) if (200..300).contains(&status) => {
                    self.state().1.delivered += 1;
                    return;
                }
                Ok(Ok(status)) => tracing::debug!(status, "webhook refused"),
                Ok(Err(error)) => tracing::debug!(%error, "webhook not delivered"),
                Err(_) => tracing::debug!("webhook timed out"),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.state().1.given_up += 1;
    }
}

/// The header `Stripe-Signature` (<https://docs.stripe.com/webhooks#verify-manually>).
#[must_use]
pub fn sign(secret: &str, seconds: i64, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let hex: String = context.sign().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

/// The events of a change, as (type, object).
fn events(change: &Change) -> Vec<(&'static str, Value)> {
    let mut events = Vec::new();
    if let Some(intent) = &change.intent {
        let kind = match intent.status.as_str() {
            "succeeded" => "payment_intent.succeeded",
            "canceled" => "payment_intent.canceled",
            "requires_action" => "payment_intent.requires_action",
            _ => "payment_intent.payment_failed",
        };
        events.push((kind, intent.json()));
    }
    if let Some(refund) = &change.refund {
        let kind = match refund.status.as_str() {
            "failed" => "refund.failed",
            "pending" => "refund.created",
            _ => "refund.updated",
        };
        events.push((kind, refund.json()));
        if refund.status == "succeeded" {
            let charge = json!({"id": refund.charge, "object": "charge", "payment_intent": refund.payment_intent,
                "amount_refunded": refund.amount, "metadata": refund.metadata});
            events.push(("charge.refunded", charge));
        }
    }
    events
}

/// One POST over HTTP/1.1; the status of the answer.
async fn post(url: &str, signature: &str, body: &str) -> anyhow::Result<u16> {
    let rest = url.strip_prefix("http://").context("only http:// is spoken here")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let mut stream = TcpStream::connect(authority).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\naccept: */*; q=0.5, application/xml\r\n\
         content-type: application/json; charset=utf-8\r\ncontent-length: {}\r\nstripe-signature: {signature}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.windows(2).any(|pair| pair == b"\r\n") {
        if stream.read_buf(&mut answer).await? == 0 || answer.len() > 4096 {
            bail!("the answer has no status line");
        }
    }
    let text = String::from_utf8_lossy(&answer);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).context("the answer has no status")
}
