//! The values, statements and results of `wit/postgres`, without WIT. Plain data: nothing here can fail or connect.

/// A value as a parameter or in a result row.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL. As a parameter it takes its type from the statement.
    Null,
    /// `boolean`.
    Boolean(bool),
    /// `integer`; also what a `smallint` column gives.
    Int32(i32),
    /// `bigint`.
    Int64(i64),
    /// `double precision`; also what a `real` column gives.
    Float64(f64),
    /// `text`, `varchar`, `char(n)`, `name`.
    Text(String),
    /// `bytea`.
    Bytes(Vec<u8>),
    /// Hyphenated, lower case. Other spellings are accepted as a parameter.
    Uuid(String),
    /// Microseconds since 1970-01-01T00:00:00Z. `i64::MAX` and `i64::MIN` are `infinity` and `-infinity`.
    Timestamptz(i64),
    /// Decimal text, for example `-12.340`; also `NaN`, `Infinity` and `-Infinity`.
    Numeric(String),
    /// JSON text. PostgreSQL checks it; it is passed on as it is.
    Jsonb(String),
    /// `boolean[]`, one dimension, no NULL inside (so are all arrays).
    BooleanArray(Vec<bool>),
    /// `integer[]`; also what a `smallint[]` column gives.
    Int32Array(Vec<i32>),
    /// `bigint[]`.
    Int64Array(Vec<i64>),
    /// `double precision[]`; also what a `real[]` column gives.
    Float64Array(Vec<f64>),
    /// `text[]`, `varchar[]`, `char(n)[]`, `name[]`.
    TextArray(Vec<String>),
    /// `bytea[]`.
    BytesArray(Vec<Vec<u8>>),
    /// `uuid[]`.
    UuidArray(Vec<String>),
    /// `timestamptz[]`, in microseconds since 1970-01-01T00:00:00Z.
    TimestamptzArray(Vec<i64>),
}

impl Value {
    pub(crate) fn is_array(&self) -> bool {
        matches!(
            self,
            Self::BooleanArray(_)
                | Self::Int32Array(_)
                | Self::Int64Array(_)
                | Self::Float64Array(_)
                | Self::TextArray(_)
                | Self::BytesArray(_)
                | Self::UuidArray(_)
                | Self::TimestamptzArray(_)
        )
    }
}

/// One statement with `$1`, `$2`, ... bound to `params` in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    /// The text. It must be one statement that neither controls the transaction nor changes the session.
    pub sql: String,
    /// The parameters.
    pub params: Vec<Value>,
    /// When given, the transaction is rolled back with [`crate::Error::Stale`] unless exactly so many rows are affected or returned.
    pub expected_rows: Option<u64>,
}

/// What one statement gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowSet {
    /// Rows inserted, updated, deleted or returned.
    pub rows_affected: u64,
    /// Names of the columns; empty when the statement returns no rows by its nature.
    pub columns: Vec<String>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Value>>,
}
