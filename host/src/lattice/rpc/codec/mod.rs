//! Values on the wire: the component model's value encoding, as wRPC has it. Invariant: what comes from the wire is checked against its type
//! and against limits before memory is taken for it; nothing here panics, whatever bytes or values it is given.
//!
//! `bool`, `u8`, `s8` one byte; other integers LEB128; floats little-endian; `char` as UTF-8; strings and lists a LEB128 length, then the
//! items; records and tuples their fields; variants and enums a LEB128 discriminant; `option` 0/1; `result` 0 ok, 1 error; flags as
//! little-endian bits in as few bytes as hold them.

mod decode;
mod encode;

#[cfg(test)]
pub(super) mod tests;

use wasmtime::component::Type;

pub(super) use decode::Source;
pub use decode::decode;
pub use encode::encode;
pub(super) use encode::{put_bytes, put_unsigned};

use crate::limits;

/// Why a value cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// More bytes are needed.
    #[error("the value ends early")]
    Truncated,
    /// The bytes are no value of the type.
    #[error("the bytes are not a value of the type: {0}")]
    Invalid(&'static str),
    /// The value is not of the type.
    #[error("the value is not of the type {0}")]
    Mismatch(&'static str),
    /// The type has no form on the wire.
    #[error("{0} cannot pass between hosts")]
    Unsupported(&'static str),
    /// The type nests too deep.
    #[error("the type nests deeper than {max}", max = limits::MAX_REMOTE_NESTING)]
    TooDeep,
    /// There are too many values in it.
    #[error("it holds more than {max} values", max = limits::MAX_REMOTE_VALUES)]
    TooMany,
}

/// Whether values of this type can pass between hosts.
///
/// # Errors
/// What in it cannot, in words.
pub fn supported(ty: &Type) -> Result<(), String> {
    passes(ty, 0).map_err(|error| error.to_string())
}

fn passes(ty: &Type, depth: u32) -> Result<(), CodecError> {
    let depth = deeper(depth)?;
    let inner = |ty: Option<Type>| ty.map_or(Ok(()), |ty| passes(&ty, depth));
    match ty {
        Type::List(list) => passes(&list.ty(), depth),
        Type::Option(option) => passes(&option.ty(), depth),
        Type::Record(record) => record.fields().try_for_each(|field| passes(&field.ty, depth)),
        Type::Tuple(tuple) => tuple.types().try_for_each(|ty| passes(&ty, depth)),
        Type::Variant(variant) => variant.cases().try_for_each(|case| inner(case.ty)),
        Type::Result(result) => inner(result.ok()).and_then(|()| inner(result.err())),
        Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::Map(_)
        | Type::FixedLengthList(_) => Err(CodecError::Unsupported(name(ty))),
        Type::Bool
        | Type::S8
        | Type::U8
        | Type::S16
        | Type::U16
        | Type::S32
        | Type::U32
        | Type::S64
        | Type::U64
        | Type::Float32
        | Type::Float64
        | Type::Char
        | Type::String
        | Type::Enum(_)
        | Type::Flags(_) => Ok(()),
    }
}

fn deeper(depth: u32) -> Result<u32, CodecError> {
    if depth >= limits::MAX_REMOTE_NESTING { Err(CodecError::TooDeep) } else { Ok(depth + 1) }
}

/// Flags take as few bytes as hold one bit each.
fn flag_bytes(count: usize) -> usize {
    count.div_ceil(8)
}

fn name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::List(_) => "list",
        Type::Map(_) => "map",
        Type::Record(_) => "record",
        Type::Tuple(_) => "tuple",
        Type::Variant(_) => "variant",
        Type::Enum(_) => "enum",
        Type::Option(_) => "option",
        Type::Result(_) => "result",
        Type::Flags(_) => "flags",
        Type::Own(_) | Type::Borrow(_) => "a resource",
        Type::Future(_) => "a future",
        Type::Stream(_) => "a stream",
        Type::ErrorContext => "an error context",
        Type::FixedLengthList(_) => "a list of fixed length",
    }
}
