//! What a guest can do. One file per WIT interface translates it to a provider library; this file is the list. Everything outside the
//! ambient list needs a link.

pub mod bindings;
pub mod config;
pub mod email;
pub mod http_client;
pub mod http_server;
pub mod kafka;
pub mod keyvalue;
pub mod logging;
pub mod policy;
pub mod postgres;
pub mod scripts;
pub mod timer;
pub mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use swiftcart_provider_email::Mailer;
use swiftcart_provider_postgres::Postgres;
use swiftcart_provider_redis::Redis;
use wasmtime::component::{HasSelf, Linker};

use crate::manifest::Interface;
use crate::policy::Guard;
use crate::runtime::{CallError, Guest};

/// Everything that the links of one component grant it.
#[derive(Default)]
pub struct Grants {
    /// Its configuration and secrets, by key.
    pub config: BTreeMap<String, String>,
    /// Its database.
    pub postgres: Option<Arc<Postgres>>,
    /// Its Redis.
    pub redis: Option<Arc<Redis>>,
    /// Its mail server.
    pub email: Option<Arc<Mailer>>,
    /// The hosts it may call.
    pub http: Option<Arc<swiftcart_provider_http::Client>>,
    /// The policies of all its links, by interface without version.
    pub guards: BTreeMap<String, Arc<Guard>>,
}

impl Grants {
    /// Takes the client of one kind of capability from another component version.
    pub(crate) fn take_over(&mut self, before: &Self, kind: &str) {
        match kind {
            "postgres" => self.postgres.clone_from(&before.postgres),
            "redis" => self.redis.clone_from(&before.redis),
            "email" => self.email.clone_from(&before.email),
            "http-client" => self.http.clone_from(&before.http),
            _ => {}
        }
    }
}

/// Interfaces of WASI that give no power outside the sandbox. `wasi:sockets` is not among them: the network is reached over links only.
/// `wasi:filesystem` is there because the standard library asks for it, with no folder in it.
const AMBIENT: &[(&str, &str)] = &[
    ("wasi", "io"),
    ("wasi", "clocks"),
    ("wasi", "random"),
    ("wasi", "cli"),
    ("wasi", "filesystem"),
    ("wasi", "logging"),
    ("wasi", "config"),
    ("swiftcart", "trace"),
    ("swiftcart", "policy"),
];

/// What each kind of built-in capability provides to components.
const PROVIDED: &[(&str, &[&str])] = &[
    ("postgres", &["swiftcart:postgres/client"]),
    ("redis", &["swiftcart:redis/scripts", "wasi:keyvalue/store", "wasi:keyvalue/atomics", "wasi:keyvalue/batch"]),
    ("email", &["swiftcart:email/sender"]),
    ("http-client", &["wasi:http/outgoing-handler"]),
];

/// What each kind of built-in capability calls on components.
const CALLED: &[(&str, &str)] = &[
    ("http-server", "wasi:http/incoming-handler"),
    ("kafka", "swiftcart:kafka/handler"),
    ("timer", "swiftcart:timer/handler"),
];

/// Built-in capabilities that have no link to a component.
const STANDALONE: &[&str] = &["outbox"];

/// Whether a component may import this without a link. The types of `wasi:http` are values only; sending needs a link.
#[must_use]
pub fn is_ambient(interface: &Interface) -> bool {
    let name = (interface.namespace.as_str(), interface.package.as_str());
    AMBIENT.contains(&name) || interface.path() == "wasi:http/types"
}

/// The interfaces that a kind of capability provides to components.
#[must_use]
pub fn provided(kind: &str) -> &'static [&'static str] {
    PROVIDED.iter().find(|(name, _)| *name == kind).map_or(&[], |(_, interfaces)| interfaces)
}

/// Whether a kind of capability provides this interface.
#[must_use]
pub fn provides(kind: &str, interface: &Interface) -> bool {
    provided(kind).contains(&interface.path().as_str())
}

/// Whether some kind of built-in capability provides this interface.
#[must_use]
pub fn is_provided(interface: &Interface) -> bool {
    let path = interface.path();
    PROVIDED.iter().any(|(_, interfaces)| interfaces.contains(&path.as_str()))
}

