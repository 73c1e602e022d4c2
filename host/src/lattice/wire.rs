//! What goes over the control interface, as JSON. Fields that are not known are ignored and absent ones have defaults, because clients are
//! older and newer than this host.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Annotations by key: echoed as they came.
pub type Annotations = BTreeMap<String, String>;
/// A config as it is stored.
pub(crate) type ConfigMap = BTreeMap<String, String>;

/// An answer; `message` is always there, because clients insist on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Reply {
    pub(crate) success: bool,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<Value>,
}

impl Reply {
    pub(crate) fn done(message: impl Into<String>) -> Self {
        Self { success: true, message: message.into(), response: None }
    }

    pub(crate) fn with(response: Value) -> Self {
        Self { success: true, message: String::new(), response: Some(response) }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self { success: false, message: message.into(), response: None }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        // Maps with text as keys always have a form in JSON; an empty answer would end the client's gathering.
        serde_json::to_vec(self).unwrap_or_else(|_| br#"{"success":false,"message":"the answer has no form"}"#.to_vec())
    }
}

#[derive(Debug, Deserialize)]
pub(crate) struct Auction {
    #[serde(default, alias = "provider_ref")]
    pub(crate) component_ref: String,
    #[serde(default, alias = "provider_id")]
    pub(crate) component_id: String,
    #[serde(default)]
    pub(crate) constraints: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Scale {
    #[serde(default)]
    pub(crate) component_ref: String,
    pub(crate) component_id: String,
    #[serde(default)]
    pub(crate) annotations: Option<Annotations>,
    #[serde(default, alias = "max_instances")]
    pub(crate) count: u32,
    #[serde(default)]
    pub(crate) component_limits: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(crate) host_id: String,
    #[serde(default)]
    pub(crate) config: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Update {
    pub(crate) component_id: String,
    pub(crate) new_component_ref: String,
    #[serde(default)]
    pub(crate) annotations: Option<Annotations>,
    #[serde(default)]
    pub(crate) host_id: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct StartProvider {
    pub(crate) provider_id: String,
    pub(crate) provider_ref: String,
    #[serde(default)]
    pub(crate) annotations: Option<Annotations>,
    #[serde(default)]
    pub(crate) config: Vec<String>,
    #[serde(default)]
    pub(crate) host_id: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct StopProvider {
    #[serde(alias = "provider_ref")]
    pub(crate) provider_id: String,
    #[serde(default)]
    pub(crate) host_id: String,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct StopHost {
    #[serde(default)]
    pub(crate) host_id: String,
    /// Milliseconds.
    #[serde(default)]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Label {
    #[serde(default)]
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct RegistryCredential {
    #[serde(default)]
    pub(crate) username: Option<String>,
    #[serde(default)]
    pub(crate) password: Option<secrecy::SecretString>,
    #[serde(default)]
    pub(crate) token: Option<secrecy::SecretString>,
}

/// A link as it is put, stored and told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Who calls.
    pub source_id: String,
    /// Who is called.
    pub target: String,
    /// Tells links of one source and interface apart.
    #[serde(default = "default_name")]
    pub name: String,
    /// WIT namespace.
    pub wit_namespace: String,
    /// WIT package.
    pub wit_package: String,
    /// WIT interfaces, without version.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Names of the calling side's configs.
    #[serde(default)]
    pub source_config: Vec<String>,
    /// Names of the called side's configs.
    #[serde(default)]
    pub target_config: Vec<String>,
}

fn default_name() -> String {
    "default".to_owned()
}

impl Link {
    pub(crate) fn json(&self) -> Value {
        json!({
            "source_id": self.source_id, "target": self.target, "name": self.name, "wit_namespace": self.wit_namespace,
            "wit_package": self.wit_package, "interfaces": self.interfaces, "source_config": self.source_config,
            "target_config": self.target_config,
        })
    }

    /// All config names of both sides.
    pub(crate) fn configs(&self) -> impl Iterator<Item = &String> {
        self.source_config.iter().chain(&self.target_config)
    }
}

/// What a link is deleted by.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct LinkKey {
    pub(crate) source_id: String,
    #[serde(default = "default_name")]
    pub(crate) name: String,
    pub(crate) wit_namespace: String,
    pub(crate) wit_package: String,
}

/// Ids of components and providers, names of configs: letters, digits, `-` and `_`, because they become parts of subjects and keys.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 256
        && text.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Goal: commands of wash and wadm are read. Method: what both send, as observed, and what only must not fail.
    #[test]
    fn commands_are_read_with_defaults() {
        let wash = br#"{"component_ref":"file:///a.wasm","component_id":"a","annotations":{},"count":1,"host_id":"N","config":[],"allow_update":false}"#;
        let scale: Scale = serde_json::from_slice(wash).unwrap();
        assert_eq!((scale.count, scale.annotations), (1, Some(Annotations::new())));
        let bare: Scale = serde_json::from_str(r#"{"component_id":"a","max_instances":3,"unknown":{}}"#).unwrap();
        assert_eq!((bare.count, bare.annotations, bare.config.len()), (3, None, 0));
        let stop: StopProvider = serde_json::from_str(r#"{"host_id":"N","provider_ref":"p"}"#).unwrap();
        assert_eq!(stop.provider_id, "p");
        let auction: Auction = serde_json::from_str(r#"{"provider_ref":"r","provider_id":"default"}"#).unwrap();
        assert_eq!((auction.component_ref.as_str(), auction.component_id.as_str()), ("r", "default"));
        let link: Link =
            serde_json::from_str(r#"{"source_id":"a","target":"b","wit_namespace":"wasi","wit_package":"http"}"#)
                .unwrap();
        assert_eq!(link.name, "default");
    }

    #[test]
    fn every_reply_has_a_message() {
        assert_eq!(Reply::with(json!([])).bytes(), br#"{"success":true,"message":"","response":[]}"#);
        assert_eq!(Reply::refused("no").bytes(), br#"{"success":false,"message":"no"}"#);
    }
}
