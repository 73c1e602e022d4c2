//! A development token issuer: OIDC discovery, a key set, and a grant that gives any token to whoever can reach loopback.
//! Invariant: what it signs verifies with the keys that it serves, also after a rotation.

use std::sync::{Arc, RwLock};

use anyhow::{Context, anyhow};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::json;

use crate::keys::Keys;
use crate::token;

/// Seconds that a token lives unless the request says otherwise.
const DEFAULT_LIFETIME_SECONDS: i64 = 3600;

/// The issuer; cheap to clone.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    issuer: String,
    audience: String,
    keys: RwLock<Keys>,
}

#[derive(Deserialize)]
struct Grant {
    sub: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    expires_in: Option<i64>,
    #[serde(default)]
    alg: Option<Algorithm>,
    #[serde(default)]
    aud: Option<String>,
}

impl Issuer {
    /// An issuer that names itself `issuer` and writes tokens for `audience`.
    #[must_use]
    pub fn new(issuer: String, audience: String, keys: Keys) -> Self {
        Self(Arc::new(Inner { issuer, audience, keys: RwLock::new(keys) }))
    }

    /// All routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/.well-known/jwks.json", get(key_set))
            .route("/token", post(grant))
            .route("/_control/rotate", post(rotate))
            .with_state(self.clone())
    }

    fn mint(&self, grant: Grant) -> anyhow::Result<Response> {
        let lifetime = grant.expires_in.unwrap_or(DEFAULT_LIFETIME_SECONDS);
        let request = token::Request {
            issuer: self.0.issuer.clone(),
            audience: grant.aud.unwrap_or_else(|| self.0.audience.clone()),
            subject: grant.sub,
            scope: grant.scope.clone(),
            email: grant.email,
            expires_in_seconds: lifetime,
            algorithm: grant.alg.unwrap_or(Algorithm::ES256),
        };
        let keys = self.0.keys.read().map_err(|_| anyhow!("a thread failed while it held the keys"))?;
        let token = token::mint(&keys, &request)?;
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime, "scope": grant.scope});
        Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
    }
}

async fn discovery(State(issuer): State<Issuer>) -> Response {
    let base = &issuer.0.issuer;
    Json(json!({
        "issuer": base,
        "jwks_uri": format!("{base}/.well-known/jwks.json"),
        "token_endpoint": format!("{base}/token"),
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "RS256"],
        "grant_types_supported": ["client_credentials"],
    }))
    .into_response()
}

async fn key_set(State(issuer): State<Issuer>) -> Response {
    match issuer.0.keys.read() {
        Ok(keys) => ([(header::CACHE_CONTROL, "public, max-age=60")], Json(keys.public_set())).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn grant(State(issuer): State<Issuer>, headers: HeaderMap, body: Bytes) -> Response {
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    match parse(json, &body).and_then(|grant| issuer.mint(grant)) {
        Ok(response) => response,
        Err(error) => (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_request", "error_description": format!("{error:#}")})),
        )
            .into_response(),
    }
}

fn parse(json: bool, body: &[u8]) -> anyhow::Result<Grant> {
    if json {
        return serde_json::from_slice(body).context("the body is no grant");
    }
    let mut fields = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        let value = match name.as_ref() {
            "expires_in" => json!(value.parse::<i64>().context("expires_in is a number of seconds")?),
            _ => json!(value),
        };
        fields.insert(name.into_owned(), value);
    }
    serde_json::from_value(fields.into()).context("the body is no grant")
}

async fn rotate(State(issuer): State<Issuer>) -> Response {
    let rotated = match issuer.0.keys.write() {
        Ok(mut keys) => keys.rotate().map(|()| keys.public_set()),
        Err(_) => Err(anyhow!("a thread failed while it held the keys")),
    };
    match rotated {
        Ok(set) => Json(set).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}
