//! PostgreSQL: one call is one transaction. The port, helpers that make statements, and rows that are read by column name and type.
//!
//! Invariant: a value of another type than asked for is an error that names the column; nothing is converted with loss.

pub use crate::bindings::swiftcart::postgres::client::{Error, RowSet, Statement, Value, Violation};

/// The one database that a component's link grants.
pub trait Database {
    /// Runs the statements in order as one transaction and commits it; one row set per statement.
    ///
    /// # Errors
    /// See [`Error`]: only after [`Error::Uncertain`] is it unknown whether the transaction took place.
    fn transact(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error>;

    /// As [`Database::transact`], together with the calls of the same text that wait at the same time. The text is written for any number of
    /// calls, each parameter is a scalar, and the first column of each result is `call`: see `wit/postgres`.
    ///
    /// # Errors
    /// See [`Error`]: `Conflict` and `Invalid` are of this call alone.
    fn coalesce(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error>;

    /// Runs one statement as [`Database::coalesce`] does.
    ///
    /// # Errors
    /// As [`Database::coalesce`].
    fn run_coalesced(&self, statement: Statement) -> Result<RowSet, Error> {
        let mut sets = self.coalesce(vec![statement])?;
        sets.pop().ok_or_else(|| Error::Invalid("the host answered one statement with no row set".to_owned()))
    }

    /// Runs one statement as a transaction of its own.
    ///
    /// # Errors
    /// As [`Database::transact`].
    fn run(&self, statement: Statement) -> Result<RowSet, Error> {
        let mut sets = self.transact(vec![statement])?;
        sets.pop().ok_or_else(|| Error::Invalid("the host answered one statement with no row set".to_owned()))
    }
}

impl<D: Database + ?Sized> Database for &D {
    fn transact(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        (**self).transact(statements)
    }

    fn coalesce(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        (**self).coalesce(statements)
    }
}

/// The database behind the component's link; only inside a component.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linked;

impl Database for Linked {
    fn transact(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        crate::bindings::swiftcart::postgres::client::transact(&statements)
    }

    fn coalesce(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        crate::bindings::swiftcart::postgres::client::coalesce(&statements)
    }
}

/// A statement with `$1`, `$2`, ... bound to `params`.
pub fn statement(sql: impl Into<String>, params: Vec<Value>) -> Statement {
    Statement { sql: sql.into(), params, expected_rows: None }
}

/// A statement that rolls the transaction back with [`Error::Stale`] unless it affects or returns exactly `rows` rows.
pub fn expecting(rows: u64, sql: impl Into<String>, params: Vec<Value>) -> Statement {
    Statement { sql: sql.into(), params, expected_rows: Some(rows) }
}

/// A parameter of type `uuid`.
pub fn uuid(value: impl Into<String>) -> Value {
    Value::Uuid(value.into())
}

/// A parameter of type `jsonb`, from JSON text.
pub fn jsonb(value: impl Into<String>) -> Value {
    Value::Jsonb(value.into())
}

/// A parameter of type `timestamptz`, from microseconds since 1970-01-01T00:00:00Z.
pub fn timestamp(micros: i64) -> Value {
    Value::Timestamptz(micros)
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int32(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int64(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int64(i64::from(value))
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<Vec<String>> for Value {
    fn from(value: Vec<String>) -> Self {
        Self::TextArray(value)
    }
}

impl From<Vec<i64>> for Value {
    fn from(value: Vec<i64>) -> Self {
        Self::Int64Array(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A result that is not what the statement promises. Always a bug of ours: the SQL and the code that reads it disagree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// No such column.
    #[error("the result has no column `{column}`")]
    Missing {
        /// The column asked for.
        column: String,
    },
    /// The column holds something else.
    #[error("column `{column}` is {found}, expected {expected}")]
    Type {
        /// The column asked for.
        column: String,
        /// What the reader asked for.
        expected: &'static str,
        /// What the column holds: the name of its type, never its value.
        found: &'static str,
    },
    /// Another number of rows than one.
    #[error("expected one row, found {0}")]
    NotOne(usize),
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// What is asked for, for error messages.
    const EXPECTED: &'static str;

    /// The value, or `None` when it is of another type or does not fit.
    fn from_value(value: &Value) -> Option<Self>;
}

/// Everything that travels as text: `text`, `uuid`, `numeric`, `jsonb`.
impl FromValue for String {
    const EXPECTED: &'static str = "text, uuid, numeric or jsonb";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) | Value::Uuid(text) | Value::Numeric(text) | Value::Jsonb(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// `bigint` and `integer`; a `timestamptz` reads as microseconds since 1970-01-01T00:00:00Z.
impl FromValue for i64 {
    const EXPECTED: &'static str = "bigint, integer or timestamptz";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int64(number) | Value::Timestamptz(number) => Some(*number),
            Value::Int32(number) => Some(Self::from(*number)),
            _ => None,
        }
    }
}

/// `bigint` and `integer` that are not negative.
impl FromValue for u64 {
    const EXPECTED: &'static str = "a bigint or integer that is not negative";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int64(number) => Self::try_from(*number).ok(),
            Value::Int32(number) => Self::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl FromValue for i32 {
    const EXPECTED: &'static str = "integer";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int32(number) => Some(*number),
            _ => None,
        }
    }
}

/// `bigint` and `integer` in 0..2^32.
impl FromValue for u32 {
    const EXPECTED: &'static str = "a bigint or integer in 0..2^32";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int64(number) => Self::try_from(*number).ok(),
            Value::Int32(number) => Self::try_from(*number).ok(),
            _ => None,
        }
    }
}

impl FromValue for bool {
    const EXPECTED: &'static str = "boolean";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    const EXPECTED: &'static str = "double precision";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Float64(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytea";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<String> {
    const EXPECTED: &'static str = "text[] or uuid[]";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::TextArray(list) | Value::UuidArray(list) => Some(list.clone()),
            _ => None,
        }
    }
}

impl FromValue for Vec<i64> {
    const EXPECTED: &'static str = "bigint[] or timestamptz[]";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int64Array(list) | Value::TimestamptzArray(list) => Some(list.clone()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// One row of a result.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl Row<'_> {
    /// The column as `T`; ask for `Option<T>` where it may be null.
    ///
    /// # Errors
    /// [`RowError`] that names the column when it is not there or of another type.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, RowError> {
        let value = self
            .columns
            .iter()
            .position(|name| name == column)
            .and_then(|index| self.values.get(index))
            .ok_or_else(|| RowError::Missing { column: column.to_owned() })?;
        T::from_value(value).ok_or_else(|| RowError::Type {
            column: column.to_owned(),
            expected: T::EXPECTED,
            found: type_name(value),
        })
    }
}

/// Reading a [`RowSet`].
pub trait RowExt {
    /// The rows in order.
    fn iter(&self) -> impl Iterator<Item = Row<'_>>;

    /// The first row, if there is one.
    fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }

    /// The only row.
    ///
    /// # Errors
    /// [`RowError::NotOne`] when there is none or more than one.
    fn only(&self) -> Result<Row<'_>, RowError>;
}

impl RowExt for RowSet {
    fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row { columns: &self.columns, values })
    }

    fn only(&self) -> Result<Row<'_>, RowError> {
        match self.rows.as_slice() {
            [values] => Ok(Row { columns: &self.columns, values }),
            rows => Err(RowError::NotOne(rows.len())),
        }
    }
}

