//! A script's reply as a flat list of items.

use redis::Value;

/// One item of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Lua's `nil` or `false`.
    Nil,
    /// A number. Redis cuts off the decimals of a Lua number.
    Integer(i64),
    /// A string, which must be UTF-8, or a status.
    Text(String),
}

/// A list stays a list, anything else becomes a list of one.
pub(crate) fn items(value: Value) -> Result<Vec<Item>, String> {
    match value {
        Value::Array(values) | Value::Set(values) => values.into_iter().map(item).collect(),
        single => Ok(vec![item(single)?]),
    }
}

fn item(value: Value) -> Result<Item, String> {
    Ok(match value {
        Value::Nil => Item::Nil,
        Value::Int(number) => Item::Integer(number),
        Value::Boolean(truth) => Item::Integer(i64::from(truth)),
        Value::BulkString(bytes) => {
            Item::Text(String::from_utf8(bytes).map_err(|_| "the reply holds a string that is not UTF-8".to_owned())?)
        }
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Item::Text(text),
        Value::Okay => Item::Text("OK".to_owned()),
        Value::ServerError(error) => return Err(format!("the reply holds an error: {error}")),
        Value::Array(_) | Value::Set(_) | Value::Map(_) => {
            return Err("the reply holds a list within a list".to_owned());
        }
        other => return Err(format!("the reply holds a value that is not supported: {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_replies_only() {
        let text = |text: &str| Item::Text(text.to_owned());
        let list = Value::Array(vec![
            Value::Int(1),
            Value::Nil,
            Value::BulkString(b"x".to_vec()),
            Value::Okay,
            Value::SimpleString("s".to_owned()),
        ]);
        assert_eq!(items(list), Ok(vec![Item::Integer(1), Item::Nil, text("x"), text("OK"), text("s")]));
        assert_eq!(items(Value::Nil), Ok(vec![Item::Nil]));
        assert_eq!(items(Value::Array(vec![])), Ok(vec![]));
        assert!(items(Value::Array(vec![Value::Array(vec![])])).is_err());
        assert!(items(Value::BulkString(vec![0xff])).is_err());
        assert!(items(Value::Double(0.5)).is_err());
        assert!(items(Value::Map(vec![])).is_err());
    }
}
