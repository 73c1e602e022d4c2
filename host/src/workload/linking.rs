//! Linking within one plan: what each link leads to, whether a component can be linked, and whether those that call it still can. Connects
//! nothing and changes nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use wasmtime::component::InstancePre;
use wasmtime::component::types::ComponentItem;

use crate::capability;
use crate::link::{self, LinkError, Surroundings, Target};
use crate::manifest::{ComponentPlan, Interface, LinkPlan, Plan};
use crate::runtime::{Artifact, Artifacts, Engine, Guest, Slot};

/// Why the application cannot run here. Lists everything that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the application cannot run here:\n{}", .0.iter().map(|problem| format!("- {problem}")).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Unfit(pub Vec<String>);

/// Loads and links a whole plan for trial, all of it at once, so that one start shows everything that there is to mend.
///
/// # Errors
/// Every problem found.
pub(crate) async fn verify(engine: &Engine, artifacts: &Arc<Artifacts>, plan: &Plan) -> Result<(), Unfit> {
    let mut problems: Vec<String> =
        plan.capabilities.iter().filter_map(|one| unknown_kind(&one.name, one.kind.as_str())).collect();
    let codes = load(artifacts, plan, &mut problems).await;
    let slots = plan.components.iter().map(|one| (one.name.clone(), Arc::new(Slot::empty(&one.name)))).collect();
    let strict = Surroundings::default();
    for component in &plan.components {
        let Some(code) = codes.get(&component.name) else { continue };
        let targets = targets(plan, &component.name, &slots, &codes);
        if let Err(errors) = template(engine, plan, component, code, &targets, &strict) {
            problems.extend(errors.iter().map(ToString::to_string));
        }
        problems.extend(uncallable(engine, plan, &component.name, code));
    }
    problems.extend(plan.capabilities.iter().flat_map(|one| miscalled(plan, &one.name, one.kind.as_str())));
    if problems.is_empty() { Ok(()) } else { Err(Unfit(problems)) }
}

async fn load(artifacts: &Arc<Artifacts>, plan: &Plan, problems: &mut Vec<String>) -> HashMap<String, Artifact> {
    let loading = plan.components.iter().map(|component| async {
        let began = std::time::Instant::now();
        let artifact = artifacts.fetch(&component.image).await;
        if let Ok(artifact) = &artifact {
            tracing::info!(component = %component.name, digest = %artifact.digest, from_cache = artifact.from_cache, took_ms = began.elapsed().as_millis(), "component loaded");
        }
        (component.name.clone(), artifact)
    });
    let mut loaded = HashMap::new();
    for (name, artifact) in futures::future::join_all(loading).await {
        match artifact {
            Ok(artifact) => drop(loaded.insert(name, artifact)),
            Err(error) => problems.push(format!("component {name}: {error}")),
        }
    }
    loaded
}

/// What is wrong with the kind of a capability.
pub(crate) fn unknown_kind(name: &str, kind: &str) -> Option<String> {
    let kinds = capability::kinds();
    (!kinds.contains(&kind))
        .then(|| format!("capability {name} is wasmcloud+builtin://{kind}; this host has {}", kinds.join(", ")))
}

/// What the links of one component lead to. A target that is neither a capability nor has code here runs elsewhere, if anywhere.
pub(crate) fn targets(
    plan: &Plan,
    source: &str,
    slots: &BTreeMap<String, Arc<Slot>>,
    codes: &HashMap<String, Artifact>,
) -> HashMap<String, Target> {
    let mut targets = HashMap::new();
    for link in plan.links_from(source) {
        let target = match (plan.capability(&link.target), slots.get(&link.target)) {
            (Some(capability), _) => Target::Capability(capability.kind.as_str().to_owned()),
            (None, Some(slot)) => Target::Component {
                slot: slot.clone(),
                exports: codes.get(&link.target).map(|code| code.component.component_type()),
            },
            (None, None) => continue,
        };
        targets.insert(link.target.clone(), target);
    }
    targets
}

/// Links one component.
///
/// # Errors
/// Every problem found.
pub(crate) fn template(
    engine: &Engine,
    plan: &Plan,
    component: &ComponentPlan,
    artifact: &Artifact,
    targets: &HashMap<String, Target>,
    surroundings: &Surroundings,
) -> Result<InstancePre<Guest>, Vec<LinkError>> {
    let links: Vec<&LinkPlan> = plan.links_from(&component.name).collect();
    let linker = link::link(engine, &component.name, artifact, &links, targets, surroundings)?;
    linker
        .instantiate_pre(&artifact.component)
        .map_err(|error| vec![LinkError::Engine { component: component.name.clone(), reason: format!("{error:#}") }])
}

/// Links that lead to this component and find nothing of what they name.
pub(crate) fn uncallable(engine: &Engine, plan: &Plan, name: &str, artifact: &Artifact) -> Vec<String> {
    let ty = artifact.component.component_type();
    let exports: Vec<Interface> =
        ty.exports(engine.wasmtime()).filter_map(|(name, _)| Interface::parse(name)).collect();
    let mut problems = Vec::new();
    // Links between components are compared by their types; a capability's, and those from elsewhere, by name.
    for link in plan.links_to(name).filter(|link| plan.component(&link.source).is_none()) {
        for interface in &link.interfaces {
            let exported = exports.iter().any(|export| {
                export.namespace == link.namespace && export.package == link.package && export.name == *interface
            });
            if !exported {
                problems.push(format!(
                    "the link from {} to {name} needs {name} to export {}:{}/{interface}, and it does not",
                    link.source, link.namespace, link.package
                ));
            }
        }
    }
    problems
}

/// Links of a capability that name something else than what it calls.
pub(crate) fn miscalled(plan: &Plan, name: &str, kind: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for link in plan.links_from(name) {
        let wanted = format!("{}:{}/{}", link.namespace, link.package, link.interfaces.join(","));
        if capability::called(kind) != Some(wanted.as_str()) {
            let calls = capability::called(kind)
                .map_or("calls no component".to_owned(), |interface| format!("calls {interface}"));
            problems.push(format!(
                "the link from {name} to {} names {wanted}, but the built-in capability {kind} {calls}",
                link.target
            ));
        }
    }
    problems
}

/// Components here that could not call this code any more, one line each.
pub(crate) fn abandoned(
    engine: &Engine,
    plan: &Plan,
    name: &str,
    artifact: &Artifact,
    codes: &HashMap<String, Artifact>,
) -> Vec<String> {
    let offered = artifact.component.component_type();
    let mut problems = Vec::new();
    for link in plan.links_to(name) {
        let Some(caller) = codes.get(&link.source) else { continue };
        for (import, item) in caller.component.component_type().imports(engine.wasmtime()) {
            let granted = Interface::parse(import).is_some_and(|interface| interface.granted_by(link));
            let ComponentItem::ComponentInstance(wanted) = item.ty else { continue };
            if granted && let Err(reason) = link::check(engine, import, &wanted, &offered) {
                problems.push(format!(
                    "the link from {} to {name} promises {import}, but {name} does not offer it: {reason}",
                    link.source
                ));
            }
        }
    }
    problems
}
