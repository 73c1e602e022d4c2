//! The encoding against fixed vectors, against the encoders of the transport crate, and against itself on drawn values.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Type, Val};

use super::{CodecError, decode, encode, supported};

const BOOL: u8 = 0x7f;
const S8: u8 = 0x7e;
const U8: u8 = 0x7d;
const S16: u8 = 0x7c;
const U16: u8 = 0x7b;
const S32: u8 = 0x7a;
const U32: u8 = 0x79;
const S64: u8 = 0x78;
const U64: u8 = 0x77;
const F32: u8 = 0x76;
const F64: u8 = 0x75;
const CHAR: u8 = 0x74;
const STRING: u8 = 0x73;

/// Writes the smallest component that has types: it imports one function whose parameters are of these types. There is no text parser in
/// the engine's features, and a binary file in the tree could not be read.
#[derive(Default)]
struct Types {
    sections: Vec<u8>,
    count: u8,
    named: u8,
}

impl Types {
    fn section(&mut self, id: u8, body: &[u8]) {
        self.sections.extend([id, u8::try_from(body.len()).unwrap()]);
        self.sections.extend(body);
    }

    /// A type that needs no name.
    fn plain(&mut self, definition: &[u8]) -> u8 {
        self.section(7, &[&[1], definition].concat());
        self.count += 1;
        self.count - 1
    }

    /// Records, variants, enums and flags must be imported under a name before a function may use them.
    fn nominal(&mut self, definition: &[u8]) -> u8 {
        let index = self.plain(definition);
        self.named += 1;
        let import = [&[1, 0, 2, b't', b'a' + self.named], &[3, 0, index][..]].concat();
        self.section(10, &import);
        self.count += 1;
        self.count - 1
    }

    fn finish(mut self, params: &[u8]) -> Vec<Type> {
        let mut function = vec![0x40, u8::try_from(params.len()).unwrap()];
        for (place, ty) in params.iter().enumerate() {
            let place = u8::try_from(place).unwrap();
            function.extend([2, b'a' + place / 26, b'a' + place % 26, *ty]);
        }
        function.extend([1, 0]);
        let index = self.plain(&function);
        self.section(10, &[1, 0, 1, b'f', 1, index]);
        let bytes = [&b"\0asm\x0d\0\x01\0"[..], &self.sections].concat();
        let engine = Engine::default();
        let component = Component::new(&engine, bytes).unwrap();
        let ty = component.component_type();
        let function = ty.get_import(&engine, "f").unwrap().ty;
        let ComponentItem::ComponentFunc(function) = function else { unreachable!() };
        function.params().map(|(_, ty)| ty).collect()
    }
}

