//! A `Database` that hands each statement to `psql` as a prepared statement. Invariant: no type of a parameter is given away; the server has
//! to infer it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use swiftcart_capabilities::postgres::{Database, Error, RowSet, Statement, Value, Violation};

#[derive(Clone)]
pub(crate) struct Psql(pub(crate) String);

fn literal(value: &Value) -> String {
    let array = |items: Vec<String>, kind: &str| format!("ARRAY[{}]::{kind}[]", items.join(","));
    match value {
        Value::Null => "NULL".into(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Float64(number) => format!("{number}::float8"),
        Value::Text(text) | Value::Jsonb(text) | Value::Numeric(text) => format!("$v${text}$v$"),
        Value::Bytes(bytes) => format!("'\\x{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        Value::Uuid(text) => format!("'{text}'"),
        Value::Timestamptz(micros) => format!("'{}'", swiftcart_domain::time::to_rfc3339(*micros)),
        Value::TextArray(list) => array(list.iter().map(|text| format!("$v${text}$v$")).collect(), "text"),
        Value::Int64Array(list) => array(list.iter().map(i64::to_string).collect(), "bigint"),
        other => panic!("{other:?} is not used"),
    }
}

/// How a scalar stands in the text of an array; none for NULL.
fn text(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        Value::Boolean(truth) => truth.to_string(),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Float64(number) => number.to_string(),
        Value::Text(text) | Value::Jsonb(text) | Value::Numeric(text) | Value::Uuid(text) => text.clone(),
        Value::Bytes(bytes) => format!("\\x{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        Value::Timestamptz(micros) => swiftcart_domain::time::to_rfc3339(*micros),
        other => panic!("{other:?} is no scalar"),
    })
}

fn value(column: &str, text: &str) -> Value {
    let items = || text.trim_matches(['{', '}']).split(',').map(str::to_owned).collect::<Vec<_>>();
    match column {
        _ if text == "<NULL>" => Value::Null,
        "id" | "user_id" => Value::Uuid(text.into()),
        "call" | "version" | "total_amount" | "lease_epoch" | "refund_amount" | "busy_seconds" => {
            Value::Int64(text.parse().unwrap())
        }
        "settle_attempts" => Value::Int32(text.parse().unwrap()),
        "answered_pending" | "first_told" => Value::Boolean(text == "t"),
        "created_at" => Value::Timestamptz(
            swiftcart_domain::time::from_rfc3339(&(text.replace(' ', "T").trim_end_matches("+00").to_owned() + "Z"))
                .unwrap(),
        ),
        "fingerprint" | "sealed_email" => Value::Bytes(
            (2..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect(),
        ),
        "skus" => Value::TextArray(items()),
        "quantities" | "unit_prices" => Value::Int64Array(items().iter().map(|item| item.parse().unwrap()).collect()),
        _ => Value::Text(text.into()),
    }
}

impl Psql {
    pub(crate) fn script(&self, script: &str) -> Result<String, String> {
        let mut psql = Command::new("psql")
            .args([
                "-X",
                "-A",
                "-F",
                "\x1f",
                "-P",
                "footer=off",
                "-P",
                "null=<NULL>",
                "-v",
                "ON_ERROR_STOP=1",
                "-v",
                "VERBOSITY=verbose",
            ])
            .arg(&self.0)
            .env("PGTZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        psql.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = psql.wait_with_output().unwrap();
        if output.status.success() {
            Ok(String::from_utf8(output.stdout).unwrap())
        } else {
            Err(String::from_utf8(output.stderr).unwrap())
        }
    }

    pub(crate) fn number(&self, sql: &str) -> i64 {
        self.script(sql).unwrap().lines().nth(1).unwrap().parse().unwrap()
    }
}

impl Database for Psql {
    fn transact(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        self.one(&statements, literal)
    }

    /// A flush of one call: an array of one element for each parameter, NULL where the element would be.
    fn coalesce(&self, statements: Vec<Statement>) -> Result<Vec<RowSet>, Error> {
        let array = |value: &Value| match text(value) {
            None => literal(value),
            Some(text) => format!("$v${{\"{}\"}}$v$", text.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        let mut sets = self.one(&statements, array)?;
        let set = &mut sets[0];
        assert_eq!(set.columns.remove(0), "call", "the first column says whose the row is");
        for row in &mut set.rows {
            assert_eq!(row.remove(0), Value::Int64(1), "the only call");
        }
        Ok(sets)
    }
}

impl Psql {
    fn one(&self, statements: &[Statement], param: impl Fn(&Value) -> String) -> Result<Vec<RowSet>, Error> {
        assert_eq!(statements.len(), 1, "the store makes one statement of each step");
        let statement = &statements[0];
        let params = statement.params.iter().map(param).collect::<Vec<_>>().join(", ");
        let output =
            self.script(&format!("PREPARE p AS {};\nEXECUTE p({params});\n", statement.sql)).map_err(|error| {
                match error.split("CONSTRAINT NAME:").nth(1) {
                    Some(name) => Error::Conflict(Violation {
                        constraint: name.split_whitespace().next().unwrap().into(),
                        statement: 0,
                    }),
                    None => Error::Invalid(error),
                }
            })?;
        let mut lines: Vec<&str> = output.lines().skip(1).collect();
        let tag = |line: &&str| {
            let (word, count) = line.rsplit_once(' ').unwrap_or_default();
            matches!(word, "UPDATE" | "DELETE" | "INSERT 0").then(|| count.parse::<u64>().ok()).flatten()
        };
        let tagged = lines.last().and_then(tag);
        if tagged.is_some() {
            lines.pop();
        }
        let mut lines = lines.into_iter();
        let columns: Vec<String> =
            lines.next().map(|line| line.split('\x1f').map(str::to_owned).collect()).unwrap_or_default();
        let rows: Vec<Vec<Value>> = lines
            .map(|line| line.split('\x1f').zip(&columns).map(|(text, column)| value(column, text)).collect())
            .collect();
        Ok(vec![RowSet { rows_affected: tagged.unwrap_or(rows.len() as u64), columns, rows }])
    }
}
