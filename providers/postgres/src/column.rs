//! Which PostgreSQL types can be given to a component, by their fixed object identifiers (`pg_type.dat` in PostgreSQL's source).
//! A type that is not listed is refused before the statement runs, so that no result is lost after a commit.

/// The form of one value on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scalar {
    Boolean,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Text,
    Bytes,
    Uuid,
    Timestamptz,
    Numeric,
    Json,
    Jsonb,
    /// What a function without a result gives, `pg_notify` for example: always NULL.
    Void,
}

/// The form of one column.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Scalar(Scalar),
    Array(Scalar),
}

impl Kind {
    /// The form of a type, or none if components cannot take it.
    pub(crate) fn of(oid: u32) -> Option<Self> {
        use Scalar::{
            Boolean, Bytes, Float4, Float8, Int2, Int4, Int8, Json, Jsonb, Numeric, Text, Timestamptz, Uuid, Void,
        };
        Some(match oid {
            16 => Self::Scalar(Boolean),
            17 => Self::Scalar(Bytes),
            20 => Self::Scalar(Int8),
            21 => Self::Scalar(Int2),
            23 => Self::Scalar(Int4),
            // name, text, unknown (a bare literal), bpchar, varchar
            19 | 25 | 705 | 1042 | 1043 => Self::Scalar(Text),
            114 => Self::Scalar(Json),
            700 => Self::Scalar(Float4),
            701 => Self::Scalar(Float8),
            1184 => Self::Scalar(Timestamptz),
            1700 => Self::Scalar(Numeric),
            2278 => Self::Scalar(Void),
            2950 => Self::Scalar(Uuid),
            3802 => Self::Scalar(Jsonb),
            1000 => Self::Array(Boolean),
            1001 => Self::Array(Bytes),
            1005 => Self::Array(Int2),
            1007 => Self::Array(Int4),
            1016 => Self::Array(Int8),
            // The arrays of name, text, bpchar, varchar
            1003 | 1009 | 1014 | 1015 => Self::Array(Text),
            1021 => Self::Array(Float4),
            1022 => Self::Array(Float8),
            1185 => Self::Array(Timestamptz),
            2951 => Self::Array(Uuid),
            _ => return None,
        })
    }
}
