//! Where does an import lead? Builds the linker of one component from its links: an import without a link, a link that leads nowhere, or
//! two sides that do not fit are errors that name the component, the import and the link. Deny by default.

pub(crate) mod failure;
mod local;
mod remote;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use wasmtime::component::types::{Component as ComponentType, ComponentInstance, ComponentItem};
use wasmtime::component::{Linker, ResourceType};

use crate::capability;
use crate::manifest::{Interface, LinkPlan};
use crate::policy::Guards;
use crate::runtime::{Artifact, Engine, Guest, Slot};

use local::Road;
pub use local::check;
pub use remote::{Remote, Way};

/// The name of a link that a component uses unless it asks for another.
const DEFAULT_NAME: &str = "default";

/// What a link's target is.
pub enum Target {
    /// Another component, or a provider that runs elsewhere.
    Component {
        /// Where it runs, if it runs here.
        slot: Arc<Slot>,
        /// Its imports and exports, if it runs here: both sides are checked against each other.
        exports: Option<ComponentType>,
    },
    /// A built-in capability of this kind.
    Capability(String),
}

/// Why a component cannot be linked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The component imports what no link grants.
    #[error(
        "component {component} imports {import}, but no link grants it. Add a link trait from {component} for it, or build the component without it"
    )]
    Missing {
        /// The component.
        component: String,
        /// The import.
        import: String,
    },
    /// The import is not one that any link could grant.
    #[error("component {component} imports {import}, which this host does not offer to components")]
    NotOffered {
        /// The component.
        component: String,
        /// The import.
        import: String,
    },
    /// The link names an interface that the component does not import.
    #[error("the link from {component} to {target} names {interface}, but {component} imports nothing of it")]
    Unused {
        /// The source.
        component: String,
        /// The target.
        target: String,
        /// The interfaces of the link.
        interface: String,
    },
    /// The target does not have what the link promises.
    #[error("the link from {component} to {target} promises {import}, but {target} does not offer it: {reason}")]
    NotProvided {
        /// The source.
        component: String,
        /// The target.
        target: String,
        /// The import.
        import: String,
        /// What is missing or different.
        reason: String,
    },
    /// Link names other than `default` choose between several links of one interface.
    #[error("the link from {component} to {target} is named {name}; this host knows links named `default` only")]
    Named {
        /// The source.
        component: String,
        /// The target.
        target: String,
        /// The name.
        name: String,
    },
    /// The engine refuses to link.
    #[error("component {component} cannot be linked: {reason}")]
    Engine {
        /// The component.
        component: String,
        /// The engine's words.
        reason: String,
    },
}

/// What surrounds the components of this host.
#[derive(Clone, Default)]
pub struct Surroundings {
    /// The road to other hosts.
    pub remote: Option<Arc<dyn Remote>>,
    /// Links may come after the component: an import without one fails when it is called, and a link without an import is nobody's fault.
    pub late_links: bool,
    /// The policies of links.
    pub guards: Arc<Guards>,
}

/// Builds the linker of one component. `links` are those whose source it is; `targets` are all components and capabilities by name.
///
/// # Errors
/// Every problem that was found, not only the first.
pub fn link(
    engine: &Engine,
    name: &str,
    artifact: &Artifact,
    links: &[&LinkPlan],
    targets: &HashMap<String, Target>,
    surroundings: &Surroundings,
) -> Result<Linker<Guest>, Vec<LinkError>> {
    let linker = Linker::new(engine.wasmtime());
    let mut linking = Linking { engine, name, links, targets, surroundings, linker, errors: Vec::new() };
    if !surroundings.late_links {
        linking.check_links(artifact);
    }
    linking.step(capability::add_ambient);
    for (import, item) in artifact.component.component_type().imports(engine.wasmtime()) {
        match item.ty {
            ComponentItem::ComponentInstance(instance) => linking.import(import, &instance),
            _ => linking.errors.push(LinkError::NotOffered { component: name.to_owned(), import: import.to_owned() }),
        }
    }
    if linking.errors.is_empty() { Ok(linking.linker) } else { Err(linking.errors) }
}

struct Linking<'a> {
    engine: &'a Engine,
    name: &'a str,
    links: &'a [&'a LinkPlan],
    targets: &'a HashMap<String, Target>,
    surroundings: &'a Surroundings,
    linker: Linker<Guest>,
    errors: Vec<LinkError>,
}

