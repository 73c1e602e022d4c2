//! A payment service provider with Stripe's API shape. Invariant: a payment that was begun is carried out even when its caller goes away
//! (as with the real one), and one idempotency key moves money at most once.
//!
//! What is kept for an idempotency key, as Stripe documents it: the status and body of the first call that began to execute, whether it
//! succeeded or not, so a decline and a 500 are replayed too. Not kept: 400 for malformed parameters, 401, the 409 of a key in flight, the
//! 503 of `unavailable` and what happens to a connection. Unlike Stripe's, `search` sees a payment at once.

pub mod fault;
pub mod ledger;
pub mod method;
mod operation;
mod read;
pub mod webhook;
mod wire;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::serve::Connection;
use fault::{After, Before, FaultBox, Faults};
use ledger::{Kept, Ledger};
use operation::Operation;
use webhook::{Delivery, Sender};
use wire::{Failure, Parameters};

/// How the simulator is set up.
#[derive(Debug)]
pub struct Options {
    /// Where the books are kept.
    pub journal: PathBuf,
    /// The key that callers must present; `None` takes any that is not empty.
    pub secret_key: Option<String>,
    /// What webhooks are signed with; `None` sends none.
    pub webhook_secret: Option<String>,
}

/// The simulator; cheap to clone.
#[derive(Clone)]
pub struct Psp(Arc<Inner>);

struct Inner {
    secret_key: Option<String>,
    ledger: Mutex<Ledger>,
    in_flight: Mutex<HashSet<String>>,
    faults: FaultBox,
    webhooks: Sender,
}

impl Psp {
    /// Reads the journal.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub fn open(options: Options) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(Inner {
            secret_key: options.secret_key,
            ledger: Mutex::new(Ledger::open(&options.journal)?),
            in_flight: Mutex::default(),
            faults: FaultBox::default(),
            webhooks: Sender::new(options.webhook_secret),
        })))
    }

    /// All routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/payment_intents", post(pay).get(read::list))
            .route("/v1/payment_intents/search", get(read::search))
            .route("/v1/payment_intents/{id}", get(read::intent))
            .route("/v1/payment_intents/{id}/cancel", post(cancel))
            .route("/v1/refunds", post(refund).get(read::refunds))
            .route("/v1/refunds/{id}", get(read::refund))
            .route("/_control/faults", get(read_faults).put(set_faults))
            .route("/_control/webhooks", get(read_webhooks).put(set_webhooks))
            .route("/_control/refunds/{id}", post(decide_refund))
            .route("/_control/ledger", get(audit))
            .route("/_control/reset", post(reset))
            .with_state(self.clone())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn authorize(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let refuse =
            |message: &str| Err(Failure::new(StatusCode::UNAUTHORIZED, "invalid_request_error", None, None, message));
        let Some(presented) = presented_key(headers) else {
            return refuse(
                "You did not provide an API key. Send it as a bearer token or as the user name of HTTP basic authentication.",
            );
        };
        match &self.0.secret_key {
            Some(expected) if *expected != presented => refuse("Invalid API Key provided."),
            _ => Ok(()),
        }
    }

    /// Key check and the faults that come before anything is done; `Some(Fail)` is left to the caller because its answer may be kept.
    async fn admit(&self, headers: &HeaderMap) -> Result<Before, Failure> {
        self.authorize(headers)?;
        match self.0.faults.before() {
            Before::Unavailable => Err(Failure::unavailable()),
            Before::Hang => std::future::pending().await,
            before => Ok(before),
        }
    }

    async fn read(&self, headers: &HeaderMap, answer: impl FnOnce(&Ledger) -> Result<Value, Failure>) -> Response {
        let admitted = self.admit(headers).await;
        self.delay().await;
        match admitted {
            Ok(Before::Fail) => failure(Failure::internal()),
            Err(error) => failure(error),
            Ok(_) => answer(&self.ledger()).map_or_else(failure, |body| Json(body).into_response()),
        }
    }

    async fn delay(&self) {
        let latency_ms = self.0.faults.current().latency_ms;
        if latency_ms > 0 {
            tokio::time::sleep(Duration::from_millis(latency_ms)).await;
        }
    }

    async fn write(
        &self,
        operation: Operation,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
        connection: Connection,
    ) -> Response {
        let before = match self.admit(headers).await {
            Ok(before) => before,
            Err(error) => return failure(error),
        };
        let begun = match self.begin(&operation, path, headers, body) {
            Ok(begun) => begun,
            Err(refused) => return *refused,
        };
        let what = operation.clone();
        let this = self.clone();
        // A task of its own: a caller that gives up does not stop a payment that has begun.
        let task = tokio::spawn(async move {
            this.delay().await;
            this.carry_out(&operation, before, begun)
        });
        let answer = match task.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
            Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        };
        let after = match what {
            Operation::Pay if before == Before::Nothing => self.0.faults.after_payment(),
            Operation::Refund if before == Before::Nothing => self.0.faults.after_refund(),
            _ => After::Answer,
        };
        match after {
            After::Answer => answer,
            After::Hang => std::future::pending().await,
            After::Close => connection.cut().await,
        }
    }

    /// Looks at the idempotency key and checks the parameters; `Err` is an answer that needs no execution.
    fn begin(
        &self,
        operation: &Operation,
        path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Begun, Box<Response>> {
        let refuse = |error| Box::new(failure(error));
        let parameters = Parameters::parse(body).map_err(refuse)?;
        let fingerprint = parameters.fingerprint(path);
        let key = headers.get("idempotency-key").and_then(|value| value.to_str().ok()).map(str::to_owned);
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 255) {
            let message = "Idempotency keys must be 1 to 255 characters long.";
            return Err(refuse(Failure::new(StatusCode::BAD_REQUEST, "idempotency_error", None, None, message)));
        }
        let claim = match key {
            None => None,
            Some(key) => {
                let claim = Claim::take(&self.0, key.clone()).ok_or_else(|| refuse(in_use(&key)))?;
                // Looked up only after the claim, so that the call which held it before has already written its answer.
                if let Some(kept) = self.ledger().kept(&key) {
                    return Err(Box::new(replay(kept, &fingerprint)));
                }
                Some(claim)
            }
        };
        operation.validate(&parameters).map_err(refuse)?;
        Ok(Begun { parameters, fingerprint, claim })
    }

    fn carry_out(&self, operation: &Operation, before: Before, begun: Begun) -> anyhow::Result<Response> {
        let faults = self.0.faults.current();
        let mut ledger = self.ledger();
        let done = if before == Before::Fail {
            Err(Failure::internal())
        } else {
            operation.execute(&ledger, &begun.parameters, &faults)
        };
        let (status, body, mut change) = match done {
            Ok(done) => (done.status, done.body, done.change),
            Err(error) => (error.status, error.body, ledger::Change::default()),
        };
        let body = body.to_string();
        if let Some(claim) = &begun.claim {
            change.kept = Some(Kept {
                key: claim.key.clone(),
                fingerprint: begun.fingerprint.clone(),
                status: status.as_u16(),
                body: body.clone(),
            });
        }
        ledger.commit(change.clone())?;
        self.0.webhooks.tell(&change);
        Ok(json_text(status, body))
    }
}

