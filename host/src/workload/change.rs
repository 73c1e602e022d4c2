//! The road of one component from a plan to a version that serves: load, link, check those who call it, connect, instantiate, and only then
//! replace what ran before. Nothing on this road touches the version that serves.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime::component::InstancePre;

use super::settings::{self, Fingerprint};
use super::{ChangeError, Inner, Running, Started, connect, linking, lock, probation};
use crate::limits;
use crate::link::{LinkError, Surroundings};
use crate::manifest::{ComponentPlan, Plan};
use crate::runtime::{Artifact, Component, Guest};

/// Why a version is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Somebody wants this code or these settings.
    Command,
    /// Links or capabilities around it changed.
    Surroundings,
}

impl Inner {
    /// See [`Workload::start`](super::Workload::start).
    pub(super) async fn start(self: &Arc<Self>, plan: ComponentPlan) -> Result<Started, ChangeError> {
        let turn = self.turn(&plan.name);
        let _order = turn.order.lock().await;
        let given_up = turn.begin();
        let began = std::time::Instant::now();
        let artifact = self.ground.artifacts.fetch(&plan.image).await?;
        tracing::debug!(component = %plan.name, digest = %artifact.digest, from_cache = artifact.from_cache, took_ms = began.elapsed().as_millis(), "code is ready");
        self.bring(plan, artifact, Reason::Command, &given_up).await
    }

    /// Brings a running component to the links and capabilities that are there now.
    pub(super) async fn relink(self: &Arc<Self>, id: &str) -> Result<(), ChangeError> {
        let turn = self.turn(id);
        let _order = turn.order.lock().await;
        let given_up = turn.begin();
        let Some(running) = lock(&self.running).get(id).cloned() else { return Ok(()) };
        self.bring(running.plan, running.artifact, Reason::Surroundings, &given_up).await.map(drop)
    }

    async fn bring(
        self: &Arc<Self>,
        wanted: ComponentPlan,
        artifact: Artifact,
        reason: Reason,
        given_up: &CancellationToken,
    ) -> Result<Started, ChangeError> {
        let id = wanted.name.clone();
        let before = lock(&self.running).get(&id).cloned();
        let replaced = before.as_ref().map(|before| before.artifact.digest.clone());
        let replaced = replaced.filter(|digest| *digest != artifact.digest);
        loop {
            let plan = self.plan_with(&wanted);
            let recipe = recipe(&plan, &wanted, &artifact)?;
            if before.as_ref().is_some_and(|before| before.recipe == recipe) {
                self.remember(&wanted, None);
                return Ok(Started { digest: artifact.digest, replaced: None, unchanged: true });
            }
            let new_code = reason == Reason::Command && replaced.is_some();
            let template = self.fit(&wanted, &artifact, new_code).await?;
            let connected = self.connect(&plan, &wanted, before.as_ref(), given_up).await?;
            // Connecting may have taken long; what came meanwhile counts.
            if self::recipe(&self.plan_with(&wanted), &wanted, &artifact)? != recipe {
                continue;
            }
            let component = Arc::new(Component::new(
                self.ground.engine.clone(),
                &id,
                artifact.clone(),
                template,
                connected.grants.clone(),
                wanted.runtime,
            ));
            component.pool.rehearse().await.map_err(|error| ChangeError::Refused(vec![error.to_string()]))?;
            let running = Running { plan: wanted.clone(), artifact: artifact.clone(), connected, recipe };
            self.remember(&wanted, Some(running));
            let old = self.slot(&id).install(component.clone());
            if let Some(old) = old {
                old.pool.retire(true);
                if let (true, Some(before)) = (replaced.is_some(), before) {
                    probation::begin(self, component, old, before);
                }
            }
            return Ok(Started { digest: artifact.digest, replaced, unchanged: false });
        }
    }

    /// The plan as it is wanted now, with this component as it shall be.
    fn plan_with(&self, wanted: &ComponentPlan) -> Plan {
        let mut plan = lock(&self.plan).clone();
        plan.components.retain(|component| component.name != wanted.name);
        plan.components.push(wanted.clone());
        plan
    }

    fn remember(&self, wanted: &ComponentPlan, running: Option<Running>) {
        let mut plan = lock(&self.plan);
        plan.components.retain(|component| component.name != wanted.name);
        plan.components.push(wanted.clone());
        drop(plan);
        let mut all = lock(&self.running);
        match running {
            Some(running) => drop(all.insert(wanted.name.clone(), running)),
            None => {
                if let Some(running) = all.get_mut(&wanted.name) {
                    running.plan = wanted.clone();
                }
            }
        }
    }

    /// Puts back what a version was made of.
    pub(super) fn remember_again(&self, running: Running) {
        let wanted = running.plan.clone();
        self.remember(&wanted, Some(running));
    }

