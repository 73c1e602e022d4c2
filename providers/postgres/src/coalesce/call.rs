//! One call that waits to run together with others, and the arrays that several of them become.
//!
//! Invariant: a call's parameters are encoded before it joins the others, so that a wrong one is its owner's error alone.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, Postgres};
use sqlx::{Arguments, Encode, SqlStr, Type};
use tokio::sync::oneshot;

use crate::error::Error;
use crate::statement::Bound;
use crate::value::{RowSet, Statement, Value};

/// The column that says to which call a row belongs: the first, counted from 1 as `WITH ORDINALITY` does.
pub(crate) const CALL_COLUMN: &str = "call";

/// What the caller is told.
pub(crate) type Answer = Result<Vec<RowSet>, Error>;

/// One parameter of one call.
#[derive(Debug)]
struct Element {
    /// Of the scalar type; 0 for NULL, which fits every type.
    oid: u32,
    /// The binary form; `None` for NULL.
    bytes: Option<Vec<u8>>,
}

/// The parameters of a call's statements.
#[derive(Debug)]
pub(crate) struct Parameters(Vec<Vec<Element>>);

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Call {
    /// To find it again when its owner gives up waiting.
    pub(crate) number: u64,
    pub(crate) parameters: Parameters,
    pub(crate) answer: oneshot::Sender<Answer>,
}

impl Parameters {
    /// Encodes the parameters of a call whose statements were checked, and refuses what cannot be shared.
    pub(crate) fn encode(statements: &[Statement]) -> Result<Self, Error> {
        statements
            .iter()
            .enumerate()
            .map(|(index, statement)| {
                if statement.expected_rows.is_some() {
                    return Err(Error::Invalid(format!(
                        "statement {index}: a number of rows cannot be expected of a statement that calls share"
                    )));
                }
                if statement.params.is_empty() {
                    return Err(Error::Invalid(format!(
                        "statement {index}: calls that share a statement are told apart by its parameters, and it has none"
                    )));
                }
                let elements = statement.params.iter().enumerate();
                elements
                    .map(|(position, value)| {
                        Element::encode(value).map_err(|problem| {
                            Error::Invalid(format!("statement {index}: parameter ${}: {problem}", position + 1))
                        })
                    })
                    .collect()
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Bytes that travel.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().flatten().map(|element| element.bytes.as_ref().map_or(0, Vec::len)).sum()
    }
}

impl Element {
    fn encode(value: &Value) -> Result<Self, String> {
        if value.is_array() {
            return Err("an array cannot be an element of an array: give jsonb instead".to_owned());
        }
        let mut bytes = Vec::new();
        Ok(match value.write(&mut bytes)? {
            IsNull::Yes => Self { oid: 0, bytes: None },
            IsNull::No => Self { oid: value.oid(), bytes: Some(bytes) },
        })
    }
}

/// The types of the parameters of calls that were put together so far, statement by statement.
#[derive(Debug, Default)]
pub(crate) struct Types(Vec<Vec<u32>>);

impl Types {
    /// Takes the types of one more call, or says that it does not fit to the others.
    pub(crate) fn admit(&mut self, parameters: &Parameters) -> bool {
        if self.0.is_empty() {
            self.0 = parameters.0.iter().map(|elements| elements.iter().map(|element| element.oid).collect()).collect();
            return true;
        }
        let fits = self.0.len() == parameters.0.len()
            && self.0.iter().zip(&parameters.0).all(|(types, elements)| {
                types.len() == elements.len()
                    && types
                        .iter()
                        .zip(elements)
                        .all(|(oid, element)| *oid == 0 || element.oid == 0 || *oid == element.oid)
            });
        if fits {
            for (oid, element) in self.0.iter_mut().flatten().zip(parameters.0.iter().flatten()) {
                *oid = (*oid).max(element.oid);
            }
        }
        fits
    }
}

/// Makes one statement of each text, with one array per parameter and one element per call.
pub(crate) fn bind(texts: &[SqlStr], only_reads: &[bool], calls: &[Call]) -> Result<Vec<Bound>, Error> {
    texts
        .iter()
        .zip(only_reads)
        .enumerate()
        .map(|(index, (text, only_reads))| {
            let of = |call: &Call| call.parameters.0.get(index).map_or(0, Vec::len);
            let count = calls.first().map_or(0, of);
            let mut arguments = PgArguments::default();
            for position in 0..count {
                let elements = calls.iter().filter_map(|call| call.parameters.0.get(index)?.get(position));
                arguments.add(Array(elements.collect())).map_err(|error| {
                    Error::Invalid(format!("statement {index}: parameter ${}: {error}", position + 1))
                })?;
            }
            Ok(Bound {
                sql: text.clone(),
                // The text's own casts say what they are: then it is one prepared statement, whichever parameters are NULL.
                types: vec![Array::type_info(); count],
                arguments,
                expected_rows: None,
                only_reads: *only_reads,
                shared: true,
            })
        })
        .collect()
}

/// Gives each of `count` calls the rows that name it.
pub(crate) fn divide(sets: Vec<RowSet>, count: usize) -> Result<Vec<Vec<RowSet>>, String> {
    let mut answers: Vec<Vec<RowSet>> = (0..count).map(|_| Vec::with_capacity(sets.len())).collect();
    for set in sets {
        let columns: Vec<String> = set.columns.into_iter().skip(1).collect();
        for answer in &mut answers {
            answer.push(RowSet { rows_affected: 0, columns: columns.clone(), rows: Vec::new() });
        }
        for mut row in set.rows {
            let Some(Value::Int64(call)) = (!row.is_empty()).then(|| row.remove(0)) else {
                return Err(format!("a row's column `{CALL_COLUMN}` is no number"));
            };
            let own = usize::try_from(call).ok().and_then(|call| call.checked_sub(1));
            let own = own.and_then(|call| answers.get_mut(call)).and_then(|sets| sets.last_mut());
            let own = own.ok_or_else(|| format!("a row belongs to call {call} of {count}"))?;
            own.rows_affected += 1;
            own.rows.push(row);
        }
    }
    Ok(answers)
}

/// One dimension of elements of one type, some of which may be NULL: `array_recv` in PostgreSQL's `arrayfuncs.c`. If all are NULL it is
/// NULL itself, which `unnest` of several arrays reads the same way, because nothing says then what type they are.
struct Array<'a>(Vec<&'a Element>);

impl Array<'_> {
    fn write(&self, out: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(oid) = self.0.iter().map(|element| element.oid).find(|oid| *oid != 0) else {
            return Ok(IsNull::Yes);
        };
        out.extend(1_i32.to_be_bytes()); // dimensions
        let nulls = self.0.iter().any(|element| element.bytes.is_none());
        out.extend(i32::from(nulls).to_be_bytes());
        out.extend(oid.to_be_bytes());
        out.extend(i32::try_from(self.0.len())?.to_be_bytes());
        out.extend(1_i32.to_be_bytes()); // the first subscript
        for element in &self.0 {
            match &element.bytes {
                None => out.extend((-1_i32).to_be_bytes()),
                Some(bytes) => {
                    out.extend(i32::try_from(bytes.len())?.to_be_bytes());
                    out.extend(bytes);
                }
            }
        }
        Ok(IsNull::No)
    }
}