fn name(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn names(prefix: u8, names: impl ExactSizeIterator<Item = String>) -> Vec<u8> {
    let mut bytes = vec![prefix, u8::try_from(names.len()).unwrap()];
    names.for_each(|text| bytes.extend(name(&text)));
    bytes
}

/// One of every kind.
fn all() -> Vec<Type> {
    let mut types = Types::default();
    let list = types.plain(&[0x70, STRING]);
    let bytes = types.plain(&[0x70, U8]);
    let option = types.plain(&[0x6b, U32]);
    let nested = types.plain(&[0x6b, option]);
    let tuple = types.plain(&[0x6f, 2, S16, list]);
    let record = types.nominal(&[&[0x72, 2][..], &name("a"), &[U64], &name("b"), &[nested]].concat());
    let variant = types.nominal(
        &[&[0x71, 3][..], &name("none"), &[0, 0], &name("one"), &[1, record, 0], &name("two"), &[1, tuple, 0]].concat(),
    );
    let enumeration = types.nominal(&names(0x6d, (0..10).map(|n| format!("c{n}"))));
    let flags = types.nominal(&names(0x6e, (0..20).map(|n| format!("f{n}"))));
    let result = types.plain(&[0x6a, 1, variant, 1, enumeration]);
    let empty = types.plain(&[0x6a, 0, 0]);
    let deep = types.plain(&[0x70, result]);
    types.finish(&[
        BOOL,
        U8,
        S8,
        U16,
        S16,
        U32,
        S32,
        U64,
        S64,
        F32,
        F64,
        CHAR,
        STRING,
        list,
        bytes,
        option,
        nested,
        tuple,
        record,
        variant,
        enumeration,
        flags,
        result,
        empty,
        deep,
    ])
}

/// A value of the type.
pub(in super::super) fn draw(ty: &Type, random: &mut StdRng) -> Val {
    let letters = ['a', 'ß', '€', '😀', '\0', '\u{10ffff}'];
    match ty {
        Type::Bool => Val::Bool(random.random()),
        Type::U8 => Val::U8(random.random()),
        Type::S8 => Val::S8(random.random()),
        Type::U16 => Val::U16(random.random()),
        Type::S16 => Val::S16(random.random()),
        Type::U32 => Val::U32(random.random::<u32>() >> random.random_range(0..32)),
        Type::S32 => Val::S32(random.random::<i32>() >> random.random_range(0..32)),
        Type::U64 => Val::U64(random.random::<u64>() >> random.random_range(0..64)),
        Type::S64 => Val::S64(random.random::<i64>() >> random.random_range(0..64)),
        Type::Float32 => Val::Float32(random.random()),
        Type::Float64 => Val::Float64(random.random()),
        Type::Char => Val::Char(letters[random.random_range(0..letters.len())]),
        Type::String => Val::String(
            (0..random.random_range(0..200)).map(|_| letters[random.random_range(0..letters.len())]).collect(),
        ),
        Type::List(list) => Val::List((0..random.random_range(0..5)).map(|_| draw(&list.ty(), random)).collect()),
        Type::Record(record) => {
            Val::Record(record.fields().map(|field| (field.name.to_owned(), draw(&field.ty, random))).collect())
        }
        Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|ty| draw(&ty, random)).collect()),
        Type::Variant(variant) => {
            let case = variant.cases().nth(random.random_range(0..variant.cases().len())).unwrap();
            Val::Variant(case.name.to_owned(), case.ty.map(|ty| Box::new(draw(&ty, random))))
        }
        Type::Enum(cases) => {
            Val::Enum(cases.names().nth(random.random_range(0..cases.names().len())).unwrap().to_owned())
        }
        Type::Option(option) => Val::Option(random.random::<bool>().then(|| Box::new(draw(&option.ty(), random)))),
        Type::Result(result) if random.random() => Val::Result(Ok(result.ok().map(|ty| Box::new(draw(&ty, random))))),
        Type::Result(result) => Val::Result(Err(result.err().map(|ty| Box::new(draw(&ty, random))))),
        Type::Flags(flags) => Val::Flags(flags.names().filter(|_| random.random()).map(str::to_owned).collect()),
        other => unreachable!("{other:?}"),
    }
}

fn encoded(value: &Val, ty: &Type) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(value, ty, &mut bytes).unwrap();
    bytes
}

/// Goal: what is written is read again, alone and with other bytes behind it, and every shorter piece of it asks for more.
/// Method: 200 drawn values of every kind of type, fixed seed.
#[test]
fn every_value_survives() {
    let mut random = StdRng::seed_from_u64(1);
    for ty in all() {
        supported(&ty).unwrap();
        for _ in 0..200 {
            let value = draw(&ty, &mut random);
            let bytes = encoded(&value, &ty);
            let followed = [&bytes[..], &[7]].concat();
            let mut rest = &followed[..];
            assert_eq!(decode(&mut rest, &ty).unwrap(), value);
            assert_eq!(rest, [7], "{ty:?}");
            for end in 0..bytes.len().min(300) {
                assert_eq!(decode(&mut &bytes[..end], &ty), Err(CodecError::Truncated), "{value:?} at {end}");
            }
        }
    }
}

/// Goal: noise never panics and never takes memory for what is not there. Method: 20 000 drawn inputs for every type; those that are
/// values are written again and read the same.
#[test]
fn noise_is_refused_or_a_value() {
    let mut random = StdRng::seed_from_u64(2);
    for ty in all() {
        for _ in 0..20_000 {
            let mut noise = vec![0_u8; random.random_range(0..40)];
            random.fill(&mut noise[..]);
            if let Ok(value) = decode(&mut &noise[..], &ty) {
                let again = decode(&mut &encoded(&value, &ty)[..], &ty).unwrap();
                // A NaN is not equal to itself; its text is.
                assert_eq!(format!("{value:?}"), format!("{again:?}"));
            }
        }
    }
}

