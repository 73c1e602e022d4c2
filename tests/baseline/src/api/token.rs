//! The bearer token check. Invariant: an [`Identity`] exists only for a token whose signature was verified with a cached key of the issuer under RS256 or
//! ES256 and whose every required claim holds now.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt as _, Full, Limited};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use swiftcart_domain::ids;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::psp::{HttpClient, http_client};

/// Tolerance for `exp` and `nbf`, in seconds.
const CLOCK_SKEW_SECONDS: f64 = 60.0;
/// Age at which the key set is fetched again.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Least time between two fetches that were caused by an unknown key id.
const REFRESH_INTERVAL: Duration = Duration::from_secs(5);
/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest key set that is read.
const LIMIT_BYTES: usize = 512 * 1024;
/// Longest subject: OpenID Connect Core, 2.
const SUBJECT_LIMIT_BYTES: usize = 255;

/// What a verified token says about its bearer.
pub(crate) struct Identity {
    pub(crate) user_id: Uuid,
    /// Space-separated.
    pub(crate) scope: String,
    pub(crate) email: Option<String>,
}

/// Why there is no identity.
pub(crate) enum NoIdentity {
    /// None was sent.
    Missing,
    /// A fixed sentence; it repeats nothing of the token.
    Invalid(&'static str),
    /// The issuer's keys cannot be had.
    KeysUnavailable,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The check with the issuer's keys.
pub(crate) struct Tokens {
    issuer: String,
    audience: String,
    jwks_url: String,
    client: HttpClient,
    keys: ArcSwap<Vec<Key>>,
    /// When the keys were last asked for; locked while they are.
    fetched: Mutex<Instant>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: OneOrMany,
    exp: f64,
    nbf: Option<f64>,
    scope: Option<OneOrMany>,
    scp: Option<OneOrMany>,
    email: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(value) => value == wanted,
            Self::Many(values) => values.iter().any(|value| value == wanted),
        }
    }

    fn joined(self) -> String {
        match self {
            Self::One(value) => value,
            Self::Many(values) => values.join(" "),
        }
    }
}

impl Tokens {
    /// Fetches the keys once, so that a wrong address is found now.
    pub(crate) async fn new(issuer: String, audience: String, jwks_url: String) -> anyhow::Result<Self> {
        let client = http_client();
        let keys = fetch(&client, &jwks_url).await?;
        let (keys, fetched) = (ArcSwap::from_pointee(keys), Mutex::new(Instant::now()));
        Ok(Self { issuer, audience, jwks_url, client, keys, fetched })
    }

