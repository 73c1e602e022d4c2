//! The bearer token check (RFC 6750, RFC 9068). Invariant: an [`Identity`] exists only for a token whose signature was
//! verified with a key of the issuer under RS256 or ES256 and whose every required claim holds now.
//!
//! A path is open only if it is listed as public. There a token is still checked, because a client that sends a bad one
//! should learn it; but while the issuer's keys cannot be had, a public path is served anonymously.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{
    HeaderMap, HeaderValue, Method,
    header::{AUTHORIZATION, WWW_AUTHENTICATE},
};
use jsonwebtoken::{Algorithm, Header, Validation, errors::ErrorKind};
use serde::Deserialize;

use crate::{
    identity::{Identity, Verified, is_presentable},
    jwks::{Jwks, NoKey},
    known_tokens::KnownTokens,
    problem::{Problem, Refusal},
    public_path::{PublicPath, is_public},
};

/// Longest subject: OpenID Connect Core, 2. It is also a key of the rate limit's table.
const SUBJECT_LIMIT_BYTES: usize = 255;
const REALM: &str = "swiftcart";

pub(crate) struct TokenCheck {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) clock_skew: Duration,
    pub(crate) public_paths: Vec<PublicPath>,
    pub(crate) jwks: Jwks,
    pub(crate) known: KnownTokens,
}

#[derive(Debug, PartialEq, Eq)]
enum TokenError {
    /// The text is a fixed sentence for `error_description`; it repeats nothing of the token.
    Invalid(&'static str),
    KeysUnavailable,
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

impl TokenCheck {
    /// Who asks: somebody verified, or nobody in particular on a public path.
    ///
    /// # Errors
    /// 401 without a valid token where one is needed, 503 while the issuer's keys cannot be had.
    pub(crate) async fn check(
        &self,
        method: &Method,
        raw_path: &str,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<Option<Arc<Identity>>, Refusal> {
        let public = is_public(&self.public_paths, method, raw_path);
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (first, second) = (given.next(), given.next());
        if second.is_some() {
            return Err(challenge(Some(("invalid_request", "More than one Authorization header."))));
        }
        let Some(token) = first.and_then(bearer) else {
            return if public { Ok(None) } else { Err(challenge(None)) };
        };
        match self.verify(token, now).await {
            Ok(identity) => Ok(Some(identity)),
            Err(TokenError::KeysUnavailable) if public => Ok(None),
            Err(TokenError::KeysUnavailable) => {
                Err(Refusal::new(Problem::Unavailable, "The token cannot be checked at the moment.").retry_after(1))
            }
            Err(TokenError::Invalid(why)) => Err(challenge(Some(("invalid_token", why)))),
        }
    }

    async fn verify(&self, token: &[u8], now: SystemTime) -> Result<Arc<Identity>, TokenError> {
        // Before the key is looked for: what a later set verifies may be kept under an earlier one, never the other way round.
        let (digest, fetch) = (KnownTokens::digest(token), self.jwks.fetches());
        if let Some(known) = self.known.find(&digest, fetch) {
            self.hold_now(&known, now)?;
            return Ok(Arc::clone(&known.identity));
        }
        let verified = Arc::new(self.verify_signature(token).await?);
        self.hold_now(&verified, now)?;
        self.known.keep(digest, fetch, Arc::clone(&verified));
        Ok(Arc::clone(&verified.identity))
    }

    async fn verify_signature(&self, token: &[u8]) -> Result<Verified, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid("The token is malformed."))?;
        accept_header(&header)?;
        let key = self.jwks.key(header.kid.as_deref(), header.alg).await.map_err(|error| match error {
            NoKey::Unknown => TokenError::Invalid("The token is signed with an unknown key."),
            NoKey::Unavailable => TokenError::KeysUnavailable,
        })?;
        // The library checks the signature only; the claims are checked below with our clock and exact rules.
        let mut validation = Validation::new(header.alg);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
            .map_err(|error| match error.kind() {
                ErrorKind::Json(_) | ErrorKind::Utf8(_) => {
                    TokenError::Invalid("A required claim is missing or malformed.")
                }
                _ => TokenError::Invalid("The signature is not valid."),
            })?
            .claims;
        self.accept_claims(claims)
    }

    fn accept_claims(&self, claims: Claims) -> Result<Verified, TokenError> {
        if claims.iss != self.issuer {
            return Err(TokenError::Invalid("The token has another issuer."));
        }
        if !claims.aud.contains(&self.audience) {
            return Err(TokenError::Invalid("The token is meant for another audience."));
        }
        if claims.sub.is_empty() || claims.sub.len() > SUBJECT_LIMIT_BYTES || !is_presentable(&claims.sub) {
            return Err(TokenError::Invalid("The subject cannot be used."));
        }
        let scope = match claims.scope.or(claims.scp) {
            Some(scope) => scope.joined().ok_or(TokenError::Invalid("The scope cannot be used."))?,
            None => String::new(),
        };
        let email = claims.email.filter(|email| !email.is_empty());
        if email.as_deref().is_some_and(|email| !is_presentable(email)) {
            return Err(TokenError::Invalid("The e-mail address cannot be used."));
        }
        let identity = Arc::new(Identity { issuer: claims.iss, subject: claims.sub, scope, email });
        Ok(Verified { identity, expires: claims.exp, not_before: claims.nbf })
    }

    fn hold_now(&self, verified: &Verified, now: SystemTime) -> Result<(), TokenError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let skew = self.clock_skew.as_secs_f64();
        if verified.expires + skew <= now {
            return Err(TokenError::Invalid("The token has expired."));
        }
        if verified.not_before.is_some_and(|not_before| not_before - skew > now) {
            return Err(TokenError::Invalid("The token is not valid yet."));
        }
        Ok(())
    }
}

