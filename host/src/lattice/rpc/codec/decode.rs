//! Reading values. Every length is compared with the bytes that are there before memory is taken for it.

use bytes::Buf;
use wasmtime::component::types::{Flags, List, Variant};
use wasmtime::component::{Type, Val};

use super::{CodecError, deeper, flag_bytes, name};
use crate::limits;

/// Reads one value of type `ty`; bytes behind it stay in `from`.
///
/// # Errors
/// [`CodecError::Truncated`] when more bytes could make it a value, otherwise why it never can be one.
pub fn decode(from: &mut impl Buf, ty: &Type) -> Result<Val, CodecError> {
    Source::new(from).value(ty)
}

/// Reads from bytes, with a budget of values for everything that is read through it.
pub(in super::super) struct Source<'a, B> {
    from: &'a mut B,
    values: usize,
}

impl<'a, B: Buf> Source<'a, B> {
    pub(in super::super) fn new(from: &'a mut B) -> Self {
        Self { from, values: limits::MAX_REMOTE_VALUES }
    }

    /// One value.
    pub(in super::super) fn value(&mut self, ty: &Type) -> Result<Val, CodecError> {
        self.nested(ty, 0)
    }

    fn nested(&mut self, ty: &Type, depth: u32) -> Result<Val, CodecError> {
        let depth = deeper(depth)?;
        self.values = self.values.checked_sub(1).ok_or(CodecError::TooMany)?;
        Ok(match ty {
            Type::Bool => Val::Bool(self.truth()?),
            Type::U8 => Val::U8(self.byte()?),
            Type::S8 => Val::S8(self.byte()?.cast_signed()),
            Type::U16 => Val::U16(narrow(self.unsigned(16)?)?),
            Type::U32 => Val::U32(narrow(self.unsigned(32)?)?),
            Type::U64 => Val::U64(self.unsigned(64)?),
            Type::S16 => Val::S16(narrow(self.signed(16)?)?),
            Type::S32 => Val::S32(narrow(self.signed(32)?)?),
            Type::S64 => Val::S64(self.signed(64)?),
            Type::Float32 => Val::Float32(f32::from_le_bytes(self.array()?)),
            Type::Float64 => Val::Float64(f64::from_le_bytes(self.array()?)),
            Type::Char => Val::Char(self.letter()?),
            Type::String => Val::String(self.text()?),
            Type::List(list) => Val::List(self.list(list, depth)?),
            Type::Record(record) => {
                let fields = record.fields();
                let fields = fields.map(|field| Ok((field.name.to_owned(), self.nested(&field.ty, depth)?)));
                Val::Record(fields.collect::<Result<_, CodecError>>()?)
            }
            Type::Tuple(tuple) => {
                Val::Tuple(tuple.types().map(|ty| self.nested(&ty, depth)).collect::<Result<_, _>>()?)
            }
            Type::Variant(variant) => self.variant(variant, depth)?,
            Type::Enum(cases) => {
                let index = self.length()?;
                let case = cases.names().nth(index).ok_or(CodecError::Invalid("unknown case of an enum"))?;
                Val::Enum(case.to_owned())
            }
            Type::Option(option) => {
                Val::Option(if self.truth()? { Some(Box::new(self.nested(&option.ty(), depth)?)) } else { None })
            }
            Type::Result(result) => Val::Result(if self.truth()? {
                Err(self.payload(result.err(), depth)?)
            } else {
                Ok(self.payload(result.ok(), depth)?)
            }),
            Type::Flags(flags) => Val::Flags(self.flags(flags)?),
            Type::Own(_)
            | Type::Borrow(_)
            | Type::Future(_)
            | Type::Stream(_)
            | Type::ErrorContext
            | Type::Map(_)
            | Type::FixedLengthList(_) => return Err(CodecError::Unsupported(name(ty))),
        })
    }

    fn list(&mut self, list: &List, depth: u32) -> Result<Vec<Val>, CodecError> {
        let (length, ty) = (self.length()?, list.ty());
        if length > self.values {
            return Err(CodecError::TooMany);
        }
        // Every value takes a byte at least: the component model has no empty records, tuples or flags.
        if length > self.from.remaining() {
            return Err(CodecError::Truncated);
        }
        (0..length).map(|_| self.nested(&ty, depth)).collect()
    }

