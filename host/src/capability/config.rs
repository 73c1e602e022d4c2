//! `wasi:config/store@0.2.0-draft` (and its older name `runtime`): the component's own configuration and secrets, read only. Defined by
//! hand because no crate carries the host's side of this draft.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Linker, Lower};

use crate::runtime::Guest;

/// `variant error` of the interface; reading from memory cannot fail, so no case is ever made.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    #[allow(dead_code, reason = "the contract has the case; this store cannot fail")]
    Upstream(String),
    #[component(name = "io")]
    #[allow(dead_code, reason = "the contract has the case; this store cannot fail")]
    Io(String),
}

/// Defines both names of the interface.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    for name in ["wasi:config/store@0.2.0-draft", "wasi:config/runtime@0.2.0-draft"] {
        let mut instance = linker.instance(name)?;
        instance.func_wrap("get", |store: StoreContextMut<'_, Guest>, (key,): (String,)| {
            Ok((Ok::<_, Error>(store.data().grants.config.get(&key).cloned()),))
        })?;
        instance.func_wrap("get-all", |store: StoreContextMut<'_, Guest>, (): ()| {
            let all: Vec<(String, String)> =
                store.data().grants.config.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            Ok((Ok::<_, Error>(all),))
        })?;
    }
    Ok(())
}
