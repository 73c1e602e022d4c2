//! A manifest as the commands that wadm would give for it, less the placement. Invariant: nothing of the manifest is left out: links, configs, secrets.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use swiftcart_support::shop::Configs;

/// Name of a stored reference to a secret.
const SECRET: &str = "SECRET_";

/// What is to be put, and what is to run.
#[derive(Default)]
pub(crate) struct Commands {
    pub(crate) configs: Configs,
    pub(crate) links: Vec<Value>,
    pub(crate) components: Vec<Runs>,
    pub(crate) capabilities: Vec<Runs>,
}

/// A component or a capability.
pub(crate) struct Runs {
    pub(crate) name: String,
    pub(crate) image: String,
    /// Names.
    pub(crate) configs: Vec<String>,
    pub(crate) instances: u64,
}

#[derive(Deserialize)]
struct Document {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    components: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    r#type: String,
    properties: Properties,
    #[serde(default)]
    traits: Vec<Trait>,
}

#[derive(Deserialize)]
struct Properties {
    image: String,
    #[serde(flatten)]
    settings: Settings,
}

#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    config: Vec<Config>,
    #[serde(default)]
    secrets: Vec<Secret>,
}

#[derive(Deserialize)]
struct Config {
    name: String,
    /// None when the manifest only names it.
    properties: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Secret {
    name: String,
    properties: SecretProperties,
}

#[derive(Deserialize)]
struct SecretProperties {
    key: String,
}

#[derive(Deserialize)]
struct Trait {
    r#type: String,
    properties: Value,
}

#[derive(Deserialize)]
struct Scaler {
    instances: u64,
}

#[derive(Deserialize)]
struct Link {
    name: Option<String>,
    namespace: String,
    package: String,
    interfaces: Vec<String>,
    #[serde(default)]
    source: Settings,
    target: Target,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    #[serde(flatten)]
    settings: Settings,
}

impl Commands {
    /// Reads a manifest whose secrets are in the environment of the hosts.
    pub(crate) fn read(manifest: &Value) -> anyhow::Result<Self> {
        let document = Document::deserialize(manifest).context("the manifest has another form")?;
        let mut commands = Self::default();
        for entry in document.spec.components {
            let mut instances = 1;
            for one in &entry.traits {
                match one.r#type.as_str() {
                    "link" => {
                        let link = Link::deserialize(&one.properties).context("a link has another form")?;
                        commands.link(&entry.name, link);
                    }
                    _ => {
                        instances = Scaler::deserialize(&one.properties).context("a scaler has another form")?.instances
                    }
                }
            }
            let configs = commands.settings(entry.properties.settings);
            let runs = Runs { name: entry.name, image: entry.properties.image, configs, instances };
            let list = if entry.r#type == "capability" { &mut commands.capabilities } else { &mut commands.components };
            list.push(runs);
        }
        Ok(commands)
    }

    fn link(&mut self, source: &str, link: Link) {
        let (source_config, target_config) = (self.settings(link.source), self.settings(link.target.settings));
        self.links.push(json!({
            "source_id": source, "target": link.target.name, "name": link.name.as_deref().unwrap_or("default"),
            "wit_namespace": link.namespace, "wit_package": link.package, "interfaces": link.interfaces,
            "source_config": source_config, "target_config": target_config,
        }));
    }

    /// Remembers what is to be stored; gives the names.
    fn settings(&mut self, settings: Settings) -> Vec<String> {
        let mut names = Vec::new();
        for config in settings.config {
            if let Some(properties) = config.properties {
                self.configs.insert(config.name.clone(), properties);
            }
            names.push(config.name);
        }
        for secret in settings.secrets {
            let stored = format!("{SECRET}{}", secret.name);
            let reference = [("name", secret.name), ("backend", "env".to_owned()), ("key", secret.properties.key)];
            let reference = reference.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            self.configs.insert(stored.clone(), reference);
            names.push(stored);
        }
        names
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    /// Goal: links, configs and secrets become what wadm would store. Method: a component with one of each.
    #[test]
    fn a_manifest_becomes_commands() {
        let manifest = json!({"spec": {"components": [{
            "name": "cart", "type": "component",
            "properties": {"image": "file://cart.wasm", "config": [{"name": "words", "properties": {"a": "b"}}, {"name": "far"}]},
            "traits": [
                {"type": "spreadscaler", "properties": {"instances": 7}},
                {"type": "link", "properties": {"namespace": "n", "package": "p", "interfaces": ["i"], "target": {
                    "name": "db", "secrets": [{"name": "cart-url", "properties": {"policy": "environment", "key": "CART"}}],
                }}},
            ],
        }]}});
        let commands = Commands::read(&manifest).unwrap();
        let cart = &commands.components[0];
        assert_eq!((cart.instances, cart.configs.as_slice()), (7, ["words".to_owned(), "far".to_owned()].as_slice()));
        assert_eq!(commands.links[0]["target_config"], json!(["SECRET_cart-url"]));
        assert_eq!(commands.links[0]["name"], "default");
        assert_eq!(commands.configs["SECRET_cart-url"]["key"], "CART");
        assert!(commands.configs.contains_key("words") && !commands.configs.contains_key("far"));
    }
}