/// Goal: the bytes are those that others write. Method: vectors worked out by hand from the specification.
#[test]
fn fixed_vectors() {
    let types = all();
    let of = |kind: &str| types.iter().find(|ty| super::name(ty) == kind).unwrap();
    let vectors: Vec<(Val, &Type, &[u8])> = vec![
        (Val::Bool(true), of("bool"), &[1]),
        (Val::U8(255), of("u8"), &[255]),
        (Val::S8(-1), of("s8"), &[255]),
        (Val::U16(300), of("u16"), &[0xac, 2]),
        (Val::S16(-129), of("s16"), &[0xff, 0x7e]),
        (Val::U32(624_485), of("u32"), &[0xe5, 0x8e, 0x26]),
        (Val::S32(-123_456), of("s32"), &[0xc0, 0xbb, 0x78]),
        (Val::S32(64), of("s32"), &[0xc0, 0]),
        (Val::U64(u64::MAX), of("u64"), &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        (Val::S64(i64::MIN), of("s64"), &[128, 128, 128, 128, 128, 128, 128, 128, 128, 0x7f]),
        (Val::Float32(1.5), of("f32"), &[0, 0, 0xc0, 0x3f]),
        (Val::Char('€'), of("char"), &[0xe2, 0x82, 0xac]),
        (Val::String("hé".to_owned()), of("string"), &[3, b'h', 0xc3, 0xa9]),
        (Val::List(vec![Val::String("a".to_owned())]), of("list"), &[1, 1, b'a']),
        (Val::Option(None), of("option"), &[0]),
        (Val::Option(Some(Box::new(Val::U32(7)))), of("option"), &[1, 7]),
        (Val::Enum("c3".to_owned()), of("enum"), &[3]),
        (Val::Variant("none".to_owned(), None), of("variant"), &[0]),
        (Val::Flags(vec!["f0".to_owned(), "f9".to_owned(), "f19".to_owned()]), of("flags"), &[1, 2, 8]),
        (Val::Result(Err(Some(Box::new(Val::Enum("c1".to_owned()))))), of("result"), &[1, 1]),
    ];
    for (value, ty, bytes) in vectors {
        assert_eq!(&encoded(&value, ty)[..], bytes, "{value:?}");
        assert_eq!(decode(&mut &bytes[..], ty).unwrap(), value);
    }
}

/// Goal: the bytes are those that the transport crate writes, which providers and other hosts use. Method: its encoders, on drawn values.
#[test]
fn the_transport_crate_writes_the_same() {
    use tokio_util::codec::Encoder as _;
    use wrpc_transport::Encode;

    /// The encoders of plain values do not care where they write.
    type Nowhere = ();
    fn theirs<T: Encode<Nowhere>>(value: T) -> BytesMut
    where
        <T::Encoder as tokio_util::codec::Encoder<T>>::Error: std::fmt::Debug,
    {
        let mut bytes = BytesMut::new();
        T::Encoder::default().encode(value, &mut bytes).unwrap();
        bytes
    }
    let mut random = StdRng::seed_from_u64(3);
    for ty in all() {
        for _ in 0..200 {
            let value = draw(&ty, &mut random);
            let expected = match &value {
                Val::Bool(value) => theirs(*value),
                Val::U8(value) => theirs(*value),
                Val::S8(value) => theirs(*value),
                Val::U16(value) => theirs(*value),
                Val::S16(value) => theirs(*value),
                Val::U32(value) => theirs(*value),
                Val::S32(value) => theirs(*value),
                Val::U64(value) => theirs(*value),
                Val::S64(value) => theirs(*value),
                Val::Float32(value) => theirs(*value),
                Val::Float64(value) => theirs(*value),
                Val::Char(value) => theirs(*value),
                Val::String(value) => theirs(value.clone()),
                _ => continue,
            };
            assert_eq!(encoded(&value, &ty), expected, "{value:?}");
        }
    }
}

/// Goal: hostile lengths and integers are refused before memory is taken. Method: the largest of each.
#[test]
fn hostile_input_is_refused() {
    let types = all();
    let of = |kind: &str| types.iter().find(|ty| super::name(ty) == kind).unwrap();
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 1];
    assert_eq!(decode(&mut &huge[..], of("list")), Err(CodecError::TooMany));
    assert_eq!(decode(&mut &huge[..], of("string")), Err(CodecError::TooMany));
    assert!(matches!(decode(&mut &[0xff, 0xff, 0xff, 0xff, 0x1f][..], of("u32")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[0x80, 0x80, 0x04][..], of("u16")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[0xff; 11][..], of("u64")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[0xff; 20][..], of("s64")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[0x80, 0x80, 0x02][..], of("s16")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[2][..], of("bool")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[10][..], of("enum")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[3][..], of("variant")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[0xff, 0xff, 0xff][..], of("flags")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[0xed, 0xa0, 0x80][..], of("char")), Err(CodecError::Invalid(_))));
    assert!(matches!(decode(&mut &[2, 0xff, 0xff][..], of("string")), Err(CodecError::Invalid(_))));
    assert!(matches!(encode(&Val::U8(1), of("bool"), &mut BytesMut::new()), Err(CodecError::Mismatch("bool"))));
}
