//! A link to a component on this host: the call stays in the process, by export name and values, for any interface without resources.

use std::sync::Arc;

use wasmtime::component::types::{Component as ComponentType, ComponentFunc, ComponentInstance, ComponentItem, Type};
use wasmtime::component::{Linker, Val};

use super::failure;
use crate::runtime::{CallContext, Engine, Guest, Slot};

/// Whether the target's export has every function that is imported, with the same types.
///
/// # Errors
/// What is missing or different, in words.
pub(crate) fn check(
    engine: &Engine,
    import: &str,
    wanted: &ComponentInstance,
    target: &ComponentType,
) -> Result<(), String> {
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

fn same_signature(left: &ComponentFunc, right: &ComponentFunc) -> bool {
    left.params().map(|(_, ty)| ty).eq(right.params().map(|(_, ty)| ty)) && left.results().eq(right.results())
}

/// Defines every function of an imported interface as a call to whatever version runs in the slot at that moment.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub(crate) fn define(
    engine: &Engine,
    linker: &mut Linker<Guest>,
    import: &str,
    wanted: &ComponentInstance,
    slot: &Arc<Slot>,
) -> wasmtime::Result<()> {
    let mut instance = linker.instance(import)?;
    for (name, item) in wanted.exports(engine.wasmtime()) {
        let ComponentItem::ComponentFunc(function) = item.ty else { continue };
        let road = Arc::new(Road {
            slot: slot.clone(),
            interface: import.to_owned(),
            function: name.to_owned(),
            result: function.results().next(),
        });
        instance.func_new_async(name, move |store, _, params, results| {
            let (road, call) = (road.clone(), store.data().call.nested());
            Box::new(async move {
                let outcome = match call {
                    Ok(call) => road.travel(params, results, call).await,
                    Err(error) => Err(error),
                };
                let Err(error) = outcome else { return Ok(()) };
                // The caller's contract may have a word for "could not be reached" or "outcome unknown"; else the caller traps.
                match (road.result.as_ref().and_then(|ty| failure::value(ty, &error)), results.first_mut()) {
                    (Some(value), Some(slot)) => *slot = value,
                    _ => return Err(wasmtime::Error::new(error)),
                }
                Ok(())
            })
        })?;
    }
    Ok(())
}

/// The way of one imported function to its callee.
struct Road {
    slot: Arc<Slot>,
    interface: String,
    function: String,
    result: Option<Type>,
}

impl Road {
    async fn travel(
        &self,
        params: &[Val],
        results: &mut [Val],
        call: CallContext,
    ) -> Result<(), crate::runtime::CallError> {
        self.slot.current()?.call(&self.interface, &self.function, params, results, call).await
    }
}
