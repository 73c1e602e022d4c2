//! Stripe's signature over a webhook (<https://docs.stripe.com/webhooks#verify-manually>). Invariant: nothing of a body is read before one of our
//! secrets is known to have signed these very bytes, not long ago; the comparison takes the same time wherever it fails.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// How far the signature's time may be from ours, in seconds: Stripe's own tolerance. Bounds how long a recorded request can be replayed.
pub const TOLERANCE_SECONDS: i64 = 300;
/// Signatures that are looked at; Stripe sends one per secret in use.
const SIGNATURES_MAX: usize = 8;

/// Whether one of the secrets made this header (`t=<seconds>,v1=<hex>[,v1=<hex>...]`) for this body within the tolerance.
#[must_use]
pub fn holds(header: &str, body: &[u8], secrets: &[&str], now_seconds: i64) -> bool {
    let mut time: Option<&str> = None;
    let mut signatures: Vec<Vec<u8>> = Vec::new();
    for (name, value) in header.split(',').filter_map(|part| part.trim().split_once('=')) {
        match name {
            // Two times would make it unclear which one was signed.
            "t" if time.is_some() => return false,
            "t" => time = Some(value),
            "v1" if signatures.len() < SIGNATURES_MAX => signatures.extend(from_hex(value)),
            // Other schemes (`v0` of test mode) prove nothing.
            _ => {}
        }
    }
    let Some(time) = time else { return false };
    let fresh = time
        .parse::<i64>()
        .is_ok_and(|seconds| now_seconds.saturating_sub(seconds).unsigned_abs() <= TOLERANCE_SECONDS.unsigned_abs());
    fresh && secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| signed(secret, time, body, &signatures))
}

fn signed(secret: &str, time: &str, body: &[u8], signatures: &[Vec<u8>]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let bytes = text.as_bytes();
    if bytes.len() != 64 {
        return None;
    }
    bytes
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some((digit(high)? << 4) | digit(low)?),
            _ => None,
        })
        .collect()
}

/// The header as Stripe would send it, for tests.
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
pub(crate) fn sign(secret: &str, seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={hex}")
}

#[cfg(test)]
mod tests {
    //! Goal: only Stripe's own, fresh signature over exactly these bytes holds. Method: one good header, and every way to spoil it.
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const NOW: i64 = 1_759_235_696;
    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    #[test]
    fn a_signature_of_any_current_secret_holds() {
        let header = sign("whsec_1", NOW, BODY);
        assert!(holds(&header, BODY, &["whsec_1"], NOW));
        assert!(holds(&header, BODY, &["whsec_0", "whsec_1"], NOW), "while secrets are rotated both count");
        let other = sign("whsec_0", NOW, BODY);
        let both = format!("{other},{}", header.split_once(',').unwrap().1);
        assert!(holds(&both, BODY, &["whsec_1"], NOW), "Stripe signs with both secrets meanwhile");
        assert!(holds(&format!("{header},v0=00"), BODY, &["whsec_1"], NOW));
        for seconds in [NOW - TOLERANCE_SECONDS, NOW + TOLERANCE_SECONDS] {
            assert!(holds(&sign("whsec_1", seconds, BODY), BODY, &["whsec_1"], NOW));
        }
    }

    /// Goal: the tolerance is Stripe's five minutes, on the second, whatever the constant says. Method: literal seconds on both sides.
    #[test]
    fn a_signature_is_good_for_three_hundred_seconds() {
        for (offset, good) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
            let header = sign("whsec_1", NOW + offset, BODY);
            assert_eq!(holds(&header, BODY, &["whsec_1"], NOW), good, "{offset} s");
        }
    }

    #[test]
    fn a_known_vector_of_the_scheme_holds() {
        // HMAC-SHA256("whsec_test", "1759235696.{}"), worked out with another tool (`openssl dgst -sha256 -hmac`).
        let header = "t=1759235696,v1=ec00b181dbd25355da20fbb0bea0917203796b4fa917b58c053848386001129f";
        assert!(holds(header, b"{}", &["whsec_test"], NOW));
    }

    #[test]
    fn everything_else_does_not_hold() {
        let header = sign("whsec_1", NOW, BODY);
        let hex = header.split_once("v1=").unwrap().1;
        for bad in [
            "",
            "t=",
            "v1=",
            "t=1,v1=00",
            "garbage",
            hex,
            &format!("t={NOW}"),
            &format!("v1={hex}"),
            &format!("t={NOW},v0={hex}"),
            &format!("t={},v1={hex}", NOW + 1),
            &format!("t={NOW},t={NOW},v1={hex}"),
            &format!("t={NOW}x,v1={hex}"),
            &format!("t={NOW},v1={}", &hex[..62]),
            &format!("t={NOW},v1={}zz", &hex[..62]),
        ] {
            assert!(!holds(bad, BODY, &["whsec_1"], NOW), "{bad}");
        }
        assert!(!holds(&header, b"{\"id\":\"evt_2\"}", &["whsec_1"], NOW), "another body");
        assert!(!holds(&header, BODY, &["whsec_2"], NOW), "another secret");
        assert!(!holds(&header, BODY, &[], NOW), "no secret");
        assert!(!holds(&sign("", NOW, BODY), BODY, &[""], NOW), "an empty secret is none");
        for seconds in [NOW - TOLERANCE_SECONDS - 1, NOW + TOLERANCE_SECONDS + 1, i64::MIN, i64::MAX] {
            assert!(!holds(&sign("whsec_1", seconds, BODY), BODY, &["whsec_1"], NOW), "{seconds}");
        }
    }
}
