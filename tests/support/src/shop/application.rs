//! The application manifest as wadm takes it, and the configs that it only names. Invariant: nothing of a manifest is changed but what a
//! function here says, so that what is deployed is the file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Configs by name, each a map of text. The same form as the file of `swiftcart-host --config-file`.
pub type Configs = BTreeMap<String, BTreeMap<String, String>>;

/// Digits of the digest in a pinned version: enough to tell the few edits of one manifest apart.
const DIGITS: usize = 12;

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    document: Value,
}

impl Application {
    /// Reads a YAML file.
    ///
    /// # Errors
    /// When it is none, or has no name or no components.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let document = serde_norway::from_str(&text).with_context(|| format!("reading {}", path.display()))?;
        let application = Self { document };
        ensure!(!application.name().is_empty(), "{} has no metadata.name", path.display());
        ensure!(!application.components().is_empty(), "{} has no components", path.display());
        Ok(application)
    }

    /// What wadm's `model.put` takes.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// `metadata.name`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// The annotation `version`.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        self.document.pointer("/metadata/annotations/version").and_then(Value::as_str)
    }

    /// Adds a digest of the content to the version: wadm keeps a version for good and refuses another content under it.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        let digest = Sha256::digest(self.document.to_string());
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let version =
            format!("{}-c{}", self.version().unwrap_or("0.0.0"), digits.get(..DIGITS).unwrap_or(digits.as_str()));
        if let Some(metadata) = self.document.get_mut("metadata").and_then(Value::as_object_mut) {
            let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
            if let Some(annotations) = annotations.as_object_mut() {
                annotations.insert("version".to_owned(), json!(version));
            }
        }
        self
    }

    /// The id in a lattice of the component or capability with this name; `None` if there is none.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<String> {
        let component = self.components().into_iter().find(|component| component["name"] == name)?;
        let given = component.pointer("/properties/id").and_then(Value::as_str);
        Some(given.map_or_else(|| stored_name(self.name(), name), str::to_owned))
    }

    fn components(&self) -> Vec<&Value> {
        self.document.pointer("/spec/components").and_then(Value::as_array).into_iter().flatten().collect()
    }
}

/// The name under which wadm stores what belongs to an application (`compute_component_id` of wadm).
fn stored_name(application: &str, name: &str) -> String {
    let sanitized = |text: &str| text.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    format!("{}-{}", sanitized(application), sanitized(name))
}

/// Reads a file of configs: YAML, `name: {key: value}` with values of text.
///
/// # Errors
/// When it has another form.
pub fn read_configs(path: &Path) -> anyhow::Result<Configs> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_norway::from_str(&text).with_context(|| format!("{}: expected `name: {{key: text}}`", path.display()))
}

#[cfg(test)]
#[path = "application_tests.rs"]
mod tests;
