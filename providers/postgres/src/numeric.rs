//! Decimal text to and from PostgreSQL's binary `numeric`, without loss: base-10000 digits, a weight, a sign and the number of decimals
//! to show (`numeric_send` in PostgreSQL's `numeric.c`). No arithmetic is done, so no decimal library is needed.

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// Decimal digits in one digit of the wire.
const GROUP: usize = 4;

/// PostgreSQL's own bounds: digits before and after the point.
const MAX_INTEGER_DIGITS: usize = 131_072;
const MAX_DECIMALS: usize = 16_383;

/// Appends the binary form of `[+-]digits[.digits]`, `NaN`, `Infinity` or `-Infinity`.
pub(crate) fn write(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    match text {
        "NaN" => return header(out, 0, 0, NAN, 0),
        "Infinity" => return header(out, 0, 0, INFINITY, 0),
        "-Infinity" => return header(out, 0, 0, NEGATIVE_INFINITY, 0),
        _ => {}
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (NEGATIVE, rest),
        None => (POSITIVE, text.strip_prefix('+').unwrap_or(text)),
    };
    let (integer, decimals) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (integer.is_empty() && decimals.is_empty()) || !all_digits(integer) || !all_digits(decimals) {
        return Err("is no decimal number such as -12.340".to_owned());
    }
    let integer = integer.trim_start_matches('0');
    if integer.len() > MAX_INTEGER_DIGITS || decimals.len() > MAX_DECIMALS {
        return Err("is a decimal number with too many digits".to_owned());
    }

    // Fill both parts up to whole groups: zeros before the integer part, zeros after the decimals.
    let padding = integer.len().next_multiple_of(GROUP) - integer.len();
    let mut padded = "0".repeat(padding);
    padded.push_str(integer);
    let integer_groups = padded.len() / GROUP;
    padded.push_str(decimals);
    padded.push_str(&"0".repeat(padded.len().next_multiple_of(GROUP) - padded.len()));

    let groups: Vec<u16> = padded
        .as_bytes()
        .chunks(GROUP)
        .map(|group| group.iter().fold(0, |sum, byte| sum * 10 + u16::from(byte - b'0')))
        .collect();
    // Zero groups at both ends are not sent; those in front lower the weight.
    let leading = groups.iter().take_while(|group| **group == 0).count();
    let digits: &[u16] = match groups.iter().rposition(|group| *group != 0) {
        Some(last) => groups.get(leading..=last).unwrap_or_default(),
        None => &[],
    };
    let (sign, weight) = if digits.is_empty() {
        (POSITIVE, 0)
    } else {
        let weight = i64::try_from(integer_groups).unwrap_or(i64::MAX) - 1 - i64::try_from(leading).unwrap_or(i64::MAX);
        (sign, weight)
    };
    header(out, digits.len(), weight, sign, decimals.len())?;
    for digit in digits {
        out.extend(digit.to_be_bytes());
    }
    Ok(())
}

fn header(out: &mut Vec<u8>, digits: usize, weight: i64, sign: u16, decimals: usize) -> Result<(), String> {
    let too_large = "is a decimal number with too many digits".to_owned();
    let (Ok(digits), Ok(weight), Ok(decimals)) =
        (u16::try_from(digits), i16::try_from(weight), u16::try_from(decimals))
    else {
        return Err(too_large);
    };
    out.extend(digits.to_be_bytes());
    out.extend(weight.to_be_bytes());
    out.extend(sign.to_be_bytes());
    out.extend(decimals.to_be_bytes());
    Ok(())
}

/// The decimal text, with as many decimals as the column or expression has.
pub(crate) fn read(bytes: &[u8]) -> Result<String, String> {
    let malformed = || "is a numeric of an unknown form".to_owned();
    let (header, digits) = bytes.split_first_chunk::<8>().ok_or_else(malformed)?;
    let [c0, c1, w0, w1, s0, s1, d0, d1] = *header;
    let count = usize::from(u16::from_be_bytes([c0, c1]));
    let weight = i32::from(i16::from_be_bytes([w0, w1]));
    let sign = match u16::from_be_bytes([s0, s1]) {
        POSITIVE => "",
        NEGATIVE => "-",
        NAN => return Ok("NaN".to_owned()),
        INFINITY => return Ok("Infinity".to_owned()),
        NEGATIVE_INFINITY => return Ok("-Infinity".to_owned()),
        _ => return Err(malformed()),
    };
    let decimals = usize::from(u16::from_be_bytes([d0, d1]));
    let digits: Vec<u16> =
        digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte))).collect();
    if digits.len() != count || digits.iter().any(|digit| *digit > 9_999) {
        return Err(malformed());
    }
    // The group that stands for 10000^power; groups that were not sent are zero.
    let group = |power: i32| -> u16 {
        usize::try_from(weight - power).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };

    let mut integer = String::new();
    for power in (0..=weight).rev() {
        integer.push_str(&format!("{:04}", group(power)));
    }
    let integer = integer.trim_start_matches('0');
    let mut fraction = String::new();
    let mut power = -1;
    while fraction.len() < decimals {
        fraction.push_str(&format!("{:04}", group(power)));
        power -= 1;
    }
    fraction.truncate(decimals);

    let point = if decimals > 0 { "." } else { "" };
    let integer = if integer.is_empty() { "0" } else { integer };
    Ok(format!("{sign}{integer}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn through(text: &str) -> String {
        let mut bytes = Vec::new();
        write(text, &mut bytes).unwrap();
        read(&bytes).unwrap()
    }

    #[test]
    fn keeps_the_number_and_its_decimals() {
        for text in [
            "0",
            "1",
            "-1",
            "9999",
            "10000",
            "-12.340",
            "0.1",
            "0.0001",
            "0.00001",
            "123456789.000000001",
            "100000000",
            "0.000",
            "20000.0",
            "99999999999999999999.99999",
            "NaN",
            "Infinity",
            "-Infinity",
            "1.50",
        ] {
            assert_eq!(through(text), text);
        }
        assert_eq!(through("+007.10"), "7.10");
        assert_eq!(through("-0.00"), "0.00");
        assert_eq!(through(".5"), "0.5");
        assert_eq!(through("5."), "5");
        let long = format!("{}.{}", "9".repeat(500), "1".repeat(500));
        assert_eq!(through(&long), long);
    }

    #[test]
    fn binary_form_of_known_numbers() {
        // select encode(numeric_send('-12.340'), 'hex'), encode(numeric_send(10000), 'hex')
        let mut bytes = Vec::new();
        write("-12.340", &mut bytes).unwrap();
        assert_eq!(bytes, [0, 2, 0, 0, 0x40, 0, 0, 3, 0, 12, 0x0d, 0x48]);
        bytes.clear();
        write("10000", &mut bytes).unwrap();
        assert_eq!(bytes, [0, 1, 0, 1, 0, 0, 0, 0, 0, 1]);
    }

    #[test]
    fn refuses_what_is_no_decimal() {
        for text in ["", "-", ".", "1e5", "1,5", "0x1", " 1", "1 ", "--1", "1.2.3", "١"] {
            assert!(write(text, &mut Vec::new()).is_err(), "{text:?}");
        }
        assert!(write(&"9".repeat(131_073), &mut Vec::new()).is_err());
        assert!(read(&[]).is_err());
        assert!(read(&[0, 1, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
