//! The checks, and the plan that comes out of them. Nothing stops at the first problem: what cannot be resolved is left out and told.

mod values;

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Component, ComponentKind, Link, Manifest, SecretReference};
use super::image::ImageReference;
use super::keys::KeyError;
use super::options::{PREFIX, RuntimeOptions};
use super::policy::LinkPolicy;
use super::problem::PlanError;
use super::settings::Settings;
use super::sources::{ExternalConfigs, SecretBackend, SecretSource};
use super::{CapabilityPlan, ComponentPlan, LinkPlan, Plan};
use crate::limits;

const DEFAULT_LINK: &str = "default";

/// Checks a manifest and resolves its configs and secrets.
///
/// A secret fills the config key of its name. wadm stores all secrets of an application side by side, so two links cannot both have a
/// secret `url` with different keys: on links and capabilities, what stands up to the last hyphen of a name is a prefix that
/// sets them apart (`cart-url` fills `url`). A component's own secrets fill the whole name.
///
/// # Errors
/// Every problem of the manifest.
pub fn plan(
    manifest: &Manifest,
    externals: &ExternalConfigs,
    secrets: &dyn SecretSource,
) -> Result<Plan, Vec<PlanError>> {
    let mut planner = Planner {
        manifest,
        externals,
        secrets,
        errors: Vec::new(),
        policies: BTreeMap::new(),
        configs: BTreeMap::new(),
        secret_names: BTreeMap::new(),
    };
    planner.application();
    planner.policies();
    planner.names();
    let mut plan = Plan {
        application: manifest.metadata.name.clone(),
        version: manifest.metadata.annotations.get("version").cloned(),
        components: Vec::new(),
        capabilities: Vec::new(),
        links: Vec::new(),
    };
    for component in &manifest.components {
        match component.kind {
            ComponentKind::Component => plan.components.extend(planner.component(component)),
            ComponentKind::Capability => plan.capabilities.extend(planner.capability(component)),
        }
        plan.links.extend(planner.links(component));
    }
    let sum = plan.components.iter().map(|component| u64::from(component.runtime.max_instances)).sum();
    if sum > u64::from(limits::MAX_INSTANCES) {
        planner.errors.push(PlanError::TooManyInstances { sum, limit: limits::MAX_INSTANCES });
    }
    if planner.errors.is_empty() { Ok(plan) } else { Err(planner.errors) }
}

struct Planner<'a> {
    manifest: &'a Manifest,
    externals: &'a ExternalConfigs,
    secrets: &'a dyn SecretSource,
    errors: Vec<PlanError>,
    /// None: there, but refused, so that its secrets are not refused again.
    policies: BTreeMap<&'a str, Option<SecretBackend>>,
    /// Name in a lattice -> first definition.
    configs: BTreeMap<String, Definition<'a, BTreeMap<String, String>>>,
    secret_names: BTreeMap<String, Definition<'a, SecretReference>>,
}

struct Definition<'a, T> {
    place: String,
    of_link: bool,
    content: &'a T,
}

/// Whose settings are read.
struct Owner {
    /// For messages.
    place: String,
    kind: OwnerKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnerKind {
    Component,
    Capability,
    /// The calling side.
    LinkSource,
    /// The called side.
    Link,
}

impl OwnerKind {
    fn of_link(self) -> bool {
        matches!(self, Self::LinkSource | Self::Link)
    }
}

impl<'a> Planner<'a> {
    fn application(&mut self) {
        let metadata = &self.manifest.metadata;
        if !is_name(&metadata.name) {
            self.errors.push(PlanError::ApplicationName { name: metadata.name.clone() });
        }
        if metadata.annotations.get("version").is_some_and(|version| version == "latest") {
            self.errors.push(PlanError::LatestVersion);
        }
    }

