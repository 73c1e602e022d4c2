//! From the plan to linked components, before anything connects: load, compile, link, check both ends of every link. What this refuses
//! never opens a port.

use std::collections::HashMap;
use std::sync::Arc;

use wasmtime::component::InstancePre;

use crate::capability;
use crate::link::{self, LinkError, Target};
use crate::manifest::{ComponentPlan, Plan};
use crate::runtime::{Artifact, Artifacts, Engine, Guest, Slot};

/// Why the application cannot run here. Lists everything that is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the application cannot run here:\n{}", .0.iter().map(|problem| format!("- {problem}")).collect::<Vec<_>>().join("\n"))]
pub(crate) struct AssemblyError(pub Vec<String>);

/// A component that only lacks its grants.
pub(crate) struct Linked {
    /// What the manifest says of it.
    pub plan: ComponentPlan,
    /// Its code.
    pub artifact: Artifact,
    /// Its imports, resolved.
    pub template: InstancePre<Guest>,
}

/// All components, linked to each other's slots.
pub(crate) struct Assembly {
    /// Where each component will run, by name.
    pub slots: HashMap<String, Arc<Slot>>,
    /// The components in the manifest's order.
    pub components: Vec<Linked>,
}

/// Loads and links everything. Compiles on the blocking threads, all components at once.
///
/// # Errors
/// Every problem found.
pub(crate) async fn assemble(
    engine: &Engine,
    artifacts: Arc<Artifacts>,
    plan: &Plan,
) -> Result<Assembly, AssemblyError> {
    let mut problems = unknown_capabilities(plan);
    let loaded = load(&artifacts, plan, &mut problems).await;
    let slots: HashMap<String, Arc<Slot>> = plan
        .components
        .iter()
        .map(|component| (component.name.clone(), Arc::new(Slot::empty(&component.name))))
        .collect();
    let targets = targets(plan, &slots, &loaded);
    let mut components = Vec::new();
    for (component, artifact) in loaded {
        match template(engine, plan, &component, &artifact, &targets) {
            Ok(template) => components.push(Linked { plan: component, artifact, template }),
            Err(errors) => problems.extend(errors.iter().map(ToString::to_string)),
        }
    }
    problems.extend(uncallable(engine, plan, &components));
    if problems.is_empty() { Ok(Assembly { slots, components }) } else { Err(AssemblyError(problems)) }
}

fn unknown_capabilities(plan: &Plan) -> Vec<String> {
    let kinds = capability::kinds();
    let unknown = plan.capabilities.iter().filter(|capability| !kinds.contains(&capability.kind.as_str()));
    unknown
        .map(|capability| {
            format!(
                "capability {} is wasmcloud+builtin://{}; this host has {}",
                capability.name,
                capability.kind.as_str(),
                kinds.join(", ")
            )
        })
        .collect()
}

async fn load(artifacts: &Arc<Artifacts>, plan: &Plan, problems: &mut Vec<String>) -> Vec<(ComponentPlan, Artifact)> {
    let loading = plan.components.iter().map(async |component| {
        let began = std::time::Instant::now();
        let fetched = artifacts.fetch(&component.image).await;
        if let Ok(artifact) = &fetched {
            tracing::info!(component = %component.name, digest = %artifact.digest, from_cache = artifact.from_cache, took_ms = began.elapsed().as_millis(), "component loaded");
        }
        fetched.map(|artifact| (component.clone(), artifact)).map_err(|error| format!("component {}: {error}", component.name))
    });
    let (loaded, failed): (Vec<_>, Vec<_>) =
        futures::future::join_all(loading).await.into_iter().partition(Result::is_ok);
    problems.extend(failed.into_iter().filter_map(Result::err));
    loaded.into_iter().flatten().collect()
}

fn targets(
    plan: &Plan,
    slots: &HashMap<String, Arc<Slot>>,
    loaded: &[(ComponentPlan, Artifact)],
) -> HashMap<String, Target> {
    let capabilities = plan
        .capabilities
        .iter()
        .map(|capability| (capability.name.clone(), Target::Capability(capability.kind.as_str().to_owned())));
    let components = loaded.iter().filter_map(|(component, artifact)| {
        let slot = slots.get(&component.name)?.clone();
        Some((component.name.clone(), Target::Component { slot, exports: artifact.component.component_type() }))
    });
    capabilities.chain(components).collect()
}

fn template(
    engine: &Engine,
    plan: &Plan,
    component: &ComponentPlan,
    artifact: &Artifact,
    targets: &HashMap<String, Target>,
) -> Result<InstancePre<Guest>, Vec<LinkError>> {
    let links: Vec<_> = plan.links_from(&component.name).collect();
    let linker = link::link(engine, &component.name, artifact, &links, targets)?;
    linker
        .instantiate_pre(&artifact.component)
        .map_err(|error| vec![LinkError::Engine { component: component.name.clone(), reason: format!("{error:#}") }])
}

/// Links from a capability to a component that does not export what the capability calls.
fn uncallable(engine: &Engine, plan: &Plan, components: &[Linked]) -> Vec<String> {
    let mut problems = Vec::new();
    for capability in &plan.capabilities {
        for link in plan.links_from(&capability.name) {
            let kind = capability.kind.as_str();
            let wanted = format!("{}:{}/{}", link.namespace, link.package, link.interfaces.join(","));
            if capability::called(kind) != Some(wanted.as_str()) {
                let calls = capability::called(kind)
                    .map_or("calls no component".to_owned(), |interface| format!("calls {interface}"));
                problems.push(format!(
                    "the link from {} to {} names {wanted}, but the built-in capability {kind} {calls}",
                    capability.name, link.target
                ));
                continue;
            }
            let Some(target) = components.iter().find(|component| component.plan.name == link.target) else { continue };
            let ty = target.artifact.component.component_type();
            let exported =
                ty.exports(engine.wasmtime()).any(|(name, _)| name.split('@').next() == Some(wanted.as_str()));
            if !exported {
                problems.push(format!(
                    "the link from {} to {} needs {} to export {wanted}, and it does not",
                    capability.name, link.target, link.target
                ));
            }
        }
    }
    problems
}
