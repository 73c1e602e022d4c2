//! Stripe's protocol over kept connections: PaymentIntents in one step. Invariant: an answer is classed by what it proves about *this* request.

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use swiftcart_domain::money::Currency;
use uuid::Uuid;

use crate::payments::{AUTHENTICATION_REQUIRED, GENERIC_DECLINE, INVALID_METHOD};

/// Until a connection stands; a PSP that takes longer is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Kept connections: as many as the shop's client has at most, so that none is made anew under load.
const IDLE_CONNECTIONS: usize = 128;
/// How long one is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// An intent is about 4 KiB.
const BODY_MAX: usize = 1024 * 1024;
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A client with kept connections in plain HTTP.
pub(crate) type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// Makes one.
pub(crate) fn http_client() -> HttpClient {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .build(connector)
}

/// What an answer proves.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Charged, with the PSP's id.
    Succeeded(String),
    /// Declined for good, with the PSP's code, and its id if it gave one.
    Declined(String, Option<String>),
    /// The bank wants the buyer; the intent is open.
    RequiresAction(String),
    /// This request charged nothing.
    Refused(String),
    /// It may or may not have, with the PSP's id if an intent was made.
    Unknown(String, Option<String>),
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    last_payment_error: Option<ErrorBody>,
}

#[derive(Deserialize)]
struct ErrorBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
    param: Option<String>,
    payment_intent: Option<Box<Intent>>,
}

#[derive(Deserialize)]
struct ErrorEnvelope {
    error: ErrorBody,
}

/// The PSP.
pub(crate) struct Psp {
    client: HttpClient,
    base_url: String,
    authorization: HeaderValue,
}

impl Psp {
    /// Nothing connects yet.
    pub(crate) fn new(base_url: &str, secret_key: &SecretString) -> anyhow::Result<Self> {
        anyhow::ensure!(base_url.starts_with("http://"), "SWIFTCART_PSP_BASE_URL must be plain http://: a simulator");
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", secret_key.expose_secret()))
            .ok()
            .context("SWIFTCART_PSP_SECRET_KEY must be visible ASCII")?;
        authorization.set_sensitive(true);
        Ok(Self { client: http_client(), base_url: base_url.trim_end_matches('/').to_owned(), authorization })
    }

    /// Charges, or reads back what an earlier request under the same key came to.
    pub(crate) async fn pay(
        &self,
        order_id: Uuid,
        amount: u64,
        currency: Currency,
        method: &str,
        limit: Duration,
    ) -> Verdict {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("amount", &amount.to_string())
            .append_pair("currency", &currency.as_str().to_ascii_lowercase())
            .append_pair("payment_method", method)
            .append_pair("payment_method_types[]", "card")
            .append_pair("confirm", "true")
            .append_pair("metadata[order_id]", &order_id.to_string())
            .finish();
        self.answer("/v1/payment_intents", Some((form, format!("order-{order_id}-charge"))), limit).await
    }

    /// Reads an intent back.
    pub(crate) async fn read(&self, payment_id: &str, limit: Duration) -> Verdict {
        self.answer(&intent_path(payment_id), None, limit).await
    }

    /// Cancels an intent that waits for the buyer: nobody will come.
    pub(crate) async fn cancel(&self, order_id: Uuid, payment_id: &str, limit: Duration) -> Verdict {
        let path = format!("{}/cancel", intent_path(payment_id));
        match self.answer(&path, Some((String::new(), format!("order-{order_id}-cancel"))), limit).await {
            decided @ (Verdict::Succeeded(_) | Verdict::Declined(_, Some(_))) => decided,
            _ => Verdict::RequiresAction(payment_id.to_owned()),
        }
    }

