//! The manifest as it is written: the shape of a wadm application (OAM `core.oam.dev/v1beta1`). Every key that is not known is an error
//! that says where it stands; each component and each trait is read on its own, so that one mistake does not hide the next.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_norway::Value;

const API_VERSION: &str = "core.oam.dev/v1beta1";
const KIND: &str = "Application";

/// A place in a file and what is wrong there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ParseError {
    /// For example ``spec.components[1] (`cart`).traits[0].properties.target``.
    pub place: String,
    /// What is wrong, and what is expected.
    pub problem: String,
}

/// A wadm application manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    pub(super) metadata: Metadata,
    pub(super) components: Vec<Component>,
    pub(super) policies: Vec<Policy>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: String,
    /// wadm insists on it, even if it is empty.
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, rename = "labels")]
    _labels: BTreeMap<String, String>,
}

/// What an entry of `spec.components` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ComponentKind {
    /// A guest.
    Component,
    /// Something that the platform gives.
    Capability,
}

#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) name: String,
    pub(super) kind: ComponentKind,
    pub(super) properties: Properties,
    pub(super) scalers: Vec<Scaler>,
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Properties {
    pub(super) image: Option<String>,
    pub(super) application: Option<SharedComponent>,
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) config: Vec<Config>,
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
}

/// A component of another application: read, so that the error can say that this host has one application only.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SharedComponent {
    pub(super) name: String,
    pub(super) component: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) name: String,
    /// Without them the config is external.
    pub(super) properties: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) properties: SecretReference,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretReference {
    pub(super) policy: String,
    pub(super) key: String,
    pub(super) field: Option<String>,
    pub(super) version: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scaler {
    pub(super) instances: u32,
    /// Which hosts of a lattice: one host alone runs all of them.
    #[serde(default, rename = "spread")]
    _spread: Vec<Spread>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Spread {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "requirements")]
    _requirements: BTreeMap<String, String>,
    #[serde(rename = "weight")]
    _weight: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Link {
    pub(super) name: Option<String>,
    pub(super) namespace: String,
    pub(super) package: String,
    pub(super) interfaces: Vec<String>,
    #[serde(default)]
    pub(super) source: LinkSource,
    pub(super) target: LinkTarget,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkSource {
    #[serde(default)]
    pub(super) config: Vec<Config>,
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkTarget {
    pub(super) name: String,
    #[serde(default)]
    pub(super) config: Vec<Config>,
    #[serde(default)]
    pub(super) secrets: Vec<Secret>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) properties: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Specification,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Specification {
    components: Vec<Value>,
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentEntry {
    name: String,
    #[serde(rename = "type")]
    kind: ComponentKind,
    properties: Properties,
    #[serde(default)]
    traits: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TraitEntry {
    #[serde(rename = "type")]
    kind: TraitKind,
    properties: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TraitKind {
    Spreadscaler,
    Daemonscaler,
    Link,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Everything that does not have the shape of a manifest; values are checked by [`plan`](super::plan).
    pub fn parse(yaml: &str) -> Result<Self, Vec<ParseError>> {
        let value = parse_yaml(yaml).map_err(|error| vec![error])?;
        let document: Document = read(value, "").map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        for (place, found, expected) in
            [("apiVersion", &document.api_version, API_VERSION), ("kind", &document.kind, KIND)]
        {
            if found != expected {
                errors.push(ParseError {
                    place: place.into(),
                    problem: format!("`{found}` is not supported, expected `{expected}`"),
                });
            }
        }
        let mut components = Vec::new();
        for (index, value) in document.spec.components.into_iter().enumerate() {
            let name = value.get("name").and_then(Value::as_str).map(|name| format!(" (`{name}`)")).unwrap_or_default();
            components.extend(read_component(value, &format!("spec.components[{index}]{name}"), &mut errors));
        }
        if components.is_empty() && errors.is_empty() {
            errors.push(ParseError { place: "spec.components".into(), problem: "is empty: nothing would run".into() });
        }
        if errors.is_empty() {
            Ok(Self { metadata: document.metadata, components, policies: document.spec.policies })
        } else {
            Err(errors)
        }
    }
}

fn read_component(value: Value, place: &str, errors: &mut Vec<ParseError>) -> Option<Component> {
    let entry: ComponentEntry = read(value, place).map_err(|error| errors.push(error)).ok()?;
    let (mut scalers, mut links) = (Vec::new(), Vec::new());
    for (index, value) in entry.traits.into_iter().enumerate() {
        let place = format!("{place}.traits[{index}]");
        let read_trait = || -> Result<(), ParseError> {
            let entry: TraitEntry = read(value, &place)?;
            let place = format!("{place}.properties");
            match entry.kind {
                TraitKind::Spreadscaler | TraitKind::Daemonscaler => scalers.push(read(entry.properties, &place)?),
                TraitKind::Link => links.push(read(entry.properties, &place)?),
            }
            Ok(())
        };
        if let Err(error) = read_trait() {
            errors.push(error);
        }
    }
    Some(Component { name: entry.name, kind: entry.kind, properties: entry.properties, scalers, links })
}

/// YAML to a value; refuses a key that stands twice in one mapping.
pub(super) fn parse_yaml(yaml: &str) -> Result<Value, ParseError> {
    serde_norway::from_str(yaml).map_err(|error| ParseError { place: "YAML".into(), problem: error.to_string() })
}

/// A value to a type, with the path from `place` in the error.
pub(super) fn read<T: DeserializeOwned>(value: Value, place: &str) -> Result<T, ParseError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let mut problem = error.inner().to_string();
        if problem.starts_with("invalid type") && problem.ends_with("expected a string") {
            problem.push_str(" (write it in quotes)");
        }
        let place = match (place, inner.as_str()) {
            ("", ".") => "manifest".to_owned(),
            ("", inner) => inner.to_owned(),
            (place, ".") => place.to_owned(),
            (place, inner) => format!("{place}.{inner}"),
        };
        ParseError { place, problem }
    })
}