impl Type<Postgres> for Array<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Array<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.write(buffer)
    }
}

#[cfg(test)]
mod tests {
    //! Goal: what does not fit is seen before it joins others, and rows find their owner. Method: without a server.
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn encode(params: Vec<Value>) -> Result<Parameters, Error> {
        Parameters::encode(&[Statement { sql: "SELECT 1".to_owned(), params, expected_rows: None }])
    }

    #[test]
    fn a_wrong_parameter_is_its_owners_error() {
        for params in [vec![Value::Uuid("x".to_owned())], vec![Value::TextArray(Vec::new())], Vec::new()] {
            assert!(matches!(encode(params.clone()), Err(Error::Invalid(_))), "{params:?}");
        }
        let expecting = Statement { params: vec![Value::Int64(1)], expected_rows: Some(1), ..Statement::default() };
        assert!(matches!(Parameters::encode(&[expecting]), Err(Error::Invalid(_))));
    }

    #[test]
    fn null_fits_every_type_and_types_do_not_mix() {
        let mut types = Types::default();
        assert!(types.admit(&encode(vec![Value::Null, Value::Int64(1)]).unwrap()));
        assert!(types.admit(&encode(vec![Value::Text("a".to_owned()), Value::Null]).unwrap()));
        assert!(!types.admit(&encode(vec![Value::Int64(1), Value::Int64(1)]).unwrap()), "the first is text by now");
        assert!(!types.admit(&encode(vec![Value::Null]).unwrap()), "another number of parameters");
    }

    #[test]
    fn rows_go_to_the_call_they_name() {
        let set = RowSet {
            rows_affected: 3,
            columns: vec![CALL_COLUMN.to_owned(), "id".to_owned()],
            rows: [(3, "c"), (1, "a"), (3, "d")]
                .map(|(call, id)| vec![Value::Int64(call), Value::Text(id.to_owned())])
                .to_vec(),
        };
        let answers = divide(vec![set.clone()], 3).unwrap();
        let ids = |call: usize| answers[call][0].rows.concat();
        assert_eq!(ids(0), [Value::Text("a".to_owned())]);
        assert!(ids(1).is_empty() && answers[1][0].rows_affected == 0);
        assert_eq!(ids(2), [Value::Text("c".to_owned()), Value::Text("d".to_owned())]);
        assert_eq!(answers[2][0].columns, ["id"]);
        assert!(divide(vec![set], 2).is_err(), "nobody is the third of two");
    }
}
