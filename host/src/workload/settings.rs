//! The settings of capabilities and links: put together here, and checked all at once before anything connects, by the same
//! `Config::from_pairs` that later makes the clients.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use swiftcart_provider_email as email;
use swiftcart_provider_http as http;
use swiftcart_provider_kafka as kafka;
use swiftcart_provider_outbox as outbox;
use swiftcart_provider_postgres as postgres;
use swiftcart_provider_redis as redis;

use crate::capability::{self, timer};
use crate::manifest::{CapabilityPlan, ComponentPlan, LinkPolicy, Plan};
use crate::policy;

/// Says whether settings are still the same, without keeping a secret.
pub(crate) type Fingerprint = [u8; 32];

/// The fingerprint of anything that can be shown.
#[must_use]
pub(crate) fn fingerprint(what: &impl std::fmt::Debug) -> Fingerprint {
    Sha256::digest(format!("{what:?}")).into()
}

/// The pairs of a link's side over those of the capability itself.
#[must_use]
pub(crate) fn settings(plan: &Plan, capability: &str, link: &crate::manifest::Settings) -> BTreeMap<String, String> {
    let own = plan.capability(capability).into_iter().flat_map(|capability| capability.config.pairs());
    own.chain(link.pairs()).collect()
}

/// A component has one client of a kind, so the settings of all its links to that kind are put together.
///
/// # Errors
/// When they contradict each other.
pub(crate) fn settings_by_kind(
    plan: &Plan,
    component: &ComponentPlan,
) -> anyhow::Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut kinds: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for link in plan.links_from(&component.name) {
        let Some(capability) = plan.capability(&link.target) else { continue };
        let pairs = kinds.entry(capability.kind.as_str().to_owned()).or_default();
        for (key, value) in settings(plan, &link.target, &link.target_config) {
            if pairs.get(&key).is_some_and(|before| *before != value) {
                bail!(
                    "the links from {} to capabilities {} give {key} two different values",
                    component.name,
                    capability.kind.as_str()
                );
            }
            pairs.insert(key, value);
        }
    }
    Ok(kinds)
}

/// Checks the settings of every link and capability.
///
/// # Errors
/// One line for each that cannot work, naming the link or capability and the key.
pub(crate) fn check(plan: &Plan) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    let mut note = |outcome: anyhow::Result<()>| problems.extend(outcome.err().map(|error| format!("{error:#}")));
    for component in &plan.components {
        note(granted(plan, component));
    }
    for capability in &plan.capabilities {
        let kind = capability.kind.as_str();
        note(check_capability(capability));
        for link in plan.links_from(&capability.name) {
            let pairs = settings(plan, &link.source, &link.source_config);
            let outcome = match kind {
                "http-server" => http::ServerConfig::from_pairs(pairs).map(drop).map_err(anyhow::Error::from),
                "kafka" => kafka::ConsumerConfig::from_pairs(pairs).map(drop).map_err(anyhow::Error::from),
                "timer" => timer::parse(pairs).map(drop).map_err(anyhow::Error::msg),
                _ => Ok(()),
            };
            note(outcome.with_context(|| format!("the link from {} to {}", link.source, link.target)));
        }
    }
    problems.extend(misplaced(plan));
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Checks the settings of a capability that has no link.
///
/// # Errors
/// What cannot work.
pub(crate) fn check_capability(capability: &CapabilityPlan) -> anyhow::Result<()> {
    match capability.kind.as_str() {
        "outbox" => outbox::Config::from_pairs(capability.config.pairs()).map(drop).map_err(anyhow::Error::from),
        _ => Ok(()),
    }
    .with_context(|| format!("capability {}", capability.name))
}

fn granted(plan: &Plan, component: &ComponentPlan) -> anyhow::Result<()> {
    for (kind, pairs) in settings_by_kind(plan, component)? {
        let context = || format!("the link from {} to a capability {kind}", component.name);
        check_kind(&kind, &pairs).with_context(context)?;
    }
    Ok(())
}

/// Checks what the links of one component say to one kind of capability.
///
/// # Errors
/// What cannot work.
pub(crate) fn check_kind(kind: &str, pairs: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let pairs = pairs.clone();
    match kind {
        "postgres" => postgres::Config::from_pairs(pairs).map(drop).map_err(anyhow::Error::from),
        "redis" => redis::Config::from_pairs(pairs).map(drop).map_err(anyhow::Error::from),
        "email" => email::Config::from_pairs(pairs).map(drop).map_err(anyhow::Error::from),
        "http-client" => http::ClientConfig::from_pairs(pairs).map(drop).map_err(anyhow::Error::from),
        _ => Ok(()),
    }
}

/// Policies that this host would not enforce, one line each: those of links to a capability, which has limits of its own, but for what is said here.
pub(crate) fn misplaced(plan: &Plan) -> Vec<String> {
    let mut problems = Vec::new();
    for link in &plan.links {
        let Some(capability) = plan.capability(&link.target) else { continue };
        let Ok(wanted) = LinkPolicy::read(&link.source_config) else { continue };
        let kind = capability.kind.as_str();
        let enforced = capability::enforced(kind);
        for (group, there) in [
            ("policy.deadline_ms", wanted.deadline.is_some()),
            ("policy.retry", wanted.retry.is_some()),
            ("policy.breaker", wanted.breaker.is_some()),
            ("policy.bulkhead", wanted.bulkhead.is_some()),
        ] {
            if there && !enforced.contains(&group) {
                let instead = if enforced.is_empty() { "none".to_owned() } else { enforced.join(" and ") };
                problems.push(format!(
                    "{}: `{group}` is not enforced on links to the built-in capability {kind} (of policies, {instead}): put it on the link to the component that calls it",
                    policy::label(link)
                ));
            }
        }
    }
    problems
}
