//! Commands to components and providers. They are answered before they are done; those of one id are done one after the other in the
//! order of their arrival, those of different ids side by side. What comes of them is told by events.

pub(crate) mod component;
pub(crate) mod decision;
pub(crate) mod provider;
mod queue;

pub(crate) use component::Components;
pub(crate) use provider::Providers;
