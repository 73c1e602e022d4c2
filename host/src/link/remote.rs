//! A link to a component or provider that runs elsewhere: the call leaves the process with its values, its deadline and its trace.

use async_trait::async_trait;
use wasmtime::component::{Type, Val};

use crate::runtime::{CallContext, CallError};

/// What one imported function calls when its target does not run here.
#[derive(Clone, Debug)]
pub struct Way {
    /// Id of the caller.
    pub source: String,
    /// Id of the callee.
    pub target: String,
    /// Name of the link, `default` unless the manifest gives another.
    pub link: String,
    /// The interface as the caller imports it, with its version: `wasi:keyvalue/store@0.2.0-draft`.
    pub interface: String,
    /// The function.
    pub function: String,
    /// Types of its parameters.
    pub params: Vec<Type>,
    /// Types of its results: none or one.
    pub results: Vec<Type>,
}

impl Way {
    /// Where it leads, for whoever looks at a list of effects.
    pub(crate) fn outline(&self) -> String {
        format!("{} {}.{}", self.target, self.interface, self.function)
    }

    /// The failure of a call that reached nobody.
    pub(crate) fn unreachable(&self) -> CallError {
        CallError::Unreachable { component: self.target.clone() }
    }

    /// The failure of a call whose outcome is not known.
    pub(crate) fn lost(&self, reason: String) -> CallError {
        CallError::Lost { component: self.target.clone(), reason }
    }
}

/// The road to other hosts.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// Calls the function over there and fills `results`.
    ///
    /// # Errors
    /// [`CallError::Unreachable`] when nobody took the call, [`CallError::DeadlineExceeded`] or [`CallError::Lost`] when it is not known
    /// what the callee did.
    async fn call(&self, way: &Way, params: &[Val], results: &mut [Val], call: CallContext) -> Result<(), CallError>;
}
