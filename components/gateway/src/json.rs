//! Strict reading of a JSON body: no duplicate or unknown members, no byte order mark, no trailing data, integers that are integers.
//! Invariant: every refusal names the place (JSON pointer) and what was expected there.

use std::fmt;
use std::ops::RangeInclusive;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// Why a body was refused: `<pointer>: <what was expected>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub String);

fn refused<T>(pointer: &str, expected: impl fmt::Display) -> Result<T, Refused> {
    let place = if pointer.is_empty() { "the body" } else { pointer };
    Err(Refused(format!("{place}: {expected}")))
}

/// A JSON value that keeps duplicate members, so that they can be refused with their place.
#[derive(Debug)]
enum Value {
    Null,
    Boolean,
    Integer(i128),
    Fraction,
    Text(String),
    Array(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
                Ok(Value::Boolean)
            }
            fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Integer(number.into()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
                Ok(Value::Integer(number.into()))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
                Ok(Value::Fraction)
            }
            fn visit_str<E>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
                let mut list: Vec<(String, Value)> = Vec::new();
                while let Some(member) = members.next_entry()? {
                    list.push(member);
                    if list.len() > MEMBERS_MAX {
                        return Err(A::Error::custom("an object has too many members"));
                    }
                }
                Ok(Value::Object(list))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}

/// More members than any object of ours has; keeps the search for duplicates short.
const MEMBERS_MAX: usize = 64;

/// A value with its place.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    value: &'a Value,
    pointer: String,
}

/// A parsed body.
#[derive(Debug)]
pub struct Document(Value);

impl Document {
    /// Parses a body.
    ///
    /// # Errors
    /// When it is no JSON, or not strict JSON.
    pub fn parse(body: &[u8]) -> Result<Self, Refused> {
        if body.starts_with(b"\xef\xbb\xbf") {
            return refused("", "starts with a byte order mark");
        }
        if body.iter().all(u8::is_ascii_whitespace) {
            return refused("", "is empty; expected a JSON object");
        }
        if std::str::from_utf8(body).is_err() {
            return refused("", "is not UTF-8");
        }
        let value: Value =
            serde_json::from_slice(body).or_else(|error| refused("", format!("is not JSON: {error}")))?;
        check_duplicates(&value, "")?;
        Ok(Self(value))
    }

    /// The whole.
    #[must_use]
    pub fn root(&self) -> Node<'_> {
        Node { value: &self.0, pointer: String::new() }
    }
}

fn escape(name: &str) -> String {
    // What a client sends is repeated only in part and only if it can be shown.
    let shown: String = name.chars().filter(|letter| !letter.is_control()).take(64).collect();
    shown.replace('~', "~0").replace('/', "~1")
}

fn check_duplicates(value: &Value, pointer: &str) -> Result<(), Refused> {
    match value {
        Value::Object(members) => members.iter().enumerate().try_for_each(|(index, (name, value))| {
            let pointer = format!("{pointer}/{}", escape(name));
            if members.iter().take(index).any(|(earlier, _)| earlier == name) {
                return refused(&pointer, "occurs more than once");
            }
            check_duplicates(value, &pointer)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| check_duplicates(value, &format!("{pointer}/{index}"))),
        _ => Ok(()),
    }
}

/// An object whose members are all known.
#[derive(Debug)]
pub struct Object<'a> {
    members: &'a [(String, Value)],
    pointer: String,
}

impl<'a> Node<'a> {
    /// An object with no members but these.
    ///
    /// # Errors
    /// When it is none, or has another.
    pub fn object(&self, known: &[&str]) -> Result<Object<'a>, Refused> {
        let Value::Object(members) = self.value else { return refused(&self.pointer, "must be an object") };
        match members.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => refused(
                &format!("{}/{}", self.pointer, escape(name)),
                format!("is not known; known are {}", known.join(", ")),
            ),
            None => Ok(Object { members, pointer: self.pointer.clone() }),
        }
    }

    /// The items of an array.
    ///
    /// # Errors
    /// When it is none, or has too few or too many.
    pub fn array(&self, length: RangeInclusive<usize>) -> Result<Vec<Node<'a>>, Refused> {
        match self.value {
            Value::Array(items) if length.contains(&items.len()) => {
                let node = |(index, value)| Node { value, pointer: format!("{}/{index}", self.pointer) };
                Ok(items.iter().enumerate().map(node).collect())
            }
            _ => refused(&self.pointer, format!("must be an array of {} to {} items", length.start(), length.end())),
        }
    }

    /// An integer in a range. `1.0`, `1e0` and `"1"` are none.
    ///
    /// # Errors
    /// When it is none, or outside.
    pub fn integer<T: Into<i128> + TryFrom<i128> + Copy + fmt::Display>(
        &self,
        range: RangeInclusive<T>,
    ) -> Result<T, Refused> {
        let (least, most) = (*range.start(), *range.end());
        match self.value {
            Value::Integer(number) if (least.into()..=most.into()).contains(number) => T::try_from(*number).ok(),
            _ => None,
        }
        .map_or_else(|| refused(&self.pointer, format!("must be an integer from {least} to {most}")), Ok)
    }

    /// A text that a test accepts; `expected` says what that is.
    ///
    /// # Errors
    /// When it is none, or the test says no.
    pub fn text(&self, accept: impl Fn(&str) -> bool, expected: &str) -> Result<&'a str, Refused> {
        match self.value {
            Value::Text(text) if accept(text) => Ok(text),
            _ => refused(&self.pointer, format!("must be {expected}")),
        }
    }

    /// Refuses this place.
    ///
    /// # Errors
    /// Always.
    pub fn refuse<T>(&self, why: &str) -> Result<T, Refused> {
        refused(&self.pointer, why)
    }
}

