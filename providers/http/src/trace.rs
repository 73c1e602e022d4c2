//! W3C trace context at the edge. Invariant: a request goes on with exactly one valid `traceparent`, whose span id is new
//! here, and with a `tracestate` only if the client's own trace is continued.

use http::{HeaderMap, HeaderName, HeaderValue};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Bits of the flags that we know: sampled, and random trace id (Trace Context level 2).
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 1;
/// Longest `tracestate` that is passed on; the recommendation asks for at least 512.
const TRACESTATE_LIMIT_BYTES: usize = 512;

/// The trace that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// Continues the client's trace if its header is valid, begins a new one if not, and writes the headers that go on.
    pub(crate) fn adopt(headers: &mut HeaderMap, random: impl Fn() -> u128) -> Self {
        let continued = sole(headers, &TRACEPARENT).and_then(parse);
        if continued.is_none() || tracestate_is_too_long(headers) {
            headers.remove(&TRACESTATE);
        }
        let (trace_id, flags) = continued.unwrap_or_else(|| (random().max(1), SAMPLED));
        #[allow(clippy::cast_possible_truncation, reason = "the low half of a random number is the point")]
        let span_id = (random() as u64).max(1);
        let context = Self { trace_id, span_id, flags };
        // Hexadecimal digits and dashes are always a valid header value.
        if let Ok(value) = HeaderValue::from_str(&context.traceparent()) {
            headers.insert(TRACEPARENT, value);
        }
        context
    }

    /// 32 hexadecimal digits.
    pub(crate) fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }

    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self { trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c, span_id: 0xb7ad_6b71_6920_3331, flags: 1 }
    }
}

/// The value of a header that occurs exactly once.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

fn tracestate_is_too_long(headers: &HeaderMap) -> bool {
    headers.get_all(&TRACESTATE).iter().map(HeaderValue::len).sum::<usize>() > TRACESTATE_LIMIT_BYTES
}

/// Trace id and flags of a valid header: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn parse(value: &str) -> Option<(u128, u8)> {
    let mut fields = value.split('-');
    let (version, trace_id, parent_id, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let version = hexadecimal(version, 2)?;
    // A later version may have more fields; version 00 has not, and ff is forbidden.
    if version == 0xff || (version == 0 && fields.next().is_some()) {
        return None;
    }
    let trace_id = hexadecimal(trace_id, 32).filter(|id| *id != 0)?;
    hexadecimal(parent_id, 16).filter(|id| *id != 0)?;
    let flags = u8::try_from(hexadecimal(flags, 2)?).ok()?;
    Some((trace_id, flags & KNOWN_FLAGS))
}

fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(lower) {
        return None;
    }
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn adopt(parents: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_str(parent).unwrap());
        }
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        TraceContext::adopt(&mut headers, || 7);
        headers
    }

    // Goal: a valid trace goes on under a new span, with its state.
    #[test]
    fn continues() {
        let headers = adopt(&[VALID]);
        assert_eq!(headers["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-01");
        assert_eq!(headers["tracestate"], "a=1");
        let later = adopt(&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-fe-more"]);
        assert_eq!(later["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-0000000000000007-02");
    }

    // Goal: whatever is not valid is replaced, and its state goes with it.
    #[test]
    fn replaces() {
        for parents in [
            &[][..],
            &["garbage"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra"],
            &["00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01"],
            &[VALID, VALID],
        ] {
            let headers = adopt(parents);
            assert_eq!(
                headers["traceparent"], "00-00000000000000000000000000000007-0000000000000007-01",
                "{parents:?}"
            );
            assert!(!headers.contains_key("tracestate"));
            assert_eq!(headers.get_all("traceparent").iter().count(), 1);
        }
    }
}