    /// `form` is the body of a POST with its idempotency key; without it the request is a GET.
    async fn answer(&self, path: &str, form: Option<(String, String)>, limit: Duration) -> Verdict {
        let mut request = Request::builder()
            .uri(format!("{}{path}", self.base_url))
            .header(AUTHORIZATION, self.authorization.clone())
            .header(ACCEPT, HeaderValue::from_static("application/json"));
        let mut body = Bytes::new();
        if let Some((form, key)) = form {
            request = request
                .method(Method::POST)
                .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
                .header(IDEMPOTENCY_KEY, key);
            body = form.into();
        }
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            Err(error) => return Verdict::Refused(format!("the request is malformed: {error}")),
        };
        match tokio::time::timeout(limit, self.exchange(request)).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::Unknown(format!("the PSP did not answer within {} ms", limit.as_millis()), None),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Verdict {
        let response = match self.client.request(request).await {
            Ok(response) => response,
            // No connection came to stand, so nothing was sent.
            Err(error) if error.is_connect() => return Verdict::Refused(format!("no connection to the PSP: {error}")),
            Err(error) => return Verdict::Unknown(format!("no answer from the PSP: {error}"), None),
        };
        let status = response.status();
        match Limited::new(response.into_body(), BODY_MAX).collect().await {
            Ok(body) => classify(status, &body.to_bytes()),
            Err(error) => Verdict::Unknown(format!("the PSP's answer broke off: {error}"), None),
        }
    }
}

fn intent_path(payment_id: &str) -> String {
    let id: String = form_urlencoded::byte_serialize(payment_id.as_bytes()).collect();
    format!("/v1/payment_intents/{id}")
}

/// What a response proves: <https://docs.stripe.com/api/errors>. The shop also looks a broken payment up by search; here it stays unknown.
fn classify(status: StatusCode, body: &[u8]) -> Verdict {
    if status.is_success() {
        return match serde_json::from_slice::<Intent>(body) {
            Ok(intent) => of_intent(intent),
            Err(error) => Verdict::Unknown(format!("the PSP's answer is not as documented: {error}"), None),
        };
    }
    let error = serde_json::from_slice::<ErrorEnvelope>(body).ok().map(|envelope| envelope.error);
    let text = |part: fn(&ErrorBody) -> Option<&str>| error.as_ref().and_then(part).unwrap_or("-").to_owned();
    let (code, kind, param) = (text(|e| e.code.as_deref()), text(|e| e.kind.as_deref()), text(|e| e.param.as_deref()));
    let reason = format!("the PSP answered {}, type {kind}, code {code}, parameter {param}", status.as_u16());
    match (status.as_u16(), error) {
        (402, Some(error)) if kind == "card_error" => {
            let id = error.payment_intent.as_ref().map(|intent| intent.id.clone());
            Verdict::Declined(decline_code(&error), id)
        }
        (402 | 409, _) => Verdict::Unknown(reason, None),
        // A cancel that came too late: the intent tells how it stands.
        (400, Some(ErrorBody { payment_intent: Some(intent), .. })) if code == "payment_intent_unexpected_state" => {
            of_intent(*intent)
        }
        (400, _) if kind == "idempotency_error" || code == "payment_intent_unexpected_state" => {
            Verdict::Unknown(reason, None)
        }
        (400, _) if param == "payment_method" => Verdict::Declined(INVALID_METHOD.to_owned(), None),
        (429, _) if code == "lock_timeout" => Verdict::Unknown(reason, None),
        (400..=499, _) => Verdict::Refused(reason),
        // A 5xx tells nothing: a proxy may have sent it after the PSP had the request.
        _ => Verdict::Unknown(reason, None),
    }
}

/// The more exact of the two codes.
fn decline_code(error: &ErrorBody) -> String {
    let code = match (error.code.as_deref(), error.decline_code.as_deref()) {
        (None | Some(GENERIC_DECLINE), Some(decline_code)) => decline_code,
        (Some(code), _) => code,
        (None, None) => GENERIC_DECLINE,
    };
    code.to_owned()
}

/// How an intent stands: <https://docs.stripe.com/payments/paymentintents/lifecycle>.
fn of_intent(intent: Intent) -> Verdict {
    let Intent { id, status, last_payment_error } = intent;
    match status.as_str() {
        "succeeded" => Verdict::Succeeded(id),
        "requires_action" | "requires_confirmation" => Verdict::RequiresAction(id),
        // Only we cancel, and only what would have needed the buyer.
        "canceled" => Verdict::Declined(AUTHENTICATION_REQUIRED.to_owned(), Some(id)),
        "requires_payment_method" => {
            let code = last_payment_error.as_ref().map_or_else(|| GENERIC_DECLINE.to_owned(), decline_code);
            Verdict::Declined(code, Some(id))
        }
        other => Verdict::Unknown(format!("the payment is in status {other}"), Some(id)),
    }
}
