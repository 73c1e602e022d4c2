//! W3C trace context at the edge. Invariant: a request goes on with exactly one valid `traceparent`, whose span is new here.

use http::HeaderMap;

use crate::model::Trace;

/// Longest `tracestate` that is passed on.
const TRACESTATE_LIMIT_BYTES: usize = 512;
/// Bits of the flags that we know: sampled, and random trace id.
const KNOWN_FLAGS: u8 = 0b11;

/// Continues the client's trace if its header is valid, begins a new one if not.
pub(crate) fn adopt(headers: &HeaderMap) -> Trace {
    let given = sole(headers, "traceparent").and_then(parse);
    let state = sole(headers, "tracestate")
        .filter(|state| given.is_some() && state.len() <= TRACESTATE_LIMIT_BYTES)
        .map(str::to_owned);
    let (id, flags) = given.unwrap_or_else(|| (rand::random::<u128>().max(1), 1));
    let span = rand::random::<u64>().max(1);
    Trace { parent: format!("00-{id:032x}-{span:016x}-{flags:02x}"), state }
}

/// The value of a header that occurs exactly once.
fn sole<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Trace id and flags of a valid header: <https://www.w3.org/TR/trace-context/#traceparent-header>.
fn parse(value: &str) -> Option<(u128, u8)> {
    let mut fields = value.split('-');
    let (version, id, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let version = hexadecimal(version, 2)?;
    // A later version may have more fields; version 00 has not, and ff is forbidden.
    if version == 0xff || (version == 0 && fields.next().is_some()) {
        return None;
    }
    let id = hexadecimal(id, 32).filter(|id| *id != 0)?;
    hexadecimal(parent, 16).filter(|id| *id != 0)?;
    let flags = u8::try_from(hexadecimal(flags, 2)?).ok()?;
    Some((id, flags & KNOWN_FLAGS))
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
    #![allow(clippy::unwrap_used, reason = "tests")]

    use http::HeaderValue;

    use super::*;

    fn adopted(parents: &[&'static str]) -> Trace {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append("traceparent", HeaderValue::from_static(parent));
        }
        headers.append("tracestate", HeaderValue::from_static("a=1"));
        adopt(&headers)
    }

    #[test]
    fn a_valid_trace_goes_on_and_everything_else_is_replaced() {
        const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = adopted(&[VALID]);
        assert_eq!((trace.id(), trace.state.as_deref()), ("0af7651916cd43dd8448eb211c80319c", Some("a=1")));
        assert_ne!(trace.parent, VALID);
        for parents in
            [&[][..], &["garbage"], &[VALID, VALID], &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"]]
        {
            let trace = adopted(parents);
            assert_eq!((trace.id().len(), trace.state.as_deref()), (32, None), "{parents:?}");
            assert_ne!(trace.id(), "0af7651916cd43dd8448eb211c80319c");
        }
    }
}
