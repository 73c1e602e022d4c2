//! A running component, and the slot that names it. Callers hold the slot, never the component, so that a version can be replaced between
//! two calls.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use wasmtime::Store;
use wasmtime::component::types::ComponentFunc;
use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc, Val,
};

use super::identity::Identity;
use super::pool::Pool;
use super::{Artifact, CallContext, CallError, Engine, Guest, Lease, slice};
use crate::capability::Grants;
use crate::manifest::RuntimeOptions;

/// One version of a component, linked and ready.
pub struct Component {
    /// Name and digest.
    pub identity: Arc<Identity>,
    /// Its compiled code.
    pub artifact: Artifact,
    /// Its instances.
    pub pool: Arc<Pool>,
    /// By interface, then by function.
    functions: HashMap<String, HashMap<String, Exported>>,
}

/// One exported function.
struct Exported {
    index: ComponentExportIndex,
    ty: ComponentFunc,
}

impl Component {
    /// Puts together what linking has made.
    #[must_use]
    pub fn new(
        engine: Engine,
        name: &str,
        artifact: Artifact,
        template: InstancePre<Guest>,
        grants: Arc<Grants>,
        options: RuntimeOptions,
    ) -> Self {
        let identity = Arc::new(Identity { name: name.to_owned(), digest: artifact.digest.clone() });
        let functions = exported_functions(&engine, &artifact);
        let pool = Arc::new(Pool::new(engine, template, identity.clone(), grants, options));
        Self { identity, artifact, pool, functions }
    }

    /// Calls an exported function by the names of its interface and itself, with values of its types.
    ///
    /// # Errors
    /// [`CallError`]; see there whether the component may have acted.
    pub async fn call(
        &self,
        interface: &str,
        function: &str,
        params: &[Val],
        results: &mut [Val],
        call: CallContext,
    ) -> Result<(), CallError> {
        let missing = || CallError::NotRunning {
            component: format!("{} (no export {interface}#{function})", self.identity.name),
        };
        let index = self.function(interface, function).ok_or_else(missing)?;
        let mut lease = self.pool.lease(call).await?;
        let timeout = lease.timeout();
        let (store, instance) = lease.parts();
        let callee = instance.get_func(&mut *store, index).ok_or_else(missing)?;
        let outcome = slice::within(timeout, callee.call_async(store, params, results)).await;
        lease.conclude(outcome)
    }

    /// An instance for a call through typed bindings.
    ///
    /// # Errors
    /// As [`Pool::lease`].
    pub async fn lease(&self, call: CallContext) -> Result<Lease, CallError> {
        self.pool.lease(call).await
    }

    /// The export of this component that a link's interface name, which has no version, means.
    #[must_use]
    pub fn export_named(&self, path: &str) -> Option<&str> {
        self.functions.keys().map(String::as_str).find(|interface| interface.split('@').next() == Some(path))
    }

    /// An exported function with its types, for the capabilities that call components. `path` has no version.
    ///
    /// # Errors
    /// When the component has no such export, or one of other types.
    pub fn typed<P, R>(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
        path: &str,
        function: &str,
    ) -> wasmtime::Result<TypedFunc<P, R>>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let index = self.export_named(path).and_then(|interface| self.function(interface, function));
        let index =
            index.ok_or_else(|| wasmtime::Error::msg(format!("the component does not export {path}#{function}")))?;
        instance.get_typed_func(store, index)
    }

    /// Where an exported function is; names carry their version as the component exports it.
    #[must_use]
    pub fn function(&self, interface: &str, function: &str) -> Option<&ComponentExportIndex> {
        self.exported_function(interface, function).map(|exported| &exported.index)
    }

    /// The types of an exported function; names as for [`Component::function`].
    #[must_use]
    pub fn function_type(&self, interface: &str, function: &str) -> Option<&ComponentFunc> {
        self.exported_function(interface, function).map(|exported| &exported.ty)
    }

    /// Every exported function of an interface: the interface with its version, the function, its types.
    pub fn exported(&self) -> impl Iterator<Item = (&str, &str, &ComponentFunc)> {
        self.functions.iter().flat_map(|(interface, functions)| {
            functions.iter().map(|(function, exported)| (interface.as_str(), function.as_str(), &exported.ty))
        })
    }

    fn exported_function(&self, interface: &str, function: &str) -> Option<&Exported> {
        self.functions.get(interface)?.get(function)
    }
}

fn exported_functions(engine: &Engine, artifact: &Artifact) -> HashMap<String, HashMap<String, Exported>> {
    use wasmtime::component::types::ComponentItem;
    let component = &artifact.component;
    let mut functions: HashMap<String, HashMap<String, Exported>> = HashMap::new();
    for (interface, export) in component.component_type().exports(engine.wasmtime()) {
        let ComponentItem::ComponentInstance(instance) = export.ty else { continue };
        let Some(parent) = component.get_export_index(None, interface) else { continue };
        for (name, item) in instance.exports(engine.wasmtime()) {
            if let (ComponentItem::ComponentFunc(ty), Some(index)) =
                (item.ty, component.get_export_index(Some(&parent), name))
            {
                functions.entry(interface.to_owned()).or_default().insert(name.to_owned(), Exported { index, ty });
            }
        }
    }
    functions
}

/// The name under which links find a component, whatever version runs there.
pub struct Slot {
    /// The component's name in the manifest.
    pub name: String,
    current: ArcSwapOption<Component>,
}

impl Slot {
    /// A slot where nothing runs yet.
    #[must_use]
    pub fn empty(name: &str) -> Self {
        Self { name: name.to_owned(), current: ArcSwapOption::empty() }
    }

    /// What runs now.
    ///
    /// # Errors
    /// [`CallError::NotRunning`] when nothing does.
    pub fn current(&self) -> Result<Arc<Component>, CallError> {
        self.current.load_full().ok_or_else(|| CallError::NotRunning { component: self.name.clone() })
    }

    /// Puts a version in place; calls that began on the one before end there, and it is gone when the last of them has ended and nobody
    /// holds it any more. Gives back the one before.
    pub fn install(&self, component: Arc<Component>) -> Option<Arc<Component>> {
        self.current.swap(Some(component))
    }

    /// Puts `after` in the place of `before`, unless something else took it meanwhile.
    #[must_use]
    pub fn replace(&self, before: &Arc<Component>, after: Arc<Component>) -> bool {
        let found = self.current.compare_and_swap(&Some(before.clone()), Some(after));
        found.as_ref().is_some_and(|found| Arc::ptr_eq(found, before))
    }

    /// Whether this very version is the one that new calls reach.
    #[must_use]
    pub fn serves(&self, component: &Arc<Component>) -> bool {
        self.current.load().as_ref().is_some_and(|current| Arc::ptr_eq(current, component))
    }

    /// Takes away what runs; new calls find nothing.
    pub fn clear(&self) -> Option<Arc<Component>> {
        self.current.swap(None)
    }
}