    fn variant(&mut self, variant: &Variant, depth: u32) -> Result<Val, CodecError> {
        let index = self.length()?;
        let case = variant.cases().nth(index).ok_or(CodecError::Invalid("unknown case of a variant"))?;
        let case_name = case.name.to_owned();
        Ok(Val::Variant(case_name, self.payload(case.ty, depth)?))
    }

    fn payload(&mut self, ty: Option<Type>, depth: u32) -> Result<Option<Box<Val>>, CodecError> {
        ty.map(|ty| self.nested(&ty, depth).map(Box::new)).transpose()
    }

    fn flags(&mut self, flags: &Flags) -> Result<Vec<String>, CodecError> {
        let count = flags.names().len();
        let mut bits = vec![0_u8; flag_bytes(count)];
        self.fill(&mut bits)?;
        let is_set = |place: usize| bits.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) != 0);
        if (count..bits.len() * 8).any(is_set) {
            return Err(CodecError::Invalid("unknown flags"));
        }
        Ok(flags.names().enumerate().filter(|(place, _)| is_set(*place)).map(|(_, name)| name.to_owned()).collect())
    }

    fn letter(&mut self) -> Result<char, CodecError> {
        let first = self.byte()?;
        let length = match first {
            0..=0x7f => return Ok(char::from(first)),
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => return Err(CodecError::Invalid("a char that is not UTF-8")),
        };
        let mut bytes = [first, 0, 0, 0];
        self.fill(bytes.get_mut(1..length).unwrap_or_default())?;
        let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
        text.and_then(|text| text.chars().next()).ok_or(CodecError::Invalid("a char that is not UTF-8"))
    }

    /// A `string`.
    pub(in super::super) fn text(&mut self) -> Result<String, CodecError> {
        String::from_utf8(self.bytes()?).map_err(|_| CodecError::Invalid("a string that is not UTF-8"))
    }

    /// A `list<u8>`, or the bytes of a `string`.
    pub(in super::super) fn bytes(&mut self) -> Result<Vec<u8>, CodecError> {
        let length = self.length()?;
        if length > limits::MAX_REMOTE_BYTES {
            return Err(CodecError::TooMany);
        }
        if length > self.from.remaining() {
            return Err(CodecError::Truncated);
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A length or a discriminant.
    pub(in super::super) fn length(&mut self) -> Result<usize, CodecError> {
        usize::try_from(self.unsigned(32)?).map_err(|_| CodecError::TooMany)
    }

    /// A `bool`, or the first byte of an `option` or a `result`.
    pub(in super::super) fn truth(&mut self) -> Result<bool, CodecError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Invalid("a byte that must be 0 or 1")),
        }
    }

    pub(in super::super) fn byte(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<(), CodecError> {
        self.from.try_copy_to_slice(into).map_err(|_| CodecError::Truncated)
    }

    /// Unsigned LEB128 of at most `bits` bits.
    pub(in super::super) fn unsigned(&mut self, bits: u32) -> Result<u64, CodecError> {
        let (mut value, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if shift >= bits || low.checked_shl(shift).is_none_or(|shifted| shifted >> shift != low) {
                return Err(CodecError::Invalid("an integer that is too large"));
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return if bits < 64 && value >> bits != 0 {
                    Err(CodecError::Invalid("an integer that is too large"))
                } else {
                    Ok(value)
                };
            }
            shift += 7;
        }
    }

    /// Signed LEB128 of at most `bits` bits.
    fn signed(&mut self, bits: u32) -> Result<i64, CodecError> {
        let (mut value, mut shift) = (0_i128, 0);
        loop {
            let byte = self.byte()?;
            if shift >= bits {
                return Err(CodecError::Invalid("an integer that is too large"));
            }
            value |= i128::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                if byte & 0x40 != 0 {
                    value -= 1 << shift;
                }
                return i64::try_from(value).map_err(|_| CodecError::Invalid("an integer that is too large"));
            }
        }
    }
}

fn narrow<W, N: TryFrom<W>>(wide: W) -> Result<N, CodecError> {
    N::try_from(wide).map_err(|_| CodecError::Invalid("an integer that is too large"))
}
