//! How a verified identity reaches the handler: as `x-token-*` request headers. Invariant: after [`hand_over`] these headers
//! say what was verified here and nothing else, and the token itself is gone.
//!
//! Values are UTF-8 bytes. Nothing is percent-encoded, because two subjects must never look the same; a claim with a control
//! character, or with white space at its ends, is refused by the token check instead ([`is_presentable`]).

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

const PREFIX: &str = "x-token-";
const ISSUER: HeaderName = HeaderName::from_static("x-token-issuer");
const SUBJECT: HeaderName = HeaderName::from_static("x-token-subject");
const SCOPE: HeaderName = HeaderName::from_static("x-token-scope");
const EMAIL: HeaderName = HeaderName::from_static("x-token-email");

/// What a verified token says about its bearer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// Space-separated.
    pub(crate) scope: String,
    pub(crate) email: Option<String>,
}

/// Personal data does not get into a log by accident.
impl std::fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Identity(***)")
    }
}

/// What a token with a good signature says. Whether it holds now is another question.
pub(crate) struct Verified {
    pub(crate) identity: Arc<Identity>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) expires: f64,
    pub(crate) not_before: Option<f64>,
}

#[cfg(test)]
impl Verified {
    pub(crate) fn for_tests(subject: &str) -> Self {
        let identity = Identity { issuer: "i".into(), subject: subject.into(), scope: String::new(), email: None };
        Self { identity: Arc::new(identity), expires: 0.0, not_before: None }
    }
}

/// Whether a claim can be a header value without changing it.
pub(crate) fn is_presentable(value: &str) -> bool {
    !value.chars().any(char::is_control) && value.trim() == value
}

/// Removes what the client sent in our place, then writes what was verified.
pub(crate) fn hand_over(headers: &mut HeaderMap, identity: Option<&Identity>) {
    let foreign: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with(PREFIX)).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    headers.remove(AUTHORIZATION);
    let Some(identity) = identity else { return };
    let claims = [
        (ISSUER, Some(&identity.issuer)),
        (SUBJECT, Some(&identity.subject)),
        (SCOPE, Some(&identity.scope)),
        (EMAIL, identity.email.as_ref()),
    ];
    for (name, value) in claims {
        // The token check let only presentable values pass, so none is lost here.
        if let Some(Ok(value)) = value.map(|value| HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    // Goal: a client cannot speak in our name, with or without a token.
    #[test]
    fn replaces_what_the_client_sent() {
        let forged = || {
            let mut headers = HeaderMap::new();
            for name in ["x-token-subject", "X-Token-Scope", "x-token-anything", "authorization"] {
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("forged"));
                headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_static("twice"));
            }
            headers
        };
        let mut headers = forged();
        hand_over(&mut headers, None);
        assert!(headers.is_empty());

        let identity = Identity {
            issuer: "i".into(),
            subject: "ü".into(),
            scope: "a b".into(),
            email: Some("b@example.test".into()),
        };
        let mut headers = forged();
        hand_over(&mut headers, Some(&identity));
        assert_eq!(headers.len(), 4);
        assert_eq!(headers["x-token-subject"].as_bytes(), "ü".as_bytes());
        assert_eq!(headers["x-token-scope"], "a b");
        assert!(!format!("{identity:?}").contains("example"));
    }

    #[test]
    fn refuses_what_would_change() {
        assert!(is_presentable("auth0|ünïcode 1"));
        for value in ["a\r\nb", "a\tb", " a", "a ", "a\u{0}", "a\u{7f}", "a\u{85}"] {
            assert!(!is_presentable(value), "{value:?}");
        }
    }
}
