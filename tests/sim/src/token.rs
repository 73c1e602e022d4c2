//! Mints access tokens in the form of RFC 9068 (`at+jwt`). Invariant: every token is signed with a key that the issuer publishes.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};

use crate::keys::Keys;

/// What a token says.
#[derive(Clone, Debug)]
pub struct Request {
    /// `iss`.
    pub issuer: String,
    /// `aud`.
    pub audience: String,
    /// `sub`.
    pub subject: String,
    /// `scope`, space separated.
    pub scope: String,
    /// `email`, left out when `None`.
    pub email: Option<String>,
    /// Seconds until `exp`; negative makes a token that is already out of date.
    pub expires_in_seconds: i64,
    /// `ES256` or `RS256`.
    pub algorithm: Algorithm,
}

/// The claims of a token.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// Subject.
    pub sub: String,
    /// Client id; RFC 9068 demands one.
    pub client_id: String,
    /// Space separated scopes.
    pub scope: String,
    /// Mail address.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub email: Option<String>,
    /// Issued at, seconds since 1970.
    pub iat: i64,
    /// Expires at, seconds since 1970.
    pub exp: i64,
    /// Token id.
    pub jti: String,
}

/// Signs a token with the newest key of the wanted algorithm.
///
/// # Errors
/// When there is no key for the algorithm or the clock is before 1970.
pub fn mint(keys: &Keys, request: &Request) -> anyhow::Result<String> {
    let key = keys.current(request.algorithm)?;
    let now =
        i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs())?;
    let claims = Claims {
        iss: request.issuer.clone(),
        aud: request.audience.clone(),
        sub: request.subject.clone(),
        client_id: "swiftcart-development".to_owned(),
        scope: request.scope.clone(),
        email: request.email.clone(),
        iat: now,
        exp: now.saturating_add(request.expires_in_seconds),
        jti: uuid::Uuid::new_v4().to_string(),
    };
    let mut header = Header::new(key.algorithm);
    header.typ = Some("at+jwt".to_owned());
    header.kid = Some(key.id.clone());
    jsonwebtoken::encode(&header, &claims, &key.signing).context("signing a token")
}