    fn names(&mut self) {
        let (mut names, mut ids) = (BTreeSet::new(), BTreeMap::new());
        for component in &self.manifest.components {
            if !is_name(&component.name) {
                self.errors.push(PlanError::Name { kind: kind_of(component), name: component.name.clone() });
            }
            if !names.insert(component.name.as_str()) {
                self.errors.push(PlanError::DuplicateName { name: component.name.clone() });
                continue;
            }
            let id = self.id(component);
            if !is_name(&id) {
                self.errors.push(PlanError::Id { place: place_of(component), id: id.clone() });
            }
            if let Some(first) = ids.insert(id.clone(), component.name.clone()) {
                self.errors.push(PlanError::DuplicateId { id, first, second: component.name.clone() });
            }
        }
    }

    /// `compute_component_id` of wadm.
    fn id(&self, component: &Component) -> String {
        component.properties.id.clone().unwrap_or_else(|| self.stored_name(&component.name))
    }

    /// The name under which wadm stores something of this application.
    fn stored_name(&self, name: &str) -> String {
        let sanitized = |text: &str| text.to_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        format!("{}-{}", sanitized(&self.manifest.metadata.name), sanitized(name))
    }

    fn component(&mut self, component: &'a Component) -> Option<ComponentPlan> {
        let place = place_of(component);
        let image = self.image(component, &place);
        let instances = self.instances(component, &place);
        let properties = &component.properties;
        let owner = Owner { place: place.clone(), kind: OwnerKind::Component };
        let mut config = self.settings(&owner, &properties.config, &properties.secrets);
        for key in config.secrets.keys().filter(|key| key.starts_with(PREFIX)) {
            self.errors
                .push(PlanError::Option { place: place.clone(), source: KeyError::Secret { key: key.clone() }.into() });
        }
        let runtime = RuntimeOptions::take(&mut config.values, instances.unwrap_or(1));
        let runtime = runtime.map_err(|errors| {
            self.errors.extend(errors.into_iter().map(|source| PlanError::Option { place: place.clone(), source }));
        });
        let image = image?;
        if let ImageReference::Builtin(_) = image {
            self.errors.push(PlanError::ComponentIsBuiltin { place, image: image.to_string() });
            return None;
        }
        let (name, id) = (component.name.clone(), self.id(component));
        Some(ComponentPlan { name, id, image, instances: instances?, config, runtime: runtime.ok()? })
    }

    /// A scaler of a capability is checked but has no effect: a capability is there once in each host.
    fn capability(&mut self, component: &'a Component) -> Option<CapabilityPlan> {
        let place = place_of(component);
        let image = self.image(component, &place);
        if !component.scalers.is_empty() {
            self.instances(component, &place);
        }
        let properties = &component.properties;
        let owner = Owner { place: place.clone(), kind: OwnerKind::Capability };
        let config = self.settings(&owner, &properties.config, &properties.secrets);
        match image? {
            ImageReference::Builtin(kind) => {
                Some(CapabilityPlan { name: component.name.clone(), id: self.id(component), kind, config })
            }
            other => {
                self.errors.push(PlanError::CapabilityIsNotBuiltin { place, image: other.to_string() });
                None
            }
        }
    }

    fn image(&mut self, component: &Component, place: &str) -> Option<ImageReference> {
        let properties = &component.properties;
        let place = place.to_owned();
        if let Some(shared) = &properties.application {
            let (application, component) = (shared.name.clone(), shared.component.clone());
            self.errors.push(PlanError::SharedComponent { place, application, component });
            return None;
        }
        let Some(image) = &properties.image else {
            self.errors.push(PlanError::NoImage { place });
            return None;
        };
        image.parse().map_err(|source| self.errors.push(PlanError::Image { place, source })).ok()
    }

    fn instances(&mut self, component: &Component, place: &str) -> Option<u32> {
        let (place, limit) = (place.to_owned(), limits::MAX_INSTANCES);
        match component.scalers.as_slice() {
            [] => self.errors.push(PlanError::NoScaler { place }),
            [scaler] if (1..=limit).contains(&scaler.instances) => return Some(scaler.instances),
            [scaler] => self.errors.push(PlanError::Instances { place, instances: scaler.instances, limit }),
            several => self.errors.push(PlanError::SeveralScalers { place, count: several.len() }),
        }
        None
    }