impl Linking<'_> {
    /// A link of which the component imports nothing is a mistake in the manifest or a component of the wrong version.
    fn check_links(&mut self, artifact: &Artifact) {
        let ty = artifact.component.component_type();
        let imports: Vec<Interface> =
            ty.imports(self.engine.wasmtime()).filter_map(|(name, _)| Interface::parse(name)).collect();
        for link in self.links {
            if link.name != DEFAULT_NAME {
                self.errors.push(LinkError::Named {
                    component: self.name.to_owned(),
                    target: link.target.clone(),
                    name: link.name.clone(),
                });
            }
            if !imports.iter().any(|import| import.granted_by(link)) {
                let interface = format!("{}:{}/{{{}}}", link.namespace, link.package, link.interfaces.join(", "));
                self.errors.push(LinkError::Unused {
                    component: self.name.to_owned(),
                    target: link.target.clone(),
                    interface,
                });
            }
        }
    }

    fn import(&mut self, import: &str, instance: &ComponentInstance) {
        let component = || self.name.to_owned();
        let Some(interface) = Interface::parse(import) else {
            return self.errors.push(LinkError::NotOffered { component: component(), import: import.to_owned() });
        };
        if capability::is_ambient(&interface) {
            return;
        }
        if self.has_no_functions(instance) {
            return self.powerless(import, instance);
        }
        let Some(link) = self.links.iter().find(|link| link.name == DEFAULT_NAME && interface.granted_by(link)) else {
            return self.unlinked(import, &interface, instance);
        };
        match self.targets.get(&link.target) {
            Some(Target::Capability(kind)) => {
                if !capability::provides(kind, &interface) {
                    let reason =
                        format!("the built-in capability {kind} provides {}", capability::provided(kind).join(", "));
                    return self.errors.push(self.not_provided(&link.target, import, reason));
                }
                self.step(|linker| capability::add_granted(linker, &interface));
            }
            Some(Target::Component { slot, exports }) => {
                let fits = match exports {
                    Some(exports) => local::check(self.engine, import, instance, exports),
                    None => local::no_resources(self.engine, instance),
                };
                if let Err(reason) = fits {
                    return self.errors.push(self.not_provided(&link.target, import, reason));
                }
                let guard = self.surroundings.guards.of(self.name, &link.target, &interface.path());
                let road = Road::To { slot: slot.clone(), remote: self.surroundings.remote.clone(), guard };
                self.define(import, instance, &road);
            }
            None => self.errors.push(self.not_provided(&link.target, import, "there is no such component".to_owned())),
        }
    }

    /// Deny by default: at start, or, where links may come later, at each call.
    fn unlinked(&mut self, import: &str, interface: &Interface, instance: &ComponentInstance) {
        if !self.surroundings.late_links {
            let component = self.name.to_owned();
            return self.errors.push(LinkError::Missing { component, import: import.to_owned() });
        }
        if capability::is_provided(interface) {
            self.step(|linker| capability::add_granted(linker, interface));
        } else if local::no_resources(self.engine, instance).is_ok() {
            self.define(import, instance, &Road::Denied);
        } else {
            self.errors.push(LinkError::NotOffered { component: self.name.to_owned(), import: import.to_owned() });
        }
    }

    fn define(&mut self, import: &str, instance: &ComponentInstance, road: &Road) {
        let (engine, name) = (self.engine, self.name);
        self.step(|linker| local::define(engine, linker, import, instance, name, road));
    }

    fn has_no_functions(&self, instance: &ComponentInstance) -> bool {
        let mut exports = instance.exports(self.engine.wasmtime());
        exports.all(|(_, item)| matches!(item.ty, ComponentItem::Type(_) | ComponentItem::Resource(_)))
    }

    /// An interface of types alone (`inventory/types`) gives no power, so it needs no link; whoever uses its types needs one. The standard
    /// library names resources of `wasi:sockets` without calling anything: they are defined as resources of which there is none.
    fn powerless(&mut self, import: &str, instance: &ComponentInstance) {
        let engine = self.engine.wasmtime();
        let resources = instance.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::Resource(_)));
        let names: Vec<String> = resources.map(|(name, _)| name.to_owned()).collect();
        self.step(|linker| {
            let mut defined = linker.instance(import)?;
            names.iter().try_for_each(|name| defined.resource(name, ResourceType::host::<Infallible>(), |_, _| Ok(())))
        });
    }

    fn not_provided(&self, target: &str, import: &str, reason: String) -> LinkError {
        LinkError::NotProvided {
            component: self.name.to_owned(),
            target: target.to_owned(),
            import: import.to_owned(),
            reason,
        }
    }

    fn step(&mut self, add: impl FnOnce(&mut Linker<Guest>) -> wasmtime::Result<()>) {
        if let Err(error) = add(&mut self.linker) {
            self.errors.push(LinkError::Engine { component: self.name.to_owned(), reason: format!("{error:#}") });
        }
    }
}
