//! A statement that was checked and whose parameters are encoded, before a connection is taken for it.

use sqlx::postgres::{PgArguments, PgTypeInfo};
use sqlx::{Arguments, AssertSqlSafe, SqlSafeStr, SqlStr};

use crate::encode::type_info;
use crate::error::Error;
use crate::limits::{MAX_PARAMETERS, MAX_STATEMENTS};
use crate::sql;
use crate::value::{Statement, Value};

/// Ready to be sent, as often as needed.
pub(crate) struct Bound {
    pub(crate) sql: SqlStr,
    pub(crate) types: Vec<PgTypeInfo>,
    pub(crate) arguments: PgArguments,
    pub(crate) expected_rows: Option<u64>,
    /// Whether losing it half way is harmless.
    pub(crate) only_reads: bool,
    /// Whether several calls share it, so that its first column must say whose each row is.
    pub(crate) shared: bool,
}

/// What every call must be like, whether it runs alone or together with others: so many statements, texts that may run in a transaction of ours, so
/// many parameters.
pub(crate) fn check(statements: &[Statement]) -> Result<(), Error> {
    if statements.len() > MAX_STATEMENTS {
        return Err(Error::Invalid(format!(
            "{} statements in one call, at most {MAX_STATEMENTS} are allowed",
            statements.len()
        )));
    }
    for (index, statement) in statements.iter().enumerate() {
        sql::check(&statement.sql, index)?;
        if statement.params.len() > MAX_PARAMETERS {
            let count = statement.params.len();
            return Err(Error::Invalid(format!(
                "statement {index}: {count} parameters, at most {MAX_PARAMETERS} are allowed; use arrays"
            )));
        }
    }
    Ok(())
}

/// Checks and encodes all statements of a call.
pub(crate) fn bind(statements: Vec<Statement>) -> Result<Vec<Bound>, Error> {
    check(&statements)?;
    statements.into_iter().enumerate().map(|(index, statement)| Bound::new(statement, index)).collect()
}

impl Bound {
    fn new(statement: Statement, index: usize) -> Result<Self, Error> {
        let mut arguments = PgArguments::default();
        for (position, value) in statement.params.iter().enumerate() {
            Arguments::add(&mut arguments, value)
                .map_err(|error| Error::Invalid(format!("statement {index}: parameter ${}: {error}", position + 1)))?;
        }
        Ok(Self {
            only_reads: sql::only_reads(&statement.sql),
            types: statement.params.iter().map(type_info).collect(),
            sql: AssertSqlSafe(with_types(statement.sql, &statement.params)).into_sql_str(),
            arguments,
            expected_rows: statement.expected_rows,
            shared: false,
        })
    }
}

/// Adds the types of the parameters to the text, as a comment.
///
/// sqlx keeps prepared statements by their text alone. The same text with other types (or with NULL, which has none) is another
/// prepared statement to the server; without this, a NULL at the first call would fix the parameter to the server's choice, and the next
/// value would be sent in a form that does not fit. The comment stands at the end, so that positions in error messages stay right.
fn with_types(mut sql: String, params: &[Value]) -> String {
    if params.is_empty() {
        return sql;
    }
    sql.reserve(params.len() * 5 + 6);
    sql.push_str("\n/*");
    for value in params {
        sql.push(' ');
        sql.push_str(&value.oid().to_string());
    }
    sql.push_str(" */");
    sql
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn statement(sql: &str, params: Vec<Value>) -> Statement {
        Statement { sql: sql.to_owned(), params, expected_rows: None }
    }

    #[test]
    fn the_types_are_part_of_the_text() {
        let bound = bind(vec![statement("SELECT $1", vec![Value::Null]), statement("SELECT 1", vec![])]).unwrap();
        assert_eq!(bound[0].sql.as_str(), "SELECT $1\n/* 0 */");
        assert_eq!(bound[1].sql.as_str(), "SELECT 1");
    }

    #[test]
    fn errors_name_statement_and_parameter() {
        let error =
            bind(vec![statement("SELECT 1", vec![]), statement("SELECT $1", vec![Value::Uuid("x".to_owned())])])
                .err()
                .unwrap();
        assert!(error.to_string().contains("statement 1: parameter $1"), "{error}");
        assert!(matches!(bind(vec![statement("COMMIT", vec![])]), Err(Error::Invalid(_))));
        assert!(matches!(bind(vec![Statement::default(); MAX_STATEMENTS + 1]), Err(Error::Invalid(_))));
        assert!(matches!(
            bind(vec![statement("SELECT 1", vec![Value::Null; MAX_PARAMETERS + 1])]),
            Err(Error::Invalid(_))
        ));
    }
}
