//! From names of configs to settings: maps are merged, the last one wins; a name that starts with `SECRET_` refers to a secret, which is
//! read from this host's environment or files and stays in a type that prints nothing.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::wire::ConfigMap;
use crate::manifest::{POLICY_PREFIX, SecretBackend, SecretError, SecretSource, Settings};

/// What the name of a stored secret reference starts with.
pub(crate) const SECRET_PREFIX: &str = "SECRET_";

/// Whose settings they are: it decides which key a secret fills (ADR 0009).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The secret's name is the key.
    Component,
    /// What stands up to the last hyphen of the secret's name only sets it apart.
    Other,
}

/// Why settings cannot be had. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("the lattice has no config `{0}`")]
    Missing(String),
    #[error("`{0}` is no reference to a secret: it needs `name`, `backend` and `key`")]
    NotAReference(String),
    #[error("the secret `{secret}` has the backend `{backend}`, this host knows `env` and `file`")]
    Backend { secret: String, backend: String },
    #[error("the secret `{secret}` has a `{option}`, which the backends `env` and `file` do not know")]
    Option { secret: String, option: &'static str },
    #[error("the secret `{secret}` is missing: {source}")]
    Secret { secret: String, source: SecretError },
}

/// Where values come from.
pub(crate) struct Sources<'a> {
    pub(crate) configs: &'a dyn Fn(&str) -> Option<ConfigMap>,
    pub(crate) secrets: &'a dyn SecretSource,
}

/// Merges the named configs.
pub(crate) fn resolve(names: &[String], owner: Owner, sources: &Sources<'_>) -> Result<Settings, SettingsError> {
    let mut settings = Settings::default();
    for name in names {
        let content = (sources.configs)(name).ok_or_else(|| SettingsError::Missing(name.clone()))?;
        if name.starts_with(SECRET_PREFIX) {
            let (key, value) = secret(name, &content, owner, sources.secrets)?;
            settings.values.remove(&key);
            settings.secrets.insert(key, value);
            continue;
        }
        for (key, value) in content {
            settings.secrets.remove(&key);
            settings.values.insert(key, value);
        }
    }
    Ok(settings)
}

/// The keys of a link's policy alone. No secret is read for them.
pub(crate) fn resolve_policy(
    names: &[String],
    configs: &dyn Fn(&str) -> Option<ConfigMap>,
) -> Result<Settings, SettingsError> {
    let mut settings = Settings::default();
    for name in names.iter().filter(|name| !name.starts_with(SECRET_PREFIX)) {
        let content = configs(name).ok_or_else(|| SettingsError::Missing(name.clone()))?;
        settings.values.extend(content.into_iter().filter(|(key, _)| key.starts_with(POLICY_PREFIX)));
    }
    Ok(settings)
}

fn secret(
    stored: &str,
    reference: &BTreeMap<String, String>,
    owner: Owner,
    secrets: &dyn SecretSource,
) -> Result<(String, SecretString), SettingsError> {
    let field = |key: &str| {
        let value = reference.get(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| SettingsError::NotAReference(stored.to_owned()))
    };
    // The stored name has the application's prefix and another spelling; this is the one that stands in the manifest.
    let name = field("name")?;
    for option in ["field", "version"] {
        if reference.get(option).is_some_and(|value| !value.is_empty()) {
            return Err(SettingsError::Option { secret: name.clone(), option });
        }
    }
    let backend = match field("backend")?.as_str() {
        "env" => SecretBackend::Env,
        "file" => SecretBackend::File,
        other => return Err(SettingsError::Backend { secret: name.clone(), backend: other.to_owned() }),
    };
    let value = secrets.read(backend, field("key")?);
    let value = value.map_err(|source| SettingsError::Secret { secret: name.clone(), source })?;
    let key = match owner {
        Owner::Component => name.as_str(),
        Owner::Other => name.rsplit_once('-').map_or(name.as_str(), |(_, key)| key),
    };
    Ok((key.to_owned(), value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::manifest::MapSecrets;

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn get(names: &[&str], owner: Owner) -> Result<Vec<(String, String)>, String> {
        let configs = |name: &str| match name {
            "base" => Some(map(&[("greeting", "hello"), ("size", "1")])),
            "over" => Some(map(&[("size", "2")])),
            // As wadm 0.21.1 and wash 0.43.0 store it.
            "SECRET_shop-carts_url" => Some(map(&[
                ("name", "carts-url"),
                ("backend", "env"),
                ("key", "CARTS_URL"),
                ("policy", r#"{"type":"properties.secret.wasmcloud.dev/v1alpha1","properties":{}}"#),
                ("type", "secret.wasmcloud.dev/v1alpha1"),
            ])),
            "SECRET_vault" => Some(map(&[("name", "a"), ("backend", "vault"), ("key", "k")])),
            "SECRET_field" => Some(map(&[("name", "a"), ("backend", "env"), ("key", "k"), ("field", "f")])),
            "SECRET_gone" => Some(map(&[("name", "a"), ("backend", "env"), ("key", "GONE")])),
            "SECRET_none" => Some(map(&[("size", "2")])),
            _ => None,
        };
        let secrets: MapSecrets = [("CARTS_URL", "postgres://hunter2")].into_iter().collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let settings = resolve(&names, owner, &Sources { configs: &configs, secrets: &secrets });
        settings.map(|settings| settings.pairs().collect()).map_err(|error| error.to_string())
    }

    fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_last_config_wins() {
        assert_eq!(get(&["base", "over"], Owner::Component), pairs(&[("greeting", "hello"), ("size", "2")]));
        assert_eq!(get(&["over", "base"], Owner::Component), pairs(&[("greeting", "hello"), ("size", "1")]));
        assert_eq!(get(&[], Owner::Component), pairs(&[]));
    }

    #[test]
    fn a_secret_fills_the_key_of_its_name_in_the_manifest() {
        let url = "postgres://hunter2";
        assert_eq!(get(&["SECRET_shop-carts_url"], Owner::Component), pairs(&[("carts-url", url)]));
        assert_eq!(get(&["over", "SECRET_shop-carts_url"], Owner::Other), pairs(&[("size", "2"), ("url", url)]));
    }

    #[test]
    fn of_a_policy_nothing_else_is_read() {
        let configs = |name: &str| match name {
            "policy" => Some(map(&[("policy.deadline_ms", "5"), ("address", "x")])),
            "over" => Some(map(&[("policy.deadline_ms", "7")])),
            _ => None,
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let settings = resolve_policy(&names(&["policy", "SECRET_gone", "over"]), &configs).unwrap();
        assert_eq!(settings.pairs().collect::<Vec<_>>(), [("policy.deadline_ms".to_owned(), "7".to_owned())]);
        let error = resolve_policy(&names(&["nothing"]), &configs).unwrap_err();
        assert_eq!(error.to_string(), "the lattice has no config `nothing`");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (name, expected) in [
            ("nothing", "no config `nothing`"),
            ("SECRET_none", "`SECRET_none` is no reference"),
            ("SECRET_vault", "backend `vault`"),
            ("SECRET_field", "has a `field`"),
            ("SECRET_gone", "`a` is missing: environment variable `GONE` is not set"),
        ] {
            let error = get(&[name], Owner::Other).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
