//! Logs on standard error, from where the host takes them; as text or JSON, as the host has it.

use tracing_subscriber::EnvFilter;

use super::host_data::HostData;

/// At finer levels these libraries print what passes through them: other people's data.
const QUIET: [&str; 4] = ["wrpc_transport=info", "wrpc_transport_nats=info", "wasm_tokio=info", "async_nats=info"];

/// Sends the records of this process to standard error. `RUST_LOG`, which hosts pass on, has the last word about what is told.
pub(crate) fn init(data: &HostData) {
    let level = match data.log_level.as_deref() {
        Some("critical") => "error",
        Some(level @ ("error" | "warn" | "info" | "debug" | "trace")) => level,
        _ => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let filter = QUIET.iter().filter_map(|quiet| quiet.parse().ok()).fold(filter, EnvFilter::add_directive);
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    let outcome = if data.structured_logging { logs.json().flatten_event(true).try_init() } else { logs.try_init() };
    if let Err(error) = outcome {
        eprintln!("logging is set up already: {error}");
    }
}
