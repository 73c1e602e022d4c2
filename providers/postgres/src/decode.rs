//! The binary form of a column back into a value. What PostgreSQL can hold and a component cannot (NULL inside an array, more than
//! one dimension) is an error that says what to do, never a wrong value.

use uuid::Uuid;

use crate::column::{Kind, Scalar};
use crate::encode::{EPOCH_2000_US, JSONB_VERSION};
use crate::numeric;
use crate::value::Value;

/// Reads one value that is not NULL.
pub(crate) fn decode(kind: Kind, bytes: &[u8]) -> Result<Value, String> {
    match kind {
        Kind::Scalar(scalar) => decode_scalar(scalar, bytes),
        Kind::Array(scalar) => decode_array(scalar, bytes),
    }
}

fn decode_scalar(scalar: Scalar, bytes: &[u8]) -> Result<Value, String> {
    Ok(match scalar {
        Scalar::Boolean => Value::Boolean(boolean(bytes)?),
        Scalar::Int2 => Value::Int32(i32::from(i16::from_be_bytes(fixed(bytes)?))),
        Scalar::Int4 => Value::Int32(i32::from_be_bytes(fixed(bytes)?)),
        Scalar::Int8 => Value::Int64(i64::from_be_bytes(fixed(bytes)?)),
        Scalar::Float4 => Value::Float64(f64::from(f32::from_be_bytes(fixed(bytes)?))),
        Scalar::Float8 => Value::Float64(f64::from_be_bytes(fixed(bytes)?)),
        Scalar::Text => Value::Text(text(bytes)?),
        Scalar::Bytes => Value::Bytes(bytes.to_vec()),
        Scalar::Uuid => Value::Uuid(uuid(bytes)?),
        Scalar::Timestamptz => Value::Timestamptz(since_1970(bytes)?),
        Scalar::Numeric => Value::Numeric(numeric::read(bytes)?),
        Scalar::Json => Value::Jsonb(text(bytes)?),
        Scalar::Jsonb => match bytes.split_first() {
            Some((&JSONB_VERSION, json)) => Value::Jsonb(text(json)?),
            _ => return Err("jsonb of an unknown version".to_owned()),
        },
        Scalar::Void => Value::Null,
    })
}

fn decode_array(scalar: Scalar, bytes: &[u8]) -> Result<Value, String> {
    let elements = elements(bytes)?;
    Ok(match scalar {
        Scalar::Boolean => Value::BooleanArray(each(&elements, boolean)?),
        Scalar::Int2 => Value::Int32Array(each(&elements, |bytes| Ok(i32::from(i16::from_be_bytes(fixed(bytes)?))))?),
        Scalar::Int4 => Value::Int32Array(each(&elements, |bytes| Ok(i32::from_be_bytes(fixed(bytes)?)))?),
        Scalar::Int8 => Value::Int64Array(each(&elements, |bytes| Ok(i64::from_be_bytes(fixed(bytes)?)))?),
        Scalar::Float4 => {
            Value::Float64Array(each(&elements, |bytes| Ok(f64::from(f32::from_be_bytes(fixed(bytes)?))))?)
        }
        Scalar::Float8 => Value::Float64Array(each(&elements, |bytes| Ok(f64::from_be_bytes(fixed(bytes)?)))?),
        Scalar::Text => Value::TextArray(each(&elements, text)?),
        Scalar::Bytes => Value::BytesArray(each(&elements, |bytes| Ok(bytes.to_vec()))?),
        Scalar::Uuid => Value::UuidArray(each(&elements, uuid)?),
        Scalar::Timestamptz => Value::TimestamptzArray(each(&elements, since_1970)?),
        // `Kind::of` makes no such arrays.
        Scalar::Numeric | Scalar::Json | Scalar::Jsonb | Scalar::Void => {
            return Err("an array of a type without arrays".to_owned());
        }
    })
}

fn each<T>(elements: &[&[u8]], read: impl Fn(&[u8]) -> Result<T, String>) -> Result<Vec<T>, String> {
    elements.iter().map(|bytes| read(bytes)).collect()
}

