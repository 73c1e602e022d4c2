//! Instants as microseconds since 1970-01-01T00:00:00Z, and their RFC 3339 text. Invariant: text always has UTC and six digits of a
//! second, so that texts sort as the instants do and nothing is lost on the way through PostgreSQL.

use ::time::OffsetDateTime;
use ::time::format_description::well_known::Rfc3339;

/// Why a text or number is not an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time in the years 0..9999")]
pub struct TimeError;

/// The RFC 3339 text of an instant, for example `2025-09-30T12:34:56.000000Z`. An instant outside the years 0..9999 is shown as the
/// nearest one inside.
#[must_use]
pub fn to_rfc3339(micros: i64) -> String {
    const FIRST: i64 = -62_167_219_200_000_000;
    const LAST: i64 = 253_402_300_799_999_999;
    let nanos = i128::from(micros.clamp(FIRST, LAST)) * 1_000;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.microsecond()
    )
}

/// Microseconds since the epoch of an RFC 3339 text with any offset; what is finer than a microsecond is cut off.
///
/// # Errors
/// When the text is none.
pub fn from_rfc3339(text: &str) -> Result<i64, TimeError> {
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| TimeError)?;
    i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000)).map_err(|_| TimeError)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    #[test]
    fn the_text_has_utc_and_microseconds() {
        assert_eq!(to_rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(to_rfc3339(1_759_235_696_000_001), "2025-09-30T12:34:56.000001Z");
        assert_eq!(to_rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(to_rfc3339(i64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(to_rfc3339(i64::MIN), "0000-01-01T00:00:00.000000Z");
    }

    #[test]
    fn there_and_back() {
        let mut micros = -62_167_219_200_000_000_i64;
        while micros < 253_402_300_799_000_000 {
            assert_eq!(from_rfc3339(&to_rfc3339(micros)), Ok(micros));
            micros += 3_155_692_597_470_123;
        }
        assert_eq!(from_rfc3339("2025-09-30T14:34:56+02:00"), Ok(1_759_235_696_000_000));
        assert_eq!(from_rfc3339("2025-09-30T12:34:56.0000019Z"), Ok(1_759_235_696_000_001));
        assert_eq!(from_rfc3339("2025-09-30"), Err(TimeError));
    }
}
