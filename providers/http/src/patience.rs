//! How long a client says that it waits: `Prefer: wait=<seconds>` (RFC 7240, 4.3). Invariant: it only ever shortens the time that the edge gives an
//! answer; what cannot be read is ignored, as the RFC asks.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const WAIT: &str = "wait";
/// A client that waits no time wants no answer.
const LEAST_SECONDS: u64 = 1;

/// What the client's word makes of the edge's own time-out, if it makes it shorter.
pub(crate) fn shorter(headers: &HeaderMap, timeout: Duration) -> Option<Duration> {
    let seconds = wait(headers)?.max(LEAST_SECONDS);
    Some(Duration::from_secs(seconds)).filter(|asked| *asked < timeout)
}

/// Tells the client that its word counted.
pub(crate) fn tell(headers: &mut HeaderMap, applied: Duration) {
    // Digits are always a valid header value.
    if let Ok(value) = HeaderValue::from_str(&format!("{WAIT}={}", applied.as_secs())) {
        headers.insert(PREFERENCE_APPLIED, value);
    }
}

/// The first `wait` of all preferences counts (RFC 7240, 2).
fn wait(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
    let mut preferences = values.flat_map(|value| value.split(','));
    preferences.find_map(|preference| {
        // Parameters of a preference follow it, and this one has none.
        let preference = preference.split(';').next().unwrap_or_default();
        let (name, value) = preference.split_once('=')?;
        name.trim().eq_ignore_ascii_case(WAIT).then(|| value.trim().trim_matches('"').parse().ok())
    })?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn asked(lines: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, line.parse().unwrap());
        }
        shorter(&headers, Duration::from_secs(10)).map(|shorter| shorter.as_secs())
    }

    /// Goal: what RFC 7240 allows is understood, and nothing makes the time longer than it is. Method: its forms, and what is none.
    #[test]
    fn a_client_may_shorten_its_time() {
        assert_eq!(asked(&["wait=2"]), Some(2));
        assert_eq!(asked(&["respond-async, Wait = \"3\"; x=y, wait=4"]), Some(3));
        assert_eq!(asked(&["return=minimal", "wait=5"]), Some(5));
        assert_eq!(asked(&["wait=0"]), Some(1), "no time at all is no wish");
        for none in ["wait=10", "wait=3600", "wait", "wait=", "wait=-1", "wait=1.5", "waiting=1", ""] {
            assert_eq!(asked(&[none]), None, "{none}");
        }
        assert_eq!(asked(&["wait=x, wait=2"]), None, "the first one counts");
    }

    #[test]
    fn the_answer_says_what_counted() {
        let mut headers = HeaderMap::new();
        tell(&mut headers, Duration::from_secs(2));
        assert_eq!(headers.get(PREFERENCE_APPLIED).unwrap(), "wait=2");
    }
}