impl OneOrMany {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(value) => value == wanted,
            Self::Many(values) => values.iter().any(|value| value == wanted),
        }
    }

    /// Space-separated. `None` if it is no list of scope tokens: one with a space in it would become two.
    fn joined(&self) -> Option<String> {
        let tokens: Vec<&str> = match self {
            Self::One(value) => value.split(' ').filter(|token| !token.is_empty()).collect(),
            Self::Many(values) => values.iter().map(String::as_str).collect(),
        };
        // RFC 6749, 3.3: visible ASCII without the quotation mark and the backslash.
        let is_token =
            |token: &&str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\');
        tokens.iter().all(is_token).then(|| tokens.join(" "))
    }
}

/// What the header of a token may say. `alg: none` and unknown algorithms do not even parse.
fn accept_header(header: &Header) -> Result<(), TokenError> {
    if !matches!(header.alg, Algorithm::RS256 | Algorithm::ES256) {
        return Err(TokenError::Invalid("The algorithm is not accepted."));
    }
    let typed = |typ: &String| {
        let typ = typ.to_ascii_lowercase();
        matches!(typ.strip_prefix("application/").unwrap_or(&typ), "jwt" | "at+jwt")
    };
    if !header.typ.as_ref().is_none_or(typed) {
        return Err(TokenError::Invalid("The token is of another type."));
    }
    // RFC 7515, 4.1.11: an extension that must be understood and is not makes the token invalid.
    if header.crit.is_some() {
        return Err(TokenError::Invalid("The token needs an extension that is not supported."));
    }
    Ok(())
}

/// The token of a `Bearer` header, maybe empty; another scheme is as good as none.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(b"Bearer".len())?;
    let ends = rest.first().is_none_or(|byte| *byte == b' ');
    (ends && scheme.eq_ignore_ascii_case(b"Bearer")).then(|| rest.trim_ascii())
}

/// RFC 6750, 3: no error code when no token was sent.
fn challenge(error: Option<(&'static str, &'static str)>) -> Refusal {
    let (value, detail) = match error {
        Some((code, description)) => {
            (format!(r#"Bearer realm="{REALM}", error="{code}", error_description="{description}""#), description)
        }
        None => (format!(r#"Bearer realm="{REALM}""#), "Send a bearer token."),
    };
    let refusal = Refusal::new(Problem::Unauthorized, detail);
    match HeaderValue::try_from(value) {
        Ok(value) => refusal.with(WWW_AUTHENTICATE, value),
        Err(_) => refusal,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn scope_forms() {
        let many = |values: &[&str]| OneOrMany::Many(values.iter().map(|value| (*value).to_owned()).collect());
        assert_eq!(OneOrMany::One("a:b  c".into()).joined().as_deref(), Some("a:b c"));
        assert_eq!(many(&["a", "b"]).joined().as_deref(), Some("a b"));
        for scope in [many(&["a b"]), many(&[""]), OneOrMany::One("a\nb".into()), OneOrMany::One("ä".into())] {
            assert_eq!(scope.joined(), None);
        }
    }

    #[test]
    fn bearer_forms() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bEARER  abc ", Some("abc")),
            ("Bearer ", Some("")),
            ("Basic abc", None),
            ("Bearer", Some("")),
            ("Bearerabc", None),
        ] {
            let value = HeaderValue::from_static(value);
            assert_eq!(bearer(&value).map(|token| std::str::from_utf8(token).unwrap()), token);
        }
    }
}
