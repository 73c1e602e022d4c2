//! Key-value settings of a component, a capability or one side of a link. Secrets keep their own type until a provider takes them, so
//! that nothing can print them by accident.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// Settings by key. No key is in both maps.
#[derive(Clone, Default)]
pub struct Settings {
    /// From `config`.
    pub values: BTreeMap<String, String>,
    /// From `secrets`.
    pub secrets: BTreeMap<String, SecretString>,
}

impl Settings {
    /// A value that is not secret.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// Whether there is neither a value nor a secret.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.secrets.is_empty()
    }

    /// All of it, secrets in plain text: for a provider's `Config::from_pairs`, and for nothing else.
    pub fn pairs(&self) -> impl Iterator<Item = (String, String)> + '_ {
        let values = self.values.iter().map(|(key, value)| (key.clone(), value.clone()));
        values.chain(self.secrets.iter().map(|(key, secret)| (key.clone(), secret.expose_secret().to_owned())))
    }
}

/// Shows a secret's key and `***`.
impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.values.iter().map(|(key, value)| (key, value.as_str()));
        formatter.debug_map().entries(values.chain(self.secrets.keys().map(|key| (key, "***")))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_hold_secrets_and_debug_does_not() {
        let settings = Settings {
            values: [("max_connections".to_owned(), "4".to_owned())].into(),
            secrets: [("url".to_owned(), SecretString::from("postgres://user:hunter2@db"))].into(),
        };
        let pairs: Vec<_> = settings.pairs().collect();
        assert_eq!(
            pairs,
            [("max_connections".into(), "4".into()), ("url".into(), "postgres://user:hunter2@db".into())]
        );
        assert_eq!(format!("{settings:?}"), r#"{"max_connections": "4", "url": "***"}"#);
    }
}