struct Begun {
    parameters: Parameters,
    fingerprint: String,
    claim: Option<Claim>,
}

/// The right to execute under an idempotency key; given back when dropped.
struct Claim {
    inner: Arc<Inner>,
    key: String,
}

impl Claim {
    fn take(inner: &Arc<Inner>, key: String) -> Option<Self> {
        let fresh = inner.in_flight.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        fresh.then(|| Self { inner: Arc::clone(inner), key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.in_flight.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

fn presented_key(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let key = if let Some(bearer) = value.strip_prefix("Bearer ") {
        bearer.trim().to_owned()
    } else {
        let decoded = STANDARD.decode(value.strip_prefix("Basic ")?.trim()).ok()?;
        String::from_utf8(decoded).ok()?.split(':').next()?.to_owned()
    };
    (!key.is_empty()).then_some(key)
}

fn in_use(key: &str) -> Failure {
    let message = format!(
        "There is currently another in-progress request using this Idempotent Key ({key}). Please try again later."
    );
    Failure::new(StatusCode::CONFLICT, "idempotency_error", Some("idempotency_key_in_use"), None, message)
}

fn replay(kept: &Kept, fingerprint: &str) -> Response {
    if kept.fingerprint != fingerprint {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{}' if you meant to execute a different request.",
            kept.key
        );
        return failure(Failure::new(StatusCode::BAD_REQUEST, "idempotency_error", None, None, message));
    }
    let status = StatusCode::from_u16(kept.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_text(status, kept.body.clone());
    response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    response
}

fn failure(failure: Failure) -> Response {
    json_text(failure.status, failure.body.to_string())
}

fn json_text(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn pay(
    State(psp): State<Psp>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    psp.write(Operation::Pay, "POST /v1/payment_intents", &headers, &body, connection).await
}

async fn cancel(
    State(psp): State<Psp>,
    Extension(connection): Extension<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = format!("POST /v1/payment_intents/{id}/cancel");
    psp.write(Operation::Cancel(id), &path, &headers, &body, connection).await
}

async fn refund(
    State(psp): State<Psp>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    psp.write(Operation::Refund, "POST /v1/refunds", &headers, &body, connection).await
}

async fn read_faults(State(psp): State<Psp>) -> Json<Faults> {
    Json(psp.0.faults.current())
}

async fn set_faults(State(psp): State<Psp>, Json(faults): Json<Faults>) -> StatusCode {
    psp.0.faults.set(faults);
    StatusCode::NO_CONTENT
}

async fn read_webhooks(State(psp): State<Psp>) -> Json<Value> {
    Json(psp.0.webhooks.show())
}

async fn set_webhooks(State(psp): State<Psp>, Json(delivery): Json<Delivery>) -> StatusCode {
    psp.0.webhooks.set(delivery);
    StatusCode::NO_CONTENT
}

/// What becomes of a refund that is on its way, or comes back: `{"status": "succeeded" | "failed"}`.
async fn decide_refund(State(psp): State<Psp>, Path(id): Path<String>, Json(body): Json<Value>) -> Response {
    let Some(status @ ("succeeded" | "failed")) = body.get("status").and_then(Value::as_str) else {
        return failure(Failure::parameter("parameter_invalid", "status", "This value must be succeeded or failed."));
    };
    let mut ledger = psp.ledger();
    let Some(refund) = ledger.refund(&id).cloned() else { return failure(Failure::missing("refund", &id)) };
    let change = ledger::Change {
        refund: Some(ledger::Refund { status: status.to_owned(), ..refund }),
        ..ledger::Change::default()
    };
    match ledger.commit(change.clone()) {
        Ok(()) => {
            psp.0.webhooks.tell(&change);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn audit(State(psp): State<Psp>) -> Json<Value> {
    Json(psp.ledger().audit())
}

async fn reset(State(psp): State<Psp>) -> Response {
    psp.0.faults.set(Faults::default());
    match psp.ledger().reset() {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}
