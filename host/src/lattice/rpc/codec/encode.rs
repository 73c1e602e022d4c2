//! Writing values. A value that does not fit its type is an error, never a wrong encoding.

use bytes::{BufMut as _, BytesMut};
use wasmtime::component::types::{Record, Variant};
use wasmtime::component::{Type, Val};

use super::{CodecError, deeper, flag_bytes, name};

/// Appends the encoding of `value`, which is of type `ty`.
///
/// # Errors
/// [`CodecError::Mismatch`] when it is not of that type, [`CodecError::Unsupported`] when the type cannot pass between hosts.
pub fn encode(value: &Val, ty: &Type, into: &mut BytesMut) -> Result<(), CodecError> {
    put(value, ty, into, 0)
}

fn put(value: &Val, ty: &Type, into: &mut BytesMut, depth: u32) -> Result<(), CodecError> {
    let depth = deeper(depth)?;
    match (value, ty) {
        (Val::Bool(value), Type::Bool) => into.put_u8((*value).into()),
        (Val::U8(value), Type::U8) => into.put_u8(*value),
        (Val::S8(value), Type::S8) => into.put_i8(*value),
        (Val::U16(value), Type::U16) => put_unsigned((*value).into(), into),
        (Val::U32(value), Type::U32) => put_unsigned((*value).into(), into),
        (Val::U64(value), Type::U64) => put_unsigned(*value, into),
        (Val::S16(value), Type::S16) => put_signed((*value).into(), into),
        (Val::S32(value), Type::S32) => put_signed((*value).into(), into),
        (Val::S64(value), Type::S64) => put_signed(*value, into),
        (Val::Float32(value), Type::Float32) => into.put_f32_le(*value),
        (Val::Float64(value), Type::Float64) => into.put_f64_le(*value),
        (Val::Char(value), Type::Char) => into.put_slice(value.encode_utf8(&mut [0; 4]).as_bytes()),
        (Val::String(value), Type::String) => put_bytes(value.as_bytes(), into)?,
        (Val::List(items), Type::List(list)) => {
            put_length(items.len(), into)?;
            let ty = list.ty();
            into.reserve(items.len());
            for item in items {
                put(item, &ty, into, depth)?;
            }
        }
        (Val::Record(fields), Type::Record(record)) => put_record(fields, record, into, depth)?,
        (Val::Tuple(items), Type::Tuple(tuple)) => {
            let types = tuple.types();
            if items.len() != types.len() {
                return Err(CodecError::Mismatch(name(ty)));
            }
            for (item, ty) in items.iter().zip(types) {
                put(item, &ty, into, depth)?;
            }
        }
        (Val::Variant(case, payload), Type::Variant(variant)) => {
            put_variant(case, payload.as_deref(), variant, into, depth)?;
        }
        (Val::Enum(case), Type::Enum(cases)) => put_index(cases.names().position(|name| name == case), ty, into)?,
        (Val::Option(value), Type::Option(option)) => {
            into.put_u8(value.is_some().into());
            if let Some(value) = value {
                put(value, &option.ty(), into, depth)?;
            }
        }
        (Val::Result(outcome), Type::Result(result)) => {
            let (byte, payload, inner) = match outcome {
                Ok(payload) => (0, payload, result.ok()),
                Err(payload) => (1, payload, result.err()),
            };
            into.put_u8(byte);
            put_payload(payload.as_deref(), inner.as_ref(), ty, into, depth)?;
        }
        (Val::Flags(set), Type::Flags(flags)) => {
            let mut bits = vec![0_u8; flag_bytes(flags.names().len())];
            for name in set {
                let place = flags.names().position(|known| known == name).ok_or(CodecError::Mismatch("flags"))?;
                if let Some(byte) = bits.get_mut(place / 8) {
                    *byte |= 1 << (place % 8);
                }
            }
            into.put_slice(&bits);
        }
        (_, Type::Own(_) | Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext)
        | (_, Type::Map(_) | Type::FixedLengthList(_)) => return Err(CodecError::Unsupported(name(ty))),
        _ => return Err(CodecError::Mismatch(name(ty))),
    }
    Ok(())
}

fn put_record(fields: &[(String, Val)], record: &Record, into: &mut BytesMut, depth: u32) -> Result<(), CodecError> {
    let types = record.fields();
    if fields.len() != types.len() {
        return Err(CodecError::Mismatch("record"));
    }
    for ((name, value), field) in fields.iter().zip(types) {
        if name != field.name {
            return Err(CodecError::Mismatch("record"));
        }
        put(value, &field.ty, into, depth)?;
    }
    Ok(())
}

fn put_variant(
    name: &str,
    payload: Option<&Val>,
    variant: &Variant,
    into: &mut BytesMut,
    depth: u32,
) -> Result<(), CodecError> {
    let mismatch = CodecError::Mismatch("variant");
    let (index, case) = variant.cases().enumerate().find(|(_, case)| case.name == name).ok_or(mismatch)?;
    put_length(index, into)?;
    put_payload(payload, case.ty.as_ref(), &Type::Variant(variant.clone()), into, depth)
}

fn put_payload(
    payload: Option<&Val>,
    ty: Option<&Type>,
    whole: &Type,
    into: &mut BytesMut,
    depth: u32,
) -> Result<(), CodecError> {
    match (payload, ty) {
        (Some(value), Some(ty)) => put(value, ty, into, depth),
        (None, None) => Ok(()),
        _ => Err(CodecError::Mismatch(name(whole))),
    }
}

fn put_index(index: Option<usize>, ty: &Type, into: &mut BytesMut) -> Result<(), CodecError> {
    put_length(index.ok_or(CodecError::Mismatch(name(ty)))?, into)
}

fn put_length(length: usize, into: &mut BytesMut) -> Result<(), CodecError> {
    // Lengths and discriminants have 32 bits in the component model.
    put_unsigned(u32::try_from(length).map_err(|_| CodecError::TooMany)?.into(), into);
    Ok(())
}

/// A `string` or a `list<u8>`.
pub(in super::super) fn put_bytes(bytes: &[u8], into: &mut BytesMut) -> Result<(), CodecError> {
    put_length(bytes.len(), into)?;
    into.put_slice(bytes);
    Ok(())
}

/// Unsigned LEB128.
pub(in super::super) fn put_unsigned(mut value: u64, into: &mut BytesMut) {
    while value >= 0x80 {
        into.put_u8(low_bits(value) | 0x80);
        value >>= 7;
    }
    into.put_u8(low_bits(value));
}

/// Signed LEB128: ends where the rest is the sign that the last byte already shows.
fn put_signed(mut value: i64, into: &mut BytesMut) {
    loop {
        let byte = low_bits(value.cast_unsigned());
        value >>= 7;
        let negative = byte & 0x40 != 0;
        if (value == 0 && !negative) || (value == -1 && negative) {
            return into.put_u8(byte);
        }
        into.put_u8(byte | 0x80);
    }
}

fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}
