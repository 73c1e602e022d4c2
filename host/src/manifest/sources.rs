//! What a manifest refers to but does not hold: external configs and secrets. Secrets are asked for one by one and never listed.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_norway::Value;

use super::document::{ParseError, parse_yaml, read};

/// Configs that a manifest names without `properties`: name -> key -> value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExternalConfigs(BTreeMap<String, BTreeMap<String, String>>);

impl ExternalConfigs {
    /// Reads a YAML file of the form `name: {key: value}`. Values are text, numbers or booleans.
    ///
    /// # Errors
    /// Names every entry that has another form.
    pub fn parse(yaml: &str) -> Result<Self, Vec<ParseError>> {
        let value = parse_yaml(yaml).map_err(|error| vec![error])?;
        if value.is_null() {
            return Ok(Self::default());
        }
        let configs: BTreeMap<String, BTreeMap<String, Value>> = read(value, "").map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        let mut scalar = |name: &str, key: &str, value: Value| match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Bool(boolean) => boolean.to_string(),
            _ => {
                let problem = "expected text, a number or a boolean (a list is written as text: `a,b`)".to_owned();
                errors.push(ParseError { place: format!("{name}.{key}"), problem });
                String::new()
            }
        };
        let mut resolved = BTreeMap::new();
        for (name, entries) in configs {
            let entries = entries.into_iter().map(|(key, value)| (key.clone(), scalar(&name, &key, value))).collect();
            resolved.insert(name, entries);
        }
        if errors.is_empty() { Ok(Self(resolved)) } else { Err(errors) }
    }

    /// The config with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.0.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, BTreeMap<String, String>)> for ExternalConfigs {
    fn from_iter<T: IntoIterator<Item = (String, BTreeMap<String, String>)>>(configs: T) -> Self {
        Self(configs.into_iter().collect())
    }
}

/// Where a secret is kept: the `backend` of its policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretBackend {
    /// The key is the name of an environment variable.
    Env,
    /// The key is the path of a file.
    File,
}

/// Why a secret cannot be had. Never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The environment has no such variable.
    #[error("environment variable `{0}` is not set")]
    NotSet(String),
    /// The variable or file is empty.
    #[error("`{0}` is empty")]
    Empty(String),
    /// The variable or file holds no UTF-8.
    #[error("`{0}` is not UTF-8 text")]
    NotText(String),
    /// The file is larger than a secret may be.
    #[error("file `{path}` is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The file.
        path: String,
        /// What is allowed.
        limit_bytes: u64,
    },
    /// The file cannot be read.
    #[error("file `{path}` cannot be read: {problem}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
}

/// Gives secrets by backend and key.
pub trait SecretSource {
    /// One secret, never empty.
    ///
    /// # Errors
    /// When there is none.
    fn read(&self, backend: SecretBackend, key: &str) -> Result<SecretString, SecretError>;
}

/// Secrets from a map, whatever the backend: for tests.
#[derive(Debug, Clone, Default)]
pub struct MapSecrets(BTreeMap<String, SecretString>);

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for MapSecrets {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(secrets: T) -> Self {
        Self(secrets.into_iter().map(|(key, value)| (key.into(), SecretString::from(value.into()))).collect())
    }
}

impl SecretSource for MapSecrets {
    fn read(&self, _backend: SecretBackend, key: &str) -> Result<SecretString, SecretError> {
        self.0.get(key).cloned().ok_or_else(|| SecretError::NotSet(key.into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn external_configs_take_scalars_only() {
        let configs =
            ExternalConfigs::parse("edge: {address: '127.0.0.1:0', limit: 50, open: true}\nkafka: {}\n").unwrap();
        let edge = configs.get("edge").unwrap();
        assert_eq!(edge.get("limit").map(String::as_str), Some("50"));
        assert_eq!(edge.get("open").map(String::as_str), Some("true"));
        assert_eq!(configs.names().collect::<Vec<_>>(), ["edge", "kafka"]);
        assert_eq!(ExternalConfigs::parse("# nothing\n").unwrap(), ExternalConfigs::default());

        let errors = ExternalConfigs::parse("edge: {a: [1], b: {c: d}, e: null}").unwrap_err();
        assert_eq!(errors.iter().map(|error| error.place.as_str()).collect::<Vec<_>>(), ["edge.a", "edge.b", "edge.e"]);
        let errors = ExternalConfigs::parse("edge: 7").unwrap_err();
        assert_eq!(errors.first().unwrap().to_string(), "edge: invalid type: integer `7`, expected a map");
    }
}
