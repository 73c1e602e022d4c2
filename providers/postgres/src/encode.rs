//! A parameter's type and its binary form. NULL has no type (object identifier 0), so that the server takes it from the statement.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo, Postgres};
use sqlx::{Encode, Type};
use uuid::Uuid;

use crate::numeric;
use crate::value::Value;

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
pub(crate) const EPOCH_2000_US: i64 = 946_684_800_000_000;

/// The only version of the binary form of `jsonb`.
pub(crate) const JSONB_VERSION: u8 = 1;

impl Value {
    /// Object identifier of the parameter's type; 0 leaves it to the server.
    pub(crate) fn oid(&self) -> u32 {
        match self {
            Self::Null => 0,
            Self::Boolean(_) => 16,
            Self::Int32(_) => 23,
            Self::Int64(_) => 20,
            Self::Float64(_) => 701,
            Self::Text(_) => 25,
            Self::Bytes(_) => 17,
            Self::Uuid(_) => 2950,
            Self::Timestamptz(_) => 1184,
            Self::Numeric(_) => 1700,
            Self::Jsonb(_) => 3802,
            Self::BooleanArray(_) => 1000,
            Self::Int32Array(_) => 1007,
            Self::Int64Array(_) => 1016,
            Self::Float64Array(_) => 1022,
            Self::TextArray(_) => 1009,
            Self::BytesArray(_) => 1001,
            Self::UuidArray(_) => 2951,
            Self::TimestamptzArray(_) => 1185,
        }
    }

    /// Appends the binary form.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Result<IsNull, String> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Boolean(value) => out.push(u8::from(*value)),
            Self::Int32(value) => out.extend(value.to_be_bytes()),
            Self::Int64(value) => out.extend(value.to_be_bytes()),
            Self::Float64(value) => out.extend(value.to_be_bytes()),
            Self::Text(value) => out.extend(value.as_bytes()),
            Self::Bytes(value) => out.extend(value),
            Self::Uuid(value) => write_uuid(value, out)?,
            Self::Timestamptz(value) => out.extend(since_2000(*value)?.to_be_bytes()),
            Self::Numeric(value) => numeric::write(value, out)?,
            Self::Jsonb(value) => {
                out.push(JSONB_VERSION);
                out.extend(value.as_bytes());
            }
            Self::BooleanArray(values) => write_array(16, values, out, |value, out| {
                out.push(u8::from(*value));
                Ok(())
            })?,
            Self::Int32Array(values) => write_array(23, values, out, |value, out| {
                out.extend(value.to_be_bytes());
                Ok(())
            })?,
            Self::Int64Array(values) => write_array(20, values, out, |value, out| {
                out.extend(value.to_be_bytes());
                Ok(())
            })?,
            Self::Float64Array(values) => write_array(701, values, out, |value, out| {
                out.extend(value.to_be_bytes());
                Ok(())
            })?,
            Self::TextArray(values) => write_array(25, values, out, |value, out| {
                out.extend(value.as_bytes());
                Ok(())
            })?,
            Self::BytesArray(values) => write_array(17, values, out, |value, out| {
                out.extend(value);
                Ok(())
            })?,
            Self::UuidArray(values) => write_array(2950, values, out, |value, out| write_uuid(value, out))?,
            Self::TimestamptzArray(values) => write_array(1184, values, out, |value, out| {
                out.extend(since_2000(*value)?.to_be_bytes());
                Ok(())
            })?,
        }
        Ok(IsNull::No)
    }
}

/// One dimension, no NULLs: `array_send` in PostgreSQL's `arrayfuncs.c`.
fn write_array<T>(
    element_oid: u32,
    values: &[T],
    out: &mut Vec<u8>,
    write: impl Fn(&T, &mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    let too_large = |_| "an array is too large".to_owned();
    let dimensions = i32::from(!values.is_empty());
    out.extend(dimensions.to_be_bytes());
    out.extend(0_i32.to_be_bytes()); // no NULLs
    out.extend(element_oid.to_be_bytes());
    if values.is_empty() {
        return Ok(());
    }
    out.extend(i32::try_from(values.len()).map_err(too_large)?.to_be_bytes());
    out.extend(1_i32.to_be_bytes()); // the first subscript
    let mut element = Vec::new();
    for value in values {
        element.clear();
        write(value, &mut element)?;
        out.extend(i32::try_from(element.len()).map_err(too_large)?.to_be_bytes());
        out.extend(&element);
    }
    Ok(())
}

fn write_uuid(text: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let uuid = Uuid::try_parse(text).map_err(|error| format!("is no uuid: {error}"))?;
    out.extend(uuid.as_bytes());
    Ok(())
}

fn since_2000(micros: i64) -> Result<i64, String> {
    match micros {
        // PostgreSQL's infinity and -infinity
        i64::MAX | i64::MIN => Ok(micros),
        _ => micros.checked_sub(EPOCH_2000_US).ok_or_else(|| "is too early for a timestamptz".to_owned()),
    }
}

impl Type<Postgres> for Value {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Value {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.write(buffer).map_err(Into::into)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(type_info(self))
    }
}

/// The type to declare for a parameter.
pub(crate) fn type_info(value: &Value) -> PgTypeInfo {
    PgTypeInfo::with_oid(Oid(value.oid()))
}

#[cfg(test)]
pub(crate) fn binary(value: &Value) -> Result<Option<Vec<u8>>, String> {
    let mut out = Vec::new();
    Ok(match value.write(&mut out)? {
        IsNull::Yes => None,
        IsNull::No => Some(out),
    })
}
