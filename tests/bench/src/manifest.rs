//! Manifests of benchmarks of parts, made in code because some have a hundred components. Everything is open: what is measured is the road, not the door.

use std::path::Path;

use serde_json::{Value, json};

/// Whether an instance serves more than one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    Warm,
    Fresh,
}

impl Reuse {
    /// As `host.reuse` takes it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Fresh => "fresh",
        }
    }
}

/// An application that grows.
pub(crate) struct Manifest {
    name: &'static str,
    components: Vec<Value>,
}

impl Manifest {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, components: Vec::new() }
    }

    /// A component of a file, with so many instances at once.
    pub(crate) fn component(&mut self, name: &str, file: &Path, reuse: Reuse, instances: u32) {
        let config = json!([{"name": format!("{name}-host"), "properties": {"host.reuse": reuse.text()}}]);
        self.components.push(json!({
            "name": name, "type": "component",
            "properties": {"image": format!("file://{}", file.display()), "config": config},
            "traits": [{"type": "spreadscaler", "properties": {"instances": instances}}],
        }));
    }

    /// A link of the component that was added last.
    pub(crate) fn link(&mut self, (namespace, package, interface): (&str, &str, &str), target: &str) {
        let link = json!({"type": "link", "properties": {
            "namespace": namespace, "package": package, "interfaces": [interface], "target": {"name": target},
        }});
        let last = self.components.last_mut().and_then(|component| component.get_mut("traits"));
        if let Some(traits) = last.and_then(Value::as_array_mut) {
            traits.push(link);
        }
    }

    /// A door to a component on a port of its own.
    pub(crate) fn edge(&mut self, name: &str, target: &str) {
        let settings = json!([{"name": format!("{name}-settings"), "properties": {
            "address": "127.0.0.1:0", "public_paths": "GET /*,POST /*",
            "requests_per_second": "1000000", "burst": "1000000",
        }}]);
        self.components.push(json!({
            "name": name, "type": "capability",
            "properties": {"image": "wasmcloud+builtin://http-server", "config": [{"name": "edge"}]},
            "traits": [{"type": "link", "properties": {
                "namespace": "wasi", "package": "http", "interfaces": ["incoming-handler"],
                "target": {"name": target}, "source": {"config": settings},
            }}],
        }));
    }

    /// JSON is YAML.
    pub(crate) fn text(&self) -> String {
        json!({
            "apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
            "metadata": {"name": self.name, "annotations": {"version": "0.1.0"}},
            "spec": {"components": self.components},
        })
        .to_string()
    }
}