impl<'a> Object<'a> {
    /// A member that must be there.
    ///
    /// # Errors
    /// When it is not.
    pub fn member(&self, name: &str) -> Result<Node<'a>, Refused> {
        let pointer = format!("{}/{name}", self.pointer);
        match self.members.iter().find(|(member, _)| member == name) {
            Some((_, value)) => Ok(Node { value, pointer }),
            None => refused(&pointer, "is missing"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn why(body: &str) -> String {
        let read = || -> Result<i64, Refused> {
            let document = Document::parse(body.as_bytes())?;
            document.root().object(&["n"])?.member("n")?.integer(1_i64..=10)
        };
        read().unwrap_err().0
    }

    #[test]
    fn what_is_not_strict_is_refused_with_its_place() {
        assert_eq!(why(""), "the body: is empty; expected a JSON object");
        assert_eq!(why("\u{feff}{}"), "the body: starts with a byte order mark");
        assert!(why("{\"n\":1} x").starts_with("the body: is not JSON: trailing characters"));
        assert!(why("{\"n\":1}{\"n\":1}").starts_with("the body: is not JSON: trailing characters"));
        assert!(why("{n:1}").starts_with("the body: is not JSON"));
        assert!(why("{\"n\":1,}").starts_with("the body: is not JSON"));
        assert!(why("{\"n\":\"\\ud800\"}").starts_with("the body: is not JSON"));
        assert!(why("{\"n\":NaN}").starts_with("the body: is not JSON"));
        assert!(why(&("[".repeat(200) + &"]".repeat(200))).contains("recursion limit"));
        assert_eq!(why("[]"), "the body: must be an object");
        assert_eq!(why("null"), "the body: must be an object");
        assert_eq!(why("{}"), "/n: is missing");
        assert_eq!(why("{\"n\":1,\"n\":1}"), "/n: occurs more than once");
        assert_eq!(why("{\"a\":{\"b\":[{\"c\":1,\"c\":2}]}}"), "/a/b/0/c: occurs more than once");
        assert_eq!(why("{\"n\":1,\"m/~\":2}"), "/m~1~0: is not known; known are n");
        for number in
            ["1.0", "1e0", "\"1\"", "0", "11", "-1", "-0", "true", "null", "[]", "{}", "18446744073709551616", "1e400"]
        {
            let reason = why(&format!("{{\"n\":{number}}}"));
            assert!(reason == "/n: must be an integer from 1 to 10" || number == "1e400", "{number}: {reason}");
        }
        let many: Vec<String> = (0..100).map(|index| format!("\"a{index}\":1")).collect();
        assert!(why(&format!("{{{}}}", many.join(","))).contains("too many members"));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(Document::parse(b"{\"n\":\"\xff\"}").unwrap_err().0, "the body: is not UTF-8");
    }

    #[test]
    fn what_is_strict_is_read() {
        let document = Document::parse(b" {\"n\":10 , \"t\":\"\\u00e4\", \"l\":[1,2]} ").unwrap();
        let object = document.root().object(&["n", "t", "l"]).unwrap();
        assert_eq!(object.member("n").unwrap().integer(1_u32..=10).unwrap(), 10);
        assert_eq!(object.member("t").unwrap().text(|_| true, "a text").unwrap(), "ä");
        let items = object.member("l").unwrap().array(1..=2).unwrap();
        assert_eq!(items[1].integer(0_u64..=9).unwrap(), 2);
        assert_eq!(object.member("l").unwrap().array(3..=4).unwrap_err().0, "/l: must be an array of 3 to 4 items");
    }
}
