//! A link to a component, by export name and values, for any interface without resources. A target on this host is called in the process;
//! only when it does not run here does the call leave it.

use std::sync::Arc;

use wasmtime::component::types::{Component as ComponentType, ComponentFunc, ComponentInstance, ComponentItem};
use wasmtime::component::{Linker, Val};

use super::{DEFAULT_NAME, Remote, Way, failure};
use crate::policy::Guard;
use crate::runtime::{CallContext, CallError, Engine, Guest, Slot};

/// Whether the target's export has every function that is imported, with the same types.
///
/// # Errors
/// What is missing or different, in words.
pub fn check(engine: &Engine, import: &str, wanted: &ComponentInstance, target: &ComponentType) -> Result<(), String> {
    let engine = engine.wasmtime();
    let Some(ComponentItem::ComponentInstance(offered)) = target.get_export(engine, import).map(|export| export.ty)
    else {
        let others: Vec<&str> = target.exports(engine).map(|(name, _)| name).collect();
        return Err(format!("its exports are {}", others.join(", ")));
    };
    for (name, item) in wanted.exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(wanted) => {
                let Some(ComponentItem::ComponentFunc(offered)) =
                    offered.get_export(engine, name).map(|export| export.ty)
                else {
                    return Err(format!("it has no function {name}"));
                };
                if !same_signature(&wanted, &offered) {
                    return Err(format!("its function {name} has other parameters or results"));
                }
            }
            ComponentItem::Resource(_) => {
                return Err(format!("{name} is a resource, and resources do not pass between components"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether all of an imported interface can be called by values.
///
/// # Errors
/// The resource that cannot.
pub(crate) fn no_resources(engine: &Engine, wanted: &ComponentInstance) -> Result<(), String> {
    let mut exports = wanted.exports(engine.wasmtime());
    match exports.find(|(_, item)| matches!(item.ty, ComponentItem::Resource(_))) {
        Some((name, _)) => Err(format!("{name} is a resource, and resources do not pass between components")),
        None => Ok(()),
    }
}

fn same_signature(left: &ComponentFunc, right: &ComponentFunc) -> bool {
    left.params().map(|(_, ty)| ty).eq(right.params().map(|(_, ty)| ty)) && left.results().eq(right.results())
}

/// Where the functions of one imported interface lead.
#[derive(Clone)]
pub(crate) enum Road {
    /// To whatever runs in the slot at the moment of the call, else to other hosts.
    To {
        /// Where the callee runs, if it runs here.
        slot: Arc<Slot>,
        /// The way to other hosts.
        remote: Option<Arc<dyn Remote>>,
        /// The policy of the link.
        guard: Arc<Guard>,
    },
    /// Nowhere: there is no link.
    Denied,
}

/// Defines every function of an interface that `source` imports.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub(crate) fn define(
    engine: &Engine,
    linker: &mut Linker<Guest>,
    import: &str,
    wanted: &ComponentInstance,
    source: &str,
    road: &Road,
) -> wasmtime::Result<()> {
    let mut instance = linker.instance(import)?;
    for (name, item) in wanted.exports(engine.wasmtime()) {
        let ComponentItem::ComponentFunc(function) = item.ty else { continue };
        let target = match road {
            Road::To { slot, .. } => slot.name.clone(),
            Road::Denied => String::new(),
        };
        let way = Way {
            source: source.to_owned(),
            target,
            link: DEFAULT_NAME.to_owned(),
            interface: import.to_owned(),
            function: name.to_owned(),
            params: function.params().map(|(_, ty)| ty).collect(),
            results: function.results().collect(),
        };
        let import = Arc::new(Import { road: road.clone(), way });
        instance.func_new_async(name, move |store, _, params, results| {
            let (import, call) = (import.clone(), store.data().call.nested());
            Box::new(async move {
                let outcome = match call {
                    Ok(call) => {
                        let point = call.chain.point(&import.way.source, || import.way.outline());
                        let way = &import.way;
                        point
                            .around(import.call(params, results, call), |_| way.unreachable(), |why| way.lost(why))
                            .await
                    }
                    Err(error) => Err(error),
                };
                let Err(error) = outcome else { return Ok(()) };
                // The caller's contract may have a word for "could not be reached" or "outcome unknown"; else the caller traps.
                match (import.way.results.first().and_then(|ty| failure::value(ty, &error)), results.first_mut()) {
                    (Some(value), Some(slot)) => *slot = value,
                    _ => return Err(wasmtime::Error::new(error)),
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// One imported function and where it leads.
struct Import {
    road: Road,
    way: Way,
}

impl Import {
    /// One call under the link's policy, with as many attempts as that allows.
    async fn call(&self, params: &[Val], results: &mut [Val], call: CallContext) -> Result<(), CallError> {
        let active = match &self.road {
            Road::To { guard, .. } => guard.active(),
            Road::Denied => None,
        };
        let Some(active) = active else { return self.attempt(params, results, call).await };
        let call = active.within(call);
        let mut attempts = active.begin();
        loop {
            let outcome = match active.admit(&call).await {
                Ok(pass) => {
                    let outcome = self.attempt(params, results, call.clone()).await;
                    drop(pass.end(&outcome, results));
                    outcome
                }
                Err(refusal) => Err(refusal),
            };
            match attempts.next(&outcome, results, &call) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return attempts.conclude(outcome, results),
            }
        }
    }

    async fn attempt(&self, params: &[Val], results: &mut [Val], call: CallContext) -> Result<(), CallError> {
        let Road::To { slot, remote, .. } = &self.road else {
            return Err(CallError::NotLinked {
                component: self.way.source.clone(),
                import: self.way.interface.clone(),
            });
        };
        let here = match slot.current() {
            Ok(component) => {
                component.call(&self.way.interface, &self.way.function, params, results, call.clone()).await
            }
            Err(absent) => Err(absent),
        };
        match (here, remote) {
            // Nothing was done here, so it may be done elsewhere.
            (Err(CallError::NotRunning { .. }), Some(remote)) => remote.call(&self.way, params, results, call).await,
            (outcome, _) => outcome,
        }
    }
}