/// The interface that a kind of capability calls on components, if it does.
#[must_use]
pub fn called(kind: &str) -> Option<&'static str> {
    CALLED.iter().find(|(name, _)| *name == kind).map(|(_, interface)| *interface)
}

/// Which policies of a link to a kind of capability this host enforces. The others have limits of their own: their pools, their time-outs.
#[must_use]
pub fn enforced(kind: &str) -> &'static [&'static str] {
    if kind == "http-client" { &["policy.deadline_ms", "policy.bulkhead"] } else { &[] }
}

/// The built-in kinds that this host has, sorted.
#[must_use]
pub fn kinds() -> Vec<&'static str> {
    let mut kinds: Vec<&str> = PROVIDED
        .iter()
        .map(|(kind, _)| *kind)
        .chain(CALLED.iter().map(|(kind, _)| *kind))
        .chain(STANDALONE.iter().copied())
        .collect();
    kinds.sort_unstable();
    kinds
}

/// Defines what every component may import.
///
/// # Errors
/// The engine's, when a name is defined twice.
pub fn add_ambient(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
    use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
    use wasmtime_wasi::p2::bindings::{cli, filesystem};
    use wasmtime_wasi::random::WasiRandom;
    use wasmtime_wasi_http::p2::bindings::http;
    use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};

    // io, wall and monotonic clock, random, stdin, stdout, stderr.
    wasmtime_wasi::p2::add_to_linker_proxy_interfaces_async(linker)?;
    wasmtime_wasi::p2::bindings::random::insecure::add_to_linker::<_, WasiRandom>(linker, |guest| {
        wasmtime_wasi::WasiView::ctx(guest).ctx.random()
    })?;
    wasmtime_wasi::p2::bindings::random::insecure_seed::add_to_linker::<_, WasiRandom>(linker, |guest| {
        wasmtime_wasi::WasiView::ctx(guest).ctx.random()
    })?;
    cli::environment::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::exit::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_input::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_output::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdin::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stdout::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    cli::terminal_stderr::add_to_linker::<_, WasiCli>(linker, Guest::cli)?;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, Guest::filesystem)?;
    filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, Guest::filesystem)?;
    let options = wasmtime_wasi_http::p2::bindings::LinkOptions::default();
    http::types::add_to_linker::<_, WasiHttp>(linker, &(&options).into(), Guest::http)?;
    logging::add_to_linker(linker)?;
    config::add_to_linker(linker)?;
    bindings::swiftcart::trace::context::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    bindings::swiftcart::policy::links::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

/// Defines one interface that a link grants.
///
/// # Errors
/// The engine's, when a name is defined twice or the interface has no definition here.
pub fn add_granted(linker: &mut Linker<Guest>, interface: &Interface) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::{WasiHttp, WasiHttpView as _};
    match interface.path().as_str() {
        "swiftcart:postgres/client" => {
            bindings::swiftcart::postgres::client::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
        }
        "swiftcart:redis/scripts" => {
            bindings::swiftcart::redis::scripts::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
        }
        "swiftcart:email/sender" => {
            bindings::swiftcart::email::sender::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
        }
        "wasi:keyvalue/store" => keyvalue::add_store(linker),
        "wasi:keyvalue/atomics" => keyvalue::add_atomics(linker),
        "wasi:keyvalue/batch" => keyvalue::add_batch(linker),
        "wasi:http/outgoing-handler" => {
            wasmtime_wasi_http::p2::bindings::http::outgoing_handler::add_to_linker::<_, WasiHttp>(linker, Guest::http)
        }
        other => Err(wasmtime::Error::msg(format!("no definition of {other}"))),
    }
}

/// The failure of a guest that calls what no link grants it. Where links must be there from the start, linking has refused it already.
pub(crate) fn not_granted(guest: &Guest, what: &'static str) -> wasmtime::Error {
    let component = guest.identity.name.clone();
    wasmtime::Error::new(CallError::NotLinked { component, import: what.to_owned() })
}
