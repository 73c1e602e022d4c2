//! Goal: both manifests of the shop say the same, but for what may differ. Method: their links, settings and secrets side by side, with named
//! configs replaced by their values.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::shop::host::MACHINE_CONFIGS;

fn wadm(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../wadm").join(name)
}

fn local() -> Application {
    Application::read(&wadm("local.yaml")).unwrap()
}

fn production() -> Application {
    Application::read(&wadm("production.yaml")).unwrap()
}

/// All entries of all lists with the key `config`.
fn each_config(value: &Value, found: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if key == "config" {
                    member.as_array().into_iter().flatten().for_each(&mut *found);
                } else {
                    each_config(member, found);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| each_config(item, found)),
        _ => {}
    }
}

/// The configs that it names without giving their values: they must be on the lattice before it is deployed.
fn external_configs(application: &Application) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    each_config(&application.document, &mut |config| {
        if config.get("properties").is_none() {
            names.extend(config["name"].as_str().map(str::to_owned));
        }
    });
    names
}

/// Lists of configs become one map of values; what is given elsewhere stays as its name.
fn resolved(value: &Value, configs: &Configs) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| resolved(item, configs)).collect(),
        Value::Object(members) => {
            let member = |(key, member): (&String, &Value)| {
                let value = if key == "config" { settings(member, configs) } else { resolved(member, configs) };
                (key.clone(), value)
            };
            Value::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

fn settings(list: &Value, configs: &Configs) -> Value {
    let mut all = serde_json::Map::new();
    for config in list.as_array().unwrap() {
        let name = config["name"].as_str().unwrap();
        match (config.get("properties"), configs.get(name)) {
            (Some(properties), _) => all.extend(properties.as_object().unwrap().clone()),
            (None, Some(values)) => all.extend(json!(values).as_object().unwrap().clone()),
            (None, None) => {
                all.insert(format!("external {name}"), Value::Null);
            }
        }
    }
    Value::Object(all)
}

/// Without what may differ: the images and how many of each run where.
fn comparable(application: &Application, configs: &Configs) -> Value {
    let mut document = resolved(&application.document, configs);
    for component in document["spec"]["components"].as_array_mut().unwrap() {
        if component["type"] == "component" {
            component["properties"].as_object_mut().unwrap().remove("image");
        }
        if let Some(traits) = component.get_mut("traits").and_then(Value::as_array_mut) {
            traits.retain(|entry| entry["type"] == "link");
        }
        if component.get("traits").is_some_and(|traits| traits == &json!([])) {
            component.as_object_mut().unwrap().remove("traits");
        }
    }
    document
}

#[test]
fn both_manifests_have_the_same_links_settings_and_secrets() {
    let configs = read_configs(&wadm("production-config.yaml")).unwrap();
    let (local, production) = (comparable(&local(), &configs), comparable(&production(), &configs));
    assert!(local.to_string().contains("\"external kafka\""), "the comparison sees configs");
    let (left, right) =
        (local["spec"]["components"].as_array().unwrap(), production["spec"]["components"].as_array().unwrap());
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left, right, "{}", left["name"]);
    }
    assert_eq!(local, production);
}

#[test]
fn production_names_all_configs_and_each_is_there() {
    let production = production();
    let mut inline = Vec::new();
    each_config(production.document(), &mut |config| inline.extend(config.get("properties").cloned()));
    assert_eq!(inline, Vec::<Value>::new());
    let configs = read_configs(&wadm("production-config.yaml")).unwrap();
    let given: BTreeSet<String> =
        configs.into_keys().chain(MACHINE_CONFIGS.iter().map(|name| (*name).to_owned())).collect();
    assert_eq!(external_configs(&production), given);
    let machine: BTreeSet<String> = MACHINE_CONFIGS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(external_configs(&local()), machine);
}

#[test]
fn in_production_everything_has_a_scaler_and_what_serves_requests_is_everywhere() {
    for component in production().components() {
        let scalers: Vec<&str> = component["traits"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["type"].as_str().filter(|kind| *kind != "link"))
            .collect();
        let expected = if component["name"] == "notification" { "spreadscaler" } else { "daemonscaler" };
        assert_eq!(scalers, [expected], "{}", component["name"]);
    }
}

#[test]
fn a_version_is_pinned_to_the_content() {
    let first = local().pinned();
    assert_eq!(first, local().pinned());
    assert!(first.version().unwrap().starts_with("0.1.0-c"), "{:?}", first.version());
    let mut other = local();
    other.document["spec"]["components"][0]["properties"]["image"] = json!("file://other.wasm");
    assert_ne!(other.pinned().version(), first.version());
}

#[test]
fn ids_are_those_that_wadm_makes() {
    let application = local();
    assert_eq!(application.id("http-client").as_deref(), Some("swiftcart-http_client"));
    assert_eq!(application.id("nobody"), None);
}