    /// Fetches the keys again at their maximal age; the old ones serve meanwhile.
    pub(crate) async fn refresh(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(MAX_AGE) => {}
            }
            let mut fetched = self.fetched.lock().await;
            self.fetch().await;
            *fetched = Instant::now();
        }
    }

    /// Who asks.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<Identity, NoIdentity> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = given.next() else { return Err(NoIdentity::Missing) };
        if given.next().is_some() {
            return Err(NoIdentity::Invalid("More than one Authorization header."));
        }
        let Some(token) = bearer(value.as_bytes()) else { return Err(NoIdentity::Missing) };
        let header = jsonwebtoken::decode_header(token).map_err(|_| NoIdentity::Invalid("The token is malformed."))?;
        if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
            return Err(NoIdentity::Invalid("The algorithm is not accepted."));
        }
        let typed = |typ: &String| {
            let typ = typ.to_ascii_lowercase();
            matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
        };
        if !header.typ.as_ref().is_none_or(typed) || header.crit.is_some() {
            return Err(NoIdentity::Invalid("The token is of another type."));
        }
        let key = self.key(header.kid.as_deref(), header.alg).await?;
        // The library checks the signature only; the claims are checked below.
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|_| NoIdentity::Invalid("The signature is not valid, or a required claim is missing."))?
            .claims;
        self.accept(claims)
    }

    fn accept(&self, claims: Claims) -> Result<Identity, NoIdentity> {
        if claims.iss != self.issuer {
            return Err(NoIdentity::Invalid("The token has another issuer."));
        }
        if !claims.aud.contains(&self.audience) {
            return Err(NoIdentity::Invalid("The token is meant for another audience."));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        if claims.exp + CLOCK_SKEW_SECONDS <= now {
            return Err(NoIdentity::Invalid("The token has expired."));
        }
        if claims.nbf.is_some_and(|not_before| not_before - CLOCK_SKEW_SECONDS > now) {
            return Err(NoIdentity::Invalid("The token is not valid yet."));
        }
        if claims.sub.is_empty() || claims.sub.len() > SUBJECT_LIMIT_BYTES || !is_presentable(&claims.sub) {
            return Err(NoIdentity::Invalid("The subject cannot be used."));
        }
        let email = claims.email.filter(|email| !email.is_empty());
        if email.as_deref().is_some_and(|email| !is_presentable(email)) {
            return Err(NoIdentity::Invalid("The e-mail address cannot be used."));
        }
        Ok(Identity {
            user_id: ids::user_id(&claims.iss, &claims.sub),
            scope: claims.scope.or(claims.scp).map(OneOrMany::joined).unwrap_or_default(),
            email,
        })
    }

    async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, NoIdentity> {
        if let Some(key) = find(&self.keys.load(), id, algorithm) {
            return Ok(key);
        }
        let mut fetched = self.fetched.lock().await;
        let mut known = true;
        if fetched.elapsed() >= REFRESH_INTERVAL {
            known = self.fetch().await;
            *fetched = Instant::now();
        }
        match find(&self.keys.load(), id, algorithm) {
            Some(key) => Ok(key),
            None if known => Err(NoIdentity::Invalid("The token is signed with an unknown key.")),
            // The issuer may have rotated while we could not reach it.
            None => Err(NoIdentity::KeysUnavailable),
        }
    }

    async fn fetch(&self) -> bool {
        match fetch(&self.client, &self.jwks_url).await {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                true
            }
            Err(error) => {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "fetching the issuer's keys failed; the last good ones stay"
                );
                false
            }
        }
    }
}

/// The key with this id. A token without an id is accepted only while there is no choice to make.
fn find(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let fits = |key: &&Key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id);
    let mut candidates = keys.iter().filter(fits);
    let first = candidates.next()?;
    if candidates.next().is_some() { None } else { Some(first.key.clone()) }
}

async fn fetch(client: &HttpClient, url: &str) -> anyhow::Result<Vec<Key>> {
    let request = http::Request::get(url).body(Full::<Bytes>::default())?;
    let answer = async {
        let response = client.request(request).await.context("asking for the issuer's keys")?;
        ensure!(response.status().is_success(), "the issuer answers {}", response.status());
        let body = Limited::new(response.into_body(), LIMIT_BYTES).collect().await;
        Ok(body.map_err(|error| anyhow::anyhow!("reading the issuer's keys: {error}"))?.to_bytes())
    };
    let body = tokio::time::timeout(FETCH_TIMEOUT, answer).await.context("the issuer does not answer in time")??;
    let set: JwkSet = serde_json::from_slice(&body).context("the issuer's answer is no key set")?;
    let usable = |key: jsonwebtoken::jwk::Jwk| {
        let algorithm = match &key.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => Algorithm::ES256,
            _ => return None,
        };
        let signs = key.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let decoding = DecodingKey::from_jwk(&key).ok().filter(|_| signs)?;
        Some(Key { id: key.common.key_id, algorithm, key: decoding })
    };
    let keys: Vec<Key> = set.keys.into_iter().filter_map(usable).collect();
    ensure!(!keys.is_empty(), "the key set has no usable RS256 or ES256 key");
    Ok(keys)
}

/// The token of a `Bearer` header; another scheme is as good as none.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Bearer".len())?;
    let ends = rest.first().is_none_or(|byte| *byte == b' ');
    (ends && scheme.eq_ignore_ascii_case(b"Bearer")).then(|| rest.trim_ascii())
}

/// Whether a claim can stand in a header without changing it.
fn is_presentable(value: &str) -> bool {
    !value.chars().any(char::is_control) && value.trim() == value
}