    fn links(&mut self, component: &'a Component) -> Vec<LinkPlan> {
        let mut taken: BTreeMap<(&str, String), &str> = BTreeMap::new();
        let mut plans = Vec::new();
        for link in &component.links {
            let label =
                format!("link `{}` -> `{}` ({}:{})", component.name, link.target.name, link.namespace, link.package);
            self.link_ends(component, link, &label);
            self.link_names(link, &label);
            let name = link.name.as_deref().unwrap_or(DEFAULT_LINK);
            for interface in &link.interfaces {
                let interface = format!("{}:{}/{interface}", link.namespace, link.package);
                if let Some(first) = taken.insert((name, interface.clone()), &link.target.name) {
                    let (first, second) = (first.to_owned(), link.target.name.clone());
                    self.errors.push(PlanError::DuplicateLink {
                        from: component.name.clone(),
                        name: name.into(),
                        interface,
                        first,
                        second,
                    });
                }
            }
            let source = Owner { place: format!("{label}, source"), kind: OwnerKind::LinkSource };
            let target = Owner { place: format!("{label}, target"), kind: OwnerKind::Link };
            let source_config = self.settings(&source, &link.source.config, &link.source.secrets);
            self.policy(component.kind, &label, source.place, &source_config);
            plans.push(LinkPlan {
                source: component.name.clone(),
                target: link.target.name.clone(),
                name: name.to_owned(),
                namespace: link.namespace.clone(),
                package: link.package.clone(),
                interfaces: link.interfaces.clone(),
                source_config,
                target_config: self.settings(&target, &link.target.config, &link.target.secrets),
            });
        }
        plans
    }

    /// A policy is the caller's, so it is where a component calls.
    fn policy(&mut self, caller: ComponentKind, label: &str, place: String, settings: &Settings) {
        match LinkPolicy::read(settings) {
            Ok(policy) if !policy.is_empty() && caller == ComponentKind::Capability => {
                self.errors.push(PlanError::PolicyOfCapability { link: label.to_owned() });
            }
            Ok(_) => {}
            Err(errors) => {
                let errors = errors.into_iter();
                self.errors.extend(errors.map(|source| PlanError::Policy { place: place.clone(), source }));
            }
        }
    }

    fn link_ends(&mut self, source: &Component, link: &Link, label: &str) {
        let components = &self.manifest.components;
        let Some(target) = components.iter().find(|component| component.name == link.target.name) else {
            let known = components.iter().map(|component| component.name.as_str()).collect::<Vec<_>>().join(", ");
            self.errors.push(PlanError::NoTarget { link: label.into(), target: link.target.name.clone(), known });
            return;
        };
        if source.kind == ComponentKind::Capability && target.kind == ComponentKind::Capability {
            self.errors.push(PlanError::NoComponent { link: label.into() });
        }
    }

    fn link_names(&mut self, link: &Link, label: &str) {
        if let Some(name) = link.name.as_deref().filter(|name| !is_name(name)) {
            self.errors.push(PlanError::LinkName { link: label.into(), name: name.into() });
        }
        if link.interfaces.is_empty() {
            self.errors.push(PlanError::NoInterfaces { link: label.into() });
        }
        let names = [("namespace", &link.namespace), ("package", &link.package)].into_iter();
        for (what, value) in names.chain(link.interfaces.iter().map(|interface| ("interface", interface))) {
            if !is_wit_name(value) {
                self.errors.push(PlanError::WitName { link: label.into(), what, value: value.clone() });
            }
        }
    }
}

fn kind_of(component: &Component) -> &'static str {
    match component.kind {
        ComponentKind::Component => "component",
        ComponentKind::Capability => "capability",
    }
}

fn place_of(component: &Component) -> String {
    format!("{} `{}`", kind_of(component), component.name)
}

/// A name in a manifest, an id in a lattice.
fn is_name(name: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    !name.is_empty() && name.chars().all(allowed)
}

/// A kebab-case label of WIT: words of letters and digits that start with a letter, joined by single hyphens.
fn is_wit_name(name: &str) -> bool {
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit())
    };
    name.split('-').all(is_word)
}
