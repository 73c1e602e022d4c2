//! A request and a response as plain values, and what HTTP says about a few headers. No routes, no JSON.

use swiftcart_domain::outbox;

/// A request whose body is complete.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Upper case.
    pub method: String,
    /// Without the query, as it was sent.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// Lower-case names; a name may occur more than once.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// All values of a header that are text.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(header, _)| header == name).map(|(_, value)| value.as_slice())
    }

    /// The first value of a header, if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The trace id of the request: 32 hex digits; empty if the edge gave none.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.header("traceparent").map(outbox::trace_id).unwrap_or_default()
    }

    /// Whether `Accept` lets us answer with this media type: the most specific range that fits decides (RFC 9110, 12.5.1).
    #[must_use]
    pub fn accepts(&self, kind: &str, subtype: &str) -> bool {
        let mut best: Option<(u8, bool)> = None;
        let mut any = false;
        for value in self.all("accept").filter_map(|value| std::str::from_utf8(value).ok()) {
            for range in value.split(',').map(str::trim).filter(|range| !range.is_empty()) {
                any = true;
                let mut parts = range.split(';').map(str::trim);
                let media = parts.next().unwrap_or_default().to_ascii_lowercase();
                let wanted = !parts.any(is_zero_quality);
                let rank = match media.split_once('/') {
                    Some((left, right)) if left == kind && right == subtype => 3,
                    Some((left, "*")) if left == kind => 2,
                    Some(("*", "*")) => 1,
                    _ => continue,
                };
                if best.is_none_or(|(known, _)| rank > known) {
                    best = Some((rank, wanted));
                }
            }
        }
        !any || best.is_some_and(|(_, wanted)| wanted)
    }

    /// Whether the body is said to be JSON in UTF-8 and not compressed.
    #[must_use]
    pub fn is_json(&self) -> bool {
        let mut types = self.all("content-type");
        let (Some(value), None) = (types.next(), types.next()) else { return false };
        let Ok(value) = std::str::from_utf8(value) else { return false };
        let mut parts = value.split(';').map(str::trim);
        let is_json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
        let parameters_fit = parts.filter(|part| !part.is_empty()).all(|part| {
            part.split_once('=').is_some_and(|(name, value)| {
                let value = value.trim_matches('"');
                !name.eq_ignore_ascii_case("charset") || value.eq_ignore_ascii_case("utf-8")
            })
        });
        let plain = self.all("content-encoding").all(|coding| coding.eq_ignore_ascii_case(b"identity"));
        is_json && parameters_fit && plain
    }

    /// Whether `If-None-Match` names this entity tag (weak comparison, RFC 9110, 13.1.2).
    #[must_use]
    pub fn none_match_hits(&self, etag: &str) -> bool {
        self.all("if-none-match").filter_map(|value| std::str::from_utf8(value).ok()).any(|value| {
            value.trim() == "*"
                || value.split(',').map(str::trim).any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
        })
    }
}

fn is_zero_quality(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0)
    })
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Lower-case names.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// For answers about one user.
pub const NO_STORE: &str = "no-store";

impl Response {
    /// A response with a body of a media type.
    #[must_use]
    pub fn new(status: u16, media_type: &str, cache_control: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", media_type.to_owned()), ("cache-control", cache_control.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| value.as_str())
    }
}

/// Decodes `%XX`; in a query `+` is a space. None if that is no UTF-8 or an escape is broken.
#[must_use]
pub fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => (hex(bytes.next()?)? << 4) | hex(bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn with(name: &str, values: &[&str]) -> Request {
        Request {
            headers: values.iter().map(|value| (name.to_owned(), value.as_bytes().to_vec())).collect(),
            ..Request::default()
        }
    }

    #[test]
    fn accept_is_judged_by_the_most_specific_range() {
        for good in [
            "*/*",
            "application/*",
            "application/json",
            "text/html, application/json;q=0.1",
            "APPLICATION/JSON",
            "*/*;q=0, application/json",
            "",
        ] {
            assert!(with("accept", &[good]).accepts("application", "json"), "{good}");
        }
        for bad in [
            "text/html",
            "application/xml",
            "application/json;q=0, */*",
            "*/*;q=0",
            "application/json; q=0.000",
            "application/problem+json",
        ] {
            assert!(!with("accept", &[bad]).accepts("application", "json"), "{bad}");
        }
        assert!(Request::default().accepts("application", "json"));
        assert!(with("accept", &["text/html", "application/json"]).accepts("application", "json"));
    }

    #[test]
    fn only_json_in_utf_8_is_json() {
        for good in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json;",
        ] {
            assert!(with("content-type", &[good]).is_json(), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/json; charset=latin1",
            "application/problem+json",
            "application/jsonx",
            "application/json; charset",
        ] {
            assert!(!with("content-type", &[bad]).is_json(), "{bad}");
        }
        assert!(!Request::default().is_json());
        assert!(!with("content-type", &["application/json", "application/json"]).is_json());
        let mut zipped = with("content-type", &["application/json"]);
        zipped.headers.push(("content-encoding".into(), b"gzip".to_vec()));
        assert!(!zipped.is_json());
    }

    #[test]
    fn an_entity_tag_is_compared_weakly() {
        for hit in ["\"2\"", "W/\"2\"", "*", "\"1\", \"2\""] {
            assert!(with("if-none-match", &[hit]).none_match_hits("\"2\""), "{hit}");
        }
        for miss in ["\"1\"", "2", "", "\"22\""] {
            assert!(!with("if-none-match", &[miss]).none_match_hits("\"2\""), "{miss}");
        }
    }

    #[test]
    fn escapes_are_decoded_or_refused() {
        assert_eq!(percent_decode("a%2Db+c", false).as_deref(), Some("a-b+c"));
        assert_eq!(percent_decode("a+b%20c", true).as_deref(), Some("a b c"));
        for bad in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(percent_decode(bad, false), None, "{bad}");
        }
    }
}
