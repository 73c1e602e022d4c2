//! What a provider is told, in the forms of wasmCloud v1: one line on its standard input, then messages. Invariant: a secret leaves this host
//! inside that line or sealed for the provider's own key, and only to the provider whose side of the link it belongs to.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nkeys::XKey;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use super::ProviderSettings;
use crate::manifest::{LinkPlan, Settings};

/// The keys of one life of a provider. They are new each time, so that messages for an earlier life reach nobody.
pub(super) struct Keys {
    pub(super) host: XKey,
    pub(super) provider: XKey,
}

/// Where one life of a provider listens.
#[derive(Clone, Debug)]
pub(super) struct Subjects {
    pub(super) put: String,
    pub(super) delete: String,
    pub(super) health: String,
    pub(super) config: String,
    pub(super) shutdown: String,
}

impl Subjects {
    pub(super) fn new(lattice: &str, id: &str, keys: &Keys) -> Self {
        let of = |who: &str, what: &str| format!("wasmbus.rpc.{lattice}.{who}.{what}");
        Self {
            // The key that the provider derives from its seed, not its id: nobody else knows it.
            put: of(&keys.provider.public_key(), "linkdefs.put"),
            delete: of(id, "linkdefs.del"),
            health: of(id, "health"),
            config: of(id, "config.update"),
            shutdown: of(id, "default.shutdown"),
        }
    }
}

/// A secret as the SDK reads it.
#[derive(Serialize)]
#[serde(tag = "kind", content = "value")]
enum SecretValue<'a> {
    String(&'a str),
}

fn plain(secrets: &BTreeMap<String, SecretString>) -> BTreeMap<&str, SecretValue<'_>> {
    secrets.iter().map(|(name, secret)| (name.as_str(), SecretValue::String(secret.expose_secret()))).collect()
}

/// A link with its settings.
#[derive(Serialize)]
struct WireLink<'a> {
    source_id: &'a str,
    target: &'a str,
    name: &'a str,
    wit_namespace: &'a str,
    wit_package: &'a str,
    interfaces: &'a [String],
    source_config: &'a BTreeMap<String, String>,
    target_config: &'a BTreeMap<String, String>,
    source_secrets: Option<Vec<u8>>,
    target_secrets: Option<Vec<u8>>,
}

impl<'a> WireLink<'a> {
    fn new(link: &'a LinkPlan, id: &str, keys: &Keys) -> Result<Self, String> {
        let side = |mine: bool, settings: &Settings| if mine { seal(&settings.secrets, keys) } else { Ok(None) };
        Ok(Self {
            source_id: &link.source,
            target: &link.target,
            name: &link.name,
            wit_namespace: &link.namespace,
            wit_package: &link.package,
            interfaces: &link.interfaces,
            source_config: &link.source_config.values,
            target_config: &link.target_config.values,
            source_secrets: side(link.source == id, &link.source_config)?,
            target_secrets: side(link.target == id, &link.target_config)?,
        })
    }
}

/// `None` when there are none: the SDK takes a sealed empty map for an error.
fn seal(secrets: &BTreeMap<String, SecretString>, keys: &Keys) -> Result<Option<Vec<u8>>, String> {
    if secrets.is_empty() {
        return Ok(None);
    }
    let json = serde_json::to_vec(&plain(secrets)).map_err(|error| error.to_string())?;
    keys.host.seal(&json, &keys.provider).map(Some).map_err(|error| error.to_string())
}

/// The message that puts a link.
pub(super) fn put(link: &LinkPlan, id: &str, keys: &Keys) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&WireLink::new(link, id, keys)?).map_err(|error| error.to_string())
}

