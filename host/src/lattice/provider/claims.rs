//! The token inside a provider archive (wasmCloud's "wascap": a JWT signed with an Ed25519 nkey). Invariant: no claim is believed before
//! the signature over it holds.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What an archive says about its provider, in the signer's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProviderClaims {
    /// Public key of the signer.
    pub issuer: String,
    /// Public key that was given to the provider; it is not used to address it.
    pub subject: String,
    /// For people.
    pub name: Option<String>,
    /// Who made it.
    pub vendor: String,
    /// For people.
    pub version: Option<String>,
    /// Grows with every release.
    pub revision: Option<i32>,
    /// Seconds since 1970 from which it may be used; `None`: always.
    pub not_before: Option<u64>,
    /// Seconds since 1970 after which it may not be used; `None`: never.
    pub expires: Option<u64>,
}

/// Claims whose signature holds and whose time it is.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) provider: ProviderClaims,
    /// Upper-case SHA-256 by member.
    pub(super) target_hashes: HashMap<String, String>,
}

/// Why claims are not believed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Not three parts of base64, or other JSON than expected.
    #[error("they are no token of a provider: {0}")]
    Malformed(String),
    /// Signed by another method.
    #[error("they are signed by `{0}`, not by `Ed25519`")]
    Algorithm(String),
    /// Whoever signed them is not the issuer they name, or they were changed.
    #[error("the signature is not the issuer's")]
    Signature,
    /// Their time is over.
    #[error("they have expired")]
    Expired,
    /// Their time has not come.
    #[error("they are not valid yet")]
    NotYet,
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

#[derive(Deserialize)]
struct Body {
    iss: String,
    sub: String,
    exp: Option<u64>,
    nbf: Option<u64>,
    wascap: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    name: Option<String>,
    #[serde(default)]
    vendor: String,
    rev: Option<i32>,
    ver: Option<String>,
    target_hashes: HashMap<String, String>,
}

impl Claims {
    /// Believes a token, or says why not.
    pub(super) fn parse(token: &str) -> Result<Self, ClaimsError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self::parse_at(token, now)
    }

    fn parse_at(token: &str, now: u64) -> Result<Self, ClaimsError> {
        let token = token.trim();
        let malformed = |what: &str| ClaimsError::Malformed(what.to_owned());
        let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has no signature"))?;
        let (header, body) = signed.split_once('.').ok_or_else(|| malformed("it has no body"))?;
        let header: Header = part(header)?;
        if header.alg != "Ed25519" || !header.typ.eq_ignore_ascii_case("jwt") {
            return Err(ClaimsError::Algorithm(header.alg));
        }
        let body: Body = part(body)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|error| malformed(&error.to_string()))?;
        let issuer = KeyPair::from_public_key(&body.iss).map_err(|_| ClaimsError::Signature)?;
        issuer.verify(signed.as_bytes(), &signature).map_err(|_| ClaimsError::Signature)?;
        if body.exp.is_some_and(|expires| expires < now) {
            return Err(ClaimsError::Expired);
        }
        if body.nbf.is_some_and(|not_before| not_before > now) {
            return Err(ClaimsError::NotYet);
        }
        let Metadata { name, vendor, rev, ver, target_hashes } = body.wascap;
        let provider = ProviderClaims {
            issuer: body.iss,
            subject: body.sub,
            name,
            vendor,
            version: ver,
            revision: rev,
            not_before: body.nbf,
            expires: body.exp,
        };
        Ok(Self { provider, target_hashes })
    }
}

fn part<T: DeserializeOwned>(text: &str) -> Result<T, ClaimsError> {
    let malformed = |error: String| ClaimsError::Malformed(error);
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| malformed(error.to_string()))?;
    serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use serde_json::json;

    use super::*;

    /// A token as `wash par create` makes it.
    pub(in super::super) fn token(signer: &KeyPair, issuer: &str, body: serde_json::Value) -> String {
        let mut claims = json!({
            "jti": "1", "iat": 1, "iss": issuer, "sub": KeyPair::new_service().public_key(), "wascap_revision": 3,
        });
        claims.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(json!({"typ": "jwt", "alg": "Ed25519"})), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    fn body() -> serde_json::Value {
        json!({"wascap": {"name": "Journal", "vendor": "tests", "rev": 2, "ver": "0.1.0", "target_hashes": {"a": "B"}}})
    }

    #[test]
    fn signed_claims_are_believed() {
        let signer = KeyPair::new_account();
        let claims = Claims::parse(&token(&signer, &signer.public_key(), body())).unwrap();
        assert_eq!(claims.provider.issuer, signer.public_key());
        assert_eq!(claims.provider.version.as_deref(), Some("0.1.0"));
        assert_eq!(claims.target_hashes.get("a").map(String::as_str), Some("B"));
    }

    #[test]
    fn others_are_not() {
        let signer = KeyPair::new_account();
        let good = token(&signer, &signer.public_key(), body());
        let foreign = token(&KeyPair::new_account(), &signer.public_key(), body());
        assert_eq!(Claims::parse(&foreign).unwrap_err(), ClaimsError::Signature);
        // One letter of the body, somewhere in the middle.
        let (head, tail) = good.split_at(good.len() / 2);
        let changed = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, tail.get(1..).unwrap());
        assert!(Claims::parse(&changed).is_err());
        let none = format!("{}.", good.rsplit_once('.').unwrap().0);
        assert_eq!(Claims::parse(&none).unwrap_err(), ClaimsError::Signature);
        for text in ["", "a", "a.b", "a.b.c", "..", "é.é.é"] {
            assert!(matches!(Claims::parse(text).unwrap_err(), ClaimsError::Malformed(_)), "{text}");
        }
    }

    #[test]
    fn they_have_their_time() {
        let signer = KeyPair::new_account();
        let mut timed = body();
        timed["exp"] = json!(200);
        timed["nbf"] = json!(100);
        let token = token(&signer, &signer.public_key(), timed);
        assert_eq!(Claims::parse_at(&token, 50).unwrap_err(), ClaimsError::NotYet);
        assert!(Claims::parse_at(&token, 150).is_ok());
        assert_eq!(Claims::parse_at(&token, 250).unwrap_err(), ClaimsError::Expired);
    }
}
