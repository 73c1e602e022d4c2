//! Settings with all their values: named configs, external ones, and secrets. wadm keeps configs and secrets of an application side by
//! side under one name each, so that two definitions of one name are an error even when this host could tell them apart.

use std::collections::BTreeMap;

use secrecy::SecretString;

use super::super::document::{Config, Secret};
use super::super::options::PREFIX;
use super::super::policy;
use super::super::problem::PlanError;
use super::super::settings::Settings;
use super::super::sources::SecretBackend;
use super::{Definition, Owner, OwnerKind, Planner, is_name};

const SECRET_POLICY: &str = "policy.secret.wasmcloud.dev/v1alpha1";

impl<'a> Planner<'a> {
    pub(super) fn policies(&mut self) {
        for policy in &self.manifest.policies {
            let name = policy.name.clone();
            let backend = match policy.properties.get("backend").map(String::as_str) {
                Some("env") => Ok(SecretBackend::Env),
                Some("file") => Ok(SecretBackend::File),
                Some(backend) => Err(PlanError::PolicyBackend { policy: name.clone(), backend: backend.into() }),
                None => Err(PlanError::NoPolicyBackend { policy: name.clone() }),
            };
            let usable = if policy.kind == SECRET_POLICY {
                backend.map_err(|error| self.errors.push(error)).ok()
            } else {
                self.errors.push(PlanError::PolicyType { policy: name.clone(), kind: policy.kind.clone() });
                None
            };
            for property in policy.properties.keys().filter(|property| *property != "backend") {
                self.errors.push(PlanError::PolicyProperty { policy: name.clone(), property: property.clone() });
            }
            if self.policies.insert(&policy.name, usable).is_some() {
                self.errors.push(PlanError::DuplicatePolicy { policy: name });
            }
        }
    }

    pub(super) fn settings(&mut self, owner: &Owner, configs: &'a [Config], secrets: &'a [Secret]) -> Settings {
        let mut settings = Settings::default();
        let mut given_by: BTreeMap<String, &str> = BTreeMap::new();
        let place = &owner.place;
        for config in configs {
            for (key, value) in self.config(owner, config).into_iter().flatten() {
                if key.is_empty() {
                    self.errors.push(PlanError::EmptyKey { place: place.clone(), config: config.name.clone() });
                } else if key.starts_with(PREFIX) && owner.kind != OwnerKind::Component {
                    self.errors.push(PlanError::MisplacedOption { place: place.clone(), key: key.clone() });
                } else if key.starts_with(policy::PREFIX)
                    && matches!(owner.kind, OwnerKind::Capability | OwnerKind::Link)
                {
                    self.errors.push(PlanError::MisplacedPolicy { place: place.clone(), key: key.clone() });
                }
                if let Some(first) = given_by.insert(key.clone(), &config.name) {
                    let (first, second) = (first.to_owned(), config.name.clone());
                    self.errors.push(PlanError::DuplicateKey { place: place.clone(), key: key.clone(), first, second });
                }
                settings.values.insert(key.clone(), value.clone());
            }
        }
        for secret in secrets {
            let key = secret_key(owner.kind, &secret.name);
            if let Some(first) = given_by.insert(key.to_owned(), &secret.name) {
                let (first, second) = (first.to_owned(), secret.name.clone());
                self.errors.push(PlanError::DuplicateKey { place: place.clone(), key: key.to_owned(), first, second });
                continue;
            }
            if let Some(value) = self.secret(owner, secret, key) {
                settings.secrets.insert(key.to_owned(), value);
            }
        }
        settings
    }

    fn config(&mut self, owner: &Owner, config: &'a Config) -> Option<&'a BTreeMap<String, String>> {
        self.entry_name(owner, &config.name);
        let Some(content) = &config.properties else {
            let found = self.externals.get(&config.name);
            if found.is_none() {
                let known = self.externals.names().collect::<Vec<_>>().join(", ");
                let known = if known.is_empty() { "(the config file is empty or not given)".into() } else { known };
                self.errors.push(PlanError::NoExternalConfig {
                    place: owner.place.clone(),
                    config: config.name.clone(),
                    known,
                });
            }
            return found;
        };
        let definition = Definition { place: owner.place.clone(), of_link: owner.kind.of_link(), content };
        let stored = self.stored_name(&config.name);
        if let Some(first) = self.configs.get(&stored) {
            // wadm refuses a second definition on links even when it says the same.
            if first.content != content || (first.of_link && definition.of_link) {
                let (first, second) = (first.place.clone(), definition.place);
                self.errors.push(PlanError::DuplicateConfig { config: config.name.clone(), first, second });
            }
        } else {
            self.configs.insert(stored, definition);
        }
        Some(content)
    }

    fn secret(&mut self, owner: &Owner, secret: &'a Secret, key: &str) -> Option<SecretString> {
        self.entry_name(owner, &secret.name);
        let reference = &secret.properties;
        let (place, name) = (owner.place.clone(), secret.name.clone());
        for (option, value) in [("field", &reference.field), ("version", &reference.version)] {
            if value.is_some() {
                self.errors.push(PlanError::SecretOption { place: place.clone(), secret: name.clone(), option });
            }
        }
        let stored = self.stored_name(&secret.name);
        if let Some(first) = self.secret_names.get(&stored) {
            if first.content != reference {
                let (first, second) = (first.place.clone(), place.clone());
                self.errors.push(PlanError::DuplicateSecret {
                    secret: name.clone(),
                    key: key.to_owned(),
                    first,
                    second,
                });
            }
        } else {
            let of_link = owner.kind.of_link();
            self.secret_names.insert(stored, Definition { place: place.clone(), of_link, content: reference });
        }
        let Some(backend) = self.policies.get(reference.policy.as_str()) else {
            self.errors.push(PlanError::NoPolicy { place, secret: name, policy: reference.policy.clone() });
            return None;
        };
        let value = self.secrets.read((*backend)?, &reference.key);
        value.map_err(|source| self.errors.push(PlanError::Secret { place, secret: name, source })).ok()
    }

    fn entry_name(&mut self, owner: &Owner, name: &str) {
        if !is_name(name) {
            self.errors.push(PlanError::EntryName { place: owner.place.clone(), name: name.into() });
        }
    }
}

/// The config key that a secret fills.
fn secret_key(owner: OwnerKind, name: &str) -> &str {
    match owner {
        OwnerKind::Component => name,
        OwnerKind::Capability | OwnerKind::LinkSource | OwnerKind::Link => {
            name.rsplit_once('-').map_or(name, |(_, key)| key)
        }
    }
}
