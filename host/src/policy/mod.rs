//! The policies of links at work: deadline, retries, breaker and bulkhead, for any interface, whether the callee runs here or elsewhere. Components
//! hold no state between calls, so what has to be remembered is remembered here. Invariant: the state belongs to source, target and interface; it
//! outlives new code on either side and every change of links that leaves the policy as it is.

mod breaker;
mod bulkhead;
mod guard;
mod measure;
mod outcome;
mod path;
mod retry;
mod window;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

pub use breaker::{BreakerState, Forced};
pub use guard::Guard;
use path::Path;

use crate::manifest::{LinkPlan, LinkPolicy};

/// All links that this host knows of.
#[derive(Default)]
pub struct Guards(Mutex<BTreeMap<Path, Arc<Guard>>>);

impl Guards {
    /// What stands before this link, made when it is first asked for.
    pub(crate) fn of(&self, source: &str, target: &str, interface: &str) -> Arc<Guard> {
        let path = Path::new(source, target, interface);
        self.all().entry(path.clone()).or_insert_with(|| Arc::new(Guard::new(path))).clone()
    }

    /// The links there are now. A link whose policy cannot be read keeps the one it had; the errors name it.
    pub(crate) fn set(&self, links: &[LinkPlan]) -> Vec<String> {
        let mut wanted = BTreeMap::new();
        let mut errors = Vec::new();
        for link in links {
            let policy = match LinkPolicy::read(&link.source_config) {
                Ok(policy) => Some(policy),
                Err(problems) => {
                    errors.extend(problems.iter().map(|problem| format!("{}: {problem}", label(link))));
                    None
                }
            };
            wanted.extend(link.paths().map(|path| (Path::new(&link.source, &link.target, &path), policy)));
        }
        let mut all = self.all();
        for (path, policy) in &wanted {
            let Some(policy) = policy else { continue };
            if !policy.is_empty() || all.contains_key(path) {
                all.entry(path.clone()).or_insert_with(|| Arc::new(Guard::new(path.clone()))).set(*policy);
            }
        }
        // A component may still hold the guard of a link that is gone, and go on with it when the link comes back.
        all.retain(|path, guard| {
            if !wanted.contains_key(path) {
                guard.set(LinkPolicy::default());
            }
            wanted.contains_key(path) || Arc::strong_count(guard) > 1
        });
        errors
    }

    /// `/v1/breakers`: where each breaker stands.
    #[must_use]
    pub fn breakers(&self) -> Value {
        let guards: Vec<Arc<Guard>> = self.all().values().cloned().collect();
        json!({"breakers": guards.iter().filter_map(|guard| guard.show()).collect::<Vec<_>>()})
    }

    /// Holds a breaker open or closed, or (`None`) lets it judge by itself again. What it is then; none if there is no such breaker.
    pub fn force(&self, id: &str, forced: Option<Forced>) -> Option<Value> {
        let guard = self.all().values().find(|guard| guard.id() == id).cloned()?;
        let shown = guard.force(forced)?;
        tracing::warn!(breaker = id, ?forced, "an operator changed a breaker");
        Some(shown)
    }

    /// What this lock guards is changed in one step, so a poisoned one is still right.
    fn all(&self) -> MutexGuard<'_, BTreeMap<Path, Arc<Guard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a link is named in messages.
pub(crate) fn label(link: &LinkPlan) -> String {
    format!("link `{}` -> `{}` ({}:{})", link.source, link.target, link.namespace, link.package)
}

#[cfg(test)]
mod tests;
