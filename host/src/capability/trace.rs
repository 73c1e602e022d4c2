//! `swiftcart:trace/context`: the trace context of the call that the guest serves.

use super::bindings::swiftcart::trace::context::{Host, TraceContext};
use crate::runtime::Guest;

impl Host for Guest {
    async fn current(&mut self) -> wasmtime::Result<TraceContext> {
        let trace = &self.call.trace;
        Ok(TraceContext { traceparent: trace.to_string(), tracestate: trace.state().map(str::to_owned) })
    }
}