/// The name of a value's type in PostgreSQL; never the value, which may be personal.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Int32(_) => "integer",
        Value::Int64(_) => "bigint",
        Value::Float64(_) => "double precision",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytea",
        Value::Uuid(_) => "uuid",
        Value::Timestamptz(_) => "timestamptz",
        Value::Numeric(_) => "numeric",
        Value::Jsonb(_) => "jsonb",
        Value::BooleanArray(_) => "boolean[]",
        Value::Int32Array(_) => "integer[]",
        Value::Int64Array(_) => "bigint[]",
        Value::Float64Array(_) => "double precision[]",
        Value::TextArray(_) => "text[]",
        Value::BytesArray(_) => "bytea[]",
        Value::UuidArray(_) => "uuid[]",
        Value::TimestamptzArray(_) => "timestamptz[]",
    }
}

#[cfg(test)]
mod tests {
    //! Goal: rows are read by name and type, and what does not fit is named. Method: a hand-made row set.
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn set() -> RowSet {
        RowSet {
            rows_affected: 1,
            columns: ["id", "qty", "note", "at"].map(str::to_owned).to_vec(),
            rows: vec![vec![
                uuid("67e55044-10b1-426f-9247-bb680e5fe0c8"),
                Value::Int32(-1),
                Value::Null,
                Value::Timestamptz(7),
            ]],
        }
    }

    #[test]
    fn reads_by_name_and_type() {
        let set = set();
        let row = set.only().unwrap();
        assert_eq!(row.get::<String>("id").unwrap(), "67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(row.get::<i64>("qty").unwrap(), -1);
        assert_eq!(row.get::<Option<String>>("note").unwrap(), None);
        assert_eq!(row.get::<i64>("at").unwrap(), 7);
    }

    #[test]
    fn errors_name_the_column_and_hide_the_value() {
        let set = set();
        let row = set.first().unwrap();
        assert_eq!(
            row.get::<u64>("qty").unwrap_err().to_string(),
            "column `qty` is integer, expected a bigint or integer that is not negative"
        );
        assert_eq!(
            row.get::<String>("note").unwrap_err().to_string(),
            "column `note` is null, expected text, uuid, numeric or jsonb"
        );
        assert_eq!(row.get::<bool>("gone").unwrap_err().to_string(), "the result has no column `gone`");
        let none = RowSet { rows: vec![], ..set.clone() };
        assert_eq!(none.only().unwrap_err(), RowError::NotOne(0));
    }

    #[test]
    fn parameters_from_rust_values() {
        assert_eq!(Value::from(None::<i64>), Value::Null);
        assert_eq!(Value::from(Some("a")), Value::Text("a".to_owned()));
        assert_eq!(Value::from(3_u32), Value::Int64(3));
    }
}