    /// Links the code. New code in the place of old must find all its links and serve all that lead to it; a lattice may send links a moment
    /// later than the code that needs them, so they are waited for.
    async fn fit(
        &self,
        wanted: &ComponentPlan,
        artifact: &Artifact,
        new_code: bool,
    ) -> Result<InstancePre<Guest>, ChangeError> {
        let deadline = tokio::time::Instant::now() + limits::LINK_GRACE;
        loop {
            let plan = self.plan_with(wanted);
            let late = self.ground.surroundings.late_links;
            // Old code without a link goes on failing where it failed; new code is not let in with a hole.
            let surroundings = Surroundings { late_links: late && !new_code, ..self.ground.surroundings.clone() };
            let problems = match self.link(&plan, wanted, artifact, &surroundings) {
                Ok(template) if new_code => {
                    let engine = &self.ground.engine;
                    let mut problems = linking::uncallable(engine, &plan, &wanted.name, artifact);
                    problems.extend(linking::abandoned(engine, &plan, &wanted.name, artifact, &self.codes()));
                    if problems.is_empty() {
                        return Ok(template);
                    }
                    problems
                }
                Ok(template) => return Ok(template),
                Err(errors) => errors
                    .iter()
                    .filter(|error| !late || !matches!(error, LinkError::Unused { .. } | LinkError::Named { .. }))
                    .map(ToString::to_string)
                    .collect(),
            };
            if problems.is_empty() {
                // Only what a lattice forgives.
                return self
                    .link(&plan, wanted, artifact, &self.ground.surroundings)
                    .map_err(|errors| ChangeError::Refused(errors.iter().map(ToString::to_string).collect()));
            }
            if !late || !new_code || tokio::time::Instant::now() >= deadline {
                return Err(ChangeError::Refused(problems));
            }
            tokio::time::sleep(limits::LINK_POLL).await;
        }
    }

    fn link(
        &self,
        plan: &Plan,
        wanted: &ComponentPlan,
        artifact: &Artifact,
        surroundings: &Surroundings,
    ) -> Result<InstancePre<Guest>, Vec<LinkError>> {
        for link in plan.links_from(&wanted.name).filter(|link| plan.capability(&link.target).is_none()) {
            // A target that does not run here has a place all the same: it may start here later.
            let _ = self.slot(&link.target);
        }
        let mut codes = self.codes();
        codes.insert(wanted.name.clone(), artifact.clone());
        let slots = lock(&self.slots).clone();
        let targets = linking::targets(plan, &wanted.name, &slots, &codes);
        linking::template(&self.ground.engine, plan, wanted, artifact, &targets, surroundings)
    }

    fn codes(&self) -> HashMap<String, Artifact> {
        lock(&self.running).iter().map(|(id, running)| (id.clone(), running.artifact.clone())).collect()
    }

    /// What is there already is used on. At first a component waits until its services are there; a running one is not kept waiting.
    async fn connect(
        &self,
        plan: &Plan,
        wanted: &ComponentPlan,
        before: Option<&Running>,
        given_up: &CancellationToken,
    ) -> Result<connect::Connected, ChangeError> {
        let none = connect::Connected::default();
        let kept = before.map_or(&none, |before| &before.connected);
        let connecting =
            connect::connect(plan, wanted, self.ground.migrations_root.as_deref(), kept, &self.ground.surroundings);
        let settings = |error: anyhow::Error| ChangeError::Settings(format!("{error:#}"));
        tokio::select! {
            connected = connecting => connected.map_err(settings),
            () = given_up.cancelled() => Err(ChangeError::Stopped(wanted.name.clone())),
            () = tokio::time::sleep(limits::CONNECT_FOR_CHANGE), if before.is_some() => Err(ChangeError::Settings(format!(
                "component {}: what its links lead to cannot be reached; the version that runs stays", wanted.name
            ))),
        }
    }
}

/// Everything that a version is made of: when it is the same, nothing has to be done.
fn recipe(plan: &Plan, wanted: &ComponentPlan, artifact: &Artifact) -> Result<Fingerprint, ChangeError> {
    let links: Vec<_> = plan
        .links_from(&wanted.name)
        .map(|link| {
            let kind = plan.capability(&link.target).map(|capability| capability.kind.as_str());
            (&link.target, &link.name, &link.namespace, &link.package, &link.interfaces, kind)
        })
        .collect();
    let config: Vec<(String, String)> = wanted.config.pairs().collect();
    let kinds =
        settings::settings_by_kind(plan, wanted).map_err(|error| ChangeError::Settings(format!("{error:#}")))?;
    Ok(settings::fingerprint(&(&artifact.digest, wanted.runtime, config, links, kinds)))
}