/// Splits an array into its elements: dimensions, flag, element type, then per dimension its length and first subscript, then
/// length and bytes of each element.
fn elements(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut rest = bytes;
    let dimensions = take_i32(&mut rest)?;
    let _has_nulls = take_i32(&mut rest)?;
    let _element_oid = take_i32(&mut rest)?;
    match dimensions {
        0 => return Ok(Vec::new()),
        1 => {}
        _ => return Err(format!("is an array of {dimensions} dimensions, only one is supported")),
    }
    let length = take_i32(&mut rest)?;
    let _first_subscript = take_i32(&mut rest)?;
    let mut elements = Vec::new();
    for _ in 0..length {
        let size = take_i32(&mut rest)?;
        let size = usize::try_from(size)
            .map_err(|_| "is an array with NULL inside, remove it with array_remove(..., NULL)".to_owned())?;
        let (element, after) = rest.split_at_checked(size).ok_or_else(cut_short)?;
        elements.push(element);
        rest = after;
    }
    Ok(elements)
}

fn take_i32(rest: &mut &[u8]) -> Result<i32, String> {
    let (head, after) = rest.split_first_chunk::<4>().ok_or_else(cut_short)?;
    *rest = after;
    Ok(i32::from_be_bytes(*head))
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], String> {
    bytes.try_into().map_err(|_| cut_short())
}

fn boolean(bytes: &[u8]) -> Result<bool, String> {
    fixed::<1>(bytes).map(|[byte]| byte != 0)
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "is not UTF-8".to_owned())
}

fn uuid(bytes: &[u8]) -> Result<String, String> {
    Ok(Uuid::from_bytes(fixed(bytes)?).hyphenated().to_string())
}

/// Infinity keeps its value; a time so late that only PostgreSQL can hold it (after the year 294246) becomes infinity.
fn since_1970(bytes: &[u8]) -> Result<i64, String> {
    Ok(match i64::from_be_bytes(fixed(bytes)?) {
        i64::MIN => i64::MIN,
        micros => micros.saturating_add(EPOCH_2000_US),
    })
}

fn cut_short() -> String {
    "has an unexpected length".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::encode::binary;

    /// Goal: what is written is what is read. Method: every kind of value through both directions, without a server.
    #[test]
    fn round_trip() {
        let values = [
            Value::Boolean(true),
            Value::Int32(-7),
            Value::Int64(i64::MIN),
            Value::Float64(-0.5),
            Value::Text("żółw\u{1F422}".to_owned()),
            Value::Bytes(vec![0, 255, 1]),
            Value::Uuid("67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned()),
            Value::Timestamptz(-1),
            Value::Timestamptz(i64::MAX),
            Value::Timestamptz(i64::MIN),
            Value::Numeric("-12.340".to_owned()),
            Value::Jsonb("{\"a\": 1e400}".to_owned()),
            Value::BooleanArray(vec![true, false]),
            Value::Int32Array(vec![1, -1]),
            Value::Int64Array(vec![]),
            Value::Float64Array(vec![1.5]),
            Value::TextArray(vec![String::new(), "a,{\"".to_owned()]),
            Value::BytesArray(vec![vec![], vec![9]]),
            Value::UuidArray(vec!["67e55044-10b1-426f-9247-bb680e5fe0c8".to_owned()]),
            Value::TimestamptzArray(vec![0, 1_700_000_000_000_000]),
        ];
        for value in values {
            let bytes = binary(&value).unwrap().unwrap();
            assert_eq!(decode(Kind::of(value.oid()).unwrap(), &bytes), Ok(value));
        }
        assert_eq!(binary(&Value::Null), Ok(None));
    }

    #[test]
    fn malformed_parameters_are_refused() {
        assert!(binary(&Value::Uuid("67e5".to_owned())).is_err());
        assert!(binary(&Value::Numeric("1,5".to_owned())).is_err());
        assert!(binary(&Value::Timestamptz(i64::MIN + 1)).is_err());
        assert!(binary(&Value::UuidArray(vec!["x".to_owned()])).is_err());
    }

    #[test]
    fn arrays_that_a_component_cannot_hold_are_errors() {
        let mut with_null = binary(&Value::Int32Array(vec![1])).unwrap().unwrap();
        with_null.truncate(20);
        with_null.extend((-1_i32).to_be_bytes());
        assert!(decode(Kind::Array(Scalar::Int4), &with_null).unwrap_err().contains("NULL"));
        let mut two = binary(&Value::Int32Array(vec![1])).unwrap().unwrap();
        two[3] = 2;
        assert!(decode(Kind::Array(Scalar::Int4), &two).unwrap_err().contains("dimensions"));
        for length in 0..24 {
            let whole = binary(&Value::Int32Array(vec![1])).unwrap().unwrap();
            assert!(decode(Kind::Array(Scalar::Int4), &whole[..length]).is_err());
        }
    }
}