/// The message that deletes a link. It needs no settings, and everybody may read it.
pub(super) fn delete(link: &LinkPlan) -> Result<Vec<u8>, String> {
    let (config, secrets) = (BTreeMap::new(), None);
    let wire = WireLink {
        source_id: &link.source,
        target: &link.target,
        name: &link.name,
        wit_namespace: &link.namespace,
        wit_package: &link.package,
        interfaces: &link.interfaces,
        source_config: &config,
        target_config: &config,
        source_secrets: secrets.clone(),
        target_secrets: secrets,
    };
    serde_json::to_vec(&wire).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct HostData<'a> {
    host_id: &'a str,
    lattice_rpc_prefix: &'a str,
    link_name: &'static str,
    lattice_rpc_user_jwt: &'a str,
    lattice_rpc_user_seed: &'a str,
    lattice_rpc_url: &'a str,
    provider_key: &'a str,
    /// The SDK insists on an object.
    env_values: BTreeMap<String, String>,
    instance_id: String,
    link_definitions: Vec<WireLink<'a>>,
    cluster_issuers: [&'static str; 0],
    config: &'a BTreeMap<String, String>,
    secrets: BTreeMap<&'a str, SecretValue<'a>>,
    host_xkey_public_key: String,
    provider_xkey_private_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_rpc_timeout_ms: Option<u64>,
    structured_logging: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_level: Option<&'a str>,
}

/// The line for a provider's standard input.
pub(super) fn line(
    settings: &ProviderSettings,
    id: &str,
    config: &Settings,
    links: &[LinkPlan],
    keys: &Keys,
) -> Result<SecretString, String> {
    let links: Result<Vec<_>, _> = links.iter().map(|link| WireLink::new(link, id, keys)).collect();
    let data = HostData {
        host_id: &settings.host_id,
        lattice_rpc_prefix: &settings.lattice,
        link_name: "default",
        lattice_rpc_user_jwt: &settings.user_jwt,
        lattice_rpc_user_seed: settings.user_seed.expose_secret(),
        lattice_rpc_url: &settings.nats_url,
        provider_key: id,
        env_values: BTreeMap::new(),
        instance_id: uuid::Uuid::new_v4().to_string(),
        link_definitions: links?,
        cluster_issuers: [],
        config: &config.values,
        secrets: plain(&config.secrets),
        host_xkey_public_key: keys.host.public_key(),
        provider_xkey_private_key: keys.provider.seed().map_err(|error| error.to_string())?,
        default_rpc_timeout_ms: settings.rpc_timeout.and_then(|limit| u64::try_from(limit.as_millis()).ok()),
        structured_logging: settings.structured_logging,
        log_level: settings.log_level.as_deref(),
    };
    let json = serde_json::to_vec(&data).map_err(|error| error.to_string())?;
    let mut line = STANDARD.encode(json);
    line.push_str("\r\n");
    Ok(SecretString::from(line))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests; JSON is indexed by name")]
    use serde_json::Value;

    use super::*;

    fn settings(secret: &str) -> Settings {
        Settings {
            values: [("k".to_owned(), "v".to_owned())].into(),
            secrets: [("url".to_owned(), SecretString::from(secret))].into(),
        }
    }

    fn link() -> LinkPlan {
        LinkPlan {
            source: "cart".into(),
            target: "store".into(),
            name: "default".into(),
            namespace: "wasi".into(),
            package: "keyvalue".into(),
            interfaces: vec!["store".into()],
            source_config: settings("of the source"),
            target_config: settings("of the target"),
        }
    }

    fn keys() -> Keys {
        Keys { host: XKey::new(), provider: XKey::new() }
    }

    /// Goal: only the provider's own side of the secrets, and only sealed. Method: open it as the SDK does.
    #[test]
    fn secrets_are_sealed_for_their_side() {
        let keys = keys();
        let message = String::from_utf8(put(&link(), "store", &keys).unwrap()).unwrap();
        assert!(!message.contains("of the"), "{message}");
        let value: Value = serde_json::from_str(&message).unwrap();
        assert_eq!((&value["source_secrets"], &value["source_config"]["k"]), (&Value::Null, &Value::from("v")));
        let sealed: Vec<u8> = serde_json::from_value(value["target_secrets"].clone()).unwrap();
        let opened: Value = serde_json::from_slice(&keys.provider.open(&sealed, &keys.host).unwrap()).unwrap();
        assert_eq!(opened["url"], serde_json::json!({"kind": "String", "value": "of the target"}));
        let deletion = String::from_utf8(delete(&link()).unwrap()).unwrap();
        assert!(!deletion.contains("\"k\"") && deletion.contains("keyvalue"), "{deletion}");
    }

    /// Goal: the fields that the SDK insists on. Method: decode the line; the integration test gives it to the real SDK.
    #[test]
    fn the_line_has_what_the_sdk_needs() {
        let keys = keys();
        let mut provider = ProviderSettings::new("NHOST", "default", "nats://127.0.0.1:4222", "programs".into());
        provider.rpc_timeout = Some(std::time::Duration::from_secs(2));
        let line = line(&provider, "store", &settings("own"), &[link()], &keys).unwrap();
        let text = line.expose_secret().strip_suffix("\r\n").unwrap();
        let value: Value = serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap();
        assert!(value["env_values"].is_object() && value["link_definitions"].as_array().unwrap().len() == 1);
        assert_eq!(value["secrets"]["url"]["value"], "own");
        assert_eq!(value["default_rpc_timeout_ms"], 2000);
        let seed = value["provider_xkey_private_key"].as_str().unwrap();
        let derived = XKey::from_seed(seed).unwrap().public_key();
        assert!(Subjects::new("default", "store", &keys).put.contains(&derived));
    }
}
