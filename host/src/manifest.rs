//! From a wadm application manifest to a plan of what this host runs: [`Manifest::parse`] reads YAML strictly, [`plan`] checks it and
//! resolves its configs and secrets. Both are pure (files and environment come in as values and as a [`SecretSource`]), and both report
//! every problem they find, not only the first.
//!
//! Invariant: what [`plan`] accepts, an unmodified wadm 0.21 accepts too, and means the same: ids, the names under which configs and
//! secrets are stored, and the uniqueness of links follow its rules.

mod document;
mod image;
mod interface;
mod keys;
mod options;
mod planner;
mod policy;
mod problem;
mod settings;
mod sources;

pub use document::{ComponentKind, Manifest, ParseError};
pub use image::{BuiltinKind, ImageError, ImageReference};
pub use interface::Interface;
pub use keys::KeyError;
pub use options::{OptionError, Reuse, RuntimeOptions};
pub use planner::plan;
pub(crate) use policy::PREFIX as POLICY_PREFIX;
pub use policy::{BreakerPolicy, BreakerWindow, BulkheadPolicy, LinkPolicy, PolicyError, RetryPolicy};
pub use problem::PlanError;
pub use settings::Settings;
pub use sources::{ExternalConfigs, MapSecrets, SecretBackend, SecretError, SecretSource};

/// What one application asks of this host, checked and with all values resolved.
#[derive(Debug, Clone)]
pub struct Plan {
    /// `metadata.name`.
    pub application: String,
    /// The annotation `version`.
    pub version: Option<String>,
    /// Guests, in the order of the manifest.
    pub components: Vec<ComponentPlan>,
    /// Capabilities, in the order of the manifest.
    pub capabilities: Vec<CapabilityPlan>,
    /// Links, in the order of the manifest. Both ends exist, and at least one of them is a component.
    pub links: Vec<LinkPlan>,
}

impl Plan {
    /// Nothing is wanted.
    #[must_use]
    pub fn empty() -> Self {
        let application = String::new();
        Self { application, version: None, components: Vec::new(), capabilities: Vec::new(), links: Vec::new() }
    }

    /// The component with this name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentPlan> {
        self.components.iter().find(|component| component.name == name)
    }

    /// The capability with this name.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<&CapabilityPlan> {
        self.capabilities.iter().find(|capability| capability.name == name)
    }

    /// The links that leave the component or capability with this name.
    pub fn links_from<'plan>(&'plan self, name: &'plan str) -> impl Iterator<Item = &'plan LinkPlan> {
        self.links.iter().filter(move |link| link.source == name)
    }

    /// The links that lead to the component or capability with this name.
    pub fn links_to<'plan>(&'plan self, name: &'plan str) -> impl Iterator<Item = &'plan LinkPlan> {
        self.links.iter().filter(move |link| link.target == name)
    }
}

/// One guest.
#[derive(Debug, Clone)]
pub struct ComponentPlan {
    /// Its name in the manifest; links refer to it.
    pub name: String,
    /// Its id in a lattice: `properties.id`, or what wadm makes of the names of application and component.
    pub id: String,
    /// Where its bytes are: a file or an OCI reference, never a built-in.
    pub image: ImageReference,
    /// `instances` of its scaler, at least 1.
    pub instances: u32,
    /// What the guest reads through `wasi:config/store`; without the host's own keys.
    pub config: Settings,
    /// How this host runs it.
    pub runtime: RuntimeOptions,
}

/// One capability, served inside this process.
#[derive(Debug, Clone)]
pub struct CapabilityPlan {
    /// Its name in the manifest; links refer to it.
    pub name: String,
    /// Its id in a lattice.
    pub id: String,
    /// Which one: what follows `wasmcloud+builtin://`. Whether this host has it is not checked here.
    pub kind: BuiltinKind,
    /// Its own settings, apart from those of its links.
    pub config: Settings,
}

/// One link: `source` may call these interfaces of `target`.
#[derive(Debug, Clone)]
pub struct LinkPlan {
    /// Name of the component or capability that calls.
    pub source: String,
    /// Name of the component or capability that is called.
    pub target: String,
    /// Name of the link, `default` unless given.
    pub name: String,
    /// WIT namespace, for example `wasi`.
    pub namespace: String,
    /// WIT package, for example `keyvalue`.
    pub package: String,
    /// WIT interfaces without version, at least one.
    pub interfaces: Vec<String>,
    /// Settings of the calling side; its keys `policy.*` are the link's policy ([`LinkPolicy::read`]).
    pub source_config: Settings,
    /// Settings of the called side.
    pub target_config: Settings,
}

impl LinkPlan {
    /// Its interfaces with namespace and package, for example `wasi:keyvalue/store`.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        self.interfaces.iter().map(|interface| format!("{}:{}/{interface}", self.namespace, self.package))
    }
}

#[cfg(test)]
mod tests;
