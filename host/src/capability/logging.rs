//! `wasi:logging/logging@0.1.0-draft`: a guest's log lines become the host's, with the guest's name, digest and trace.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker};

use crate::limits;
use crate::runtime::Guest;

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "guests make the values; they are lifted from their memory")]
enum Level {
    #[component(name = "trace")]
    Trace,
    #[component(name = "debug")]
    Debug,
    #[component(name = "info")]
    Info,
    #[component(name = "warn")]
    Warn,
    #[component(name = "error")]
    Error,
    #[component(name = "critical")]
    Critical,
}

/// Defines the interface.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance("wasi:logging/logging@0.1.0-draft")?.func_wrap(
        "log",
        |store: StoreContextMut<'_, Guest>, (level, context, message): (Level, String, String)| {
            write(store.data(), level, &context, cut(&message));
            Ok(())
        },
    )
}

fn write(guest: &Guest, level: Level, context: &str, message: &str) {
    let component = guest.identity.name.as_str();
    let trace_id = guest.call.trace.trace_id();
    match level {
        Level::Trace => tracing::trace!(target: "guest", component, context, %trace_id, "{message}"),
        Level::Debug => tracing::debug!(target: "guest", component, context, %trace_id, "{message}"),
        Level::Info => tracing::info!(target: "guest", component, context, %trace_id, "{message}"),
        Level::Warn => tracing::warn!(target: "guest", component, context, %trace_id, "{message}"),
        Level::Error | Level::Critical => tracing::error!(target: "guest", component, context, %trace_id, "{message}"),
    }
}

fn cut(message: &str) -> &str {
    let end = (0..=limits::MAX_LOG_LINE_BYTES.min(message.len())).rev().find(|at| message.is_char_boundary(*at));
    message.get(..end.unwrap_or(0)).unwrap_or_default()
}
