//! What one guest's store holds: its sandbox, its resource table, its grants, and the call it serves. A guest can reach what is named
//! here and nothing else.

use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime::{StoreLimits, StoreLimitsBuilder};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::crash_point::Point;
use super::identity::Identity;
use super::output::GuestOutput;
use super::{CallContext, TraceContext};
use crate::capability::Grants;
use crate::capability::http_client::Outgoing;

/// The data of one store.
pub struct Guest {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What its links grant.
    pub grants: Arc<Grants>,
    /// The call that is being served.
    pub call: CallContext,
    /// Its limits on memory and tables.
    pub limits: StoreLimits,
    /// Its resources.
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outgoing: Outgoing,
}

impl Guest {
    /// A guest without files, network, environment or arguments; its output goes to the log.
    #[must_use]
    pub fn new(identity: Arc<Identity>, grants: Arc<Grants>, memory_limit_bytes: usize) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(GuestOutput::new(identity.clone(), "stdout")).stderr(GuestOutput::new(identity.clone(), "stderr"));
        Self {
            outgoing: Outgoing::new(identity.clone(), &grants),
            identity,
            grants,
            call: CallContext::new(TraceContext::root(), std::time::Duration::ZERO),
            limits: StoreLimitsBuilder::new().memory_size(memory_limit_bytes).trap_on_grow_failure(false).build(),
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
        }
    }

    /// Begins to serve another call.
    pub fn begin(&mut self, call: CallContext) {
        self.outgoing.begin(call.clone());
        self.call = call;
    }

    /// The next effect of the call that is being served.
    pub(crate) fn point(&self, what: impl FnOnce() -> String) -> Point {
        self.call.chain.point(&self.identity.name, what)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let hooks: &mut dyn WasiHttpHooks = &mut self.outgoing;
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks }
    }
}
