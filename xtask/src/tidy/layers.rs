//! Who may depend on whom. Invariant: arrows point down only, and nothing of ours crosses the sandbox wall at compile time.
//!
//! Tests may depend on anything but xtask, also as a dev-dependency of any crate on `tests/support`; otherwise a
//! dev-dependency counts as a dependency.

use super::Finding;
use crate::packages::Package;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Xtask,
    Tests,
    Server,
    Host,
    /// The providers as programs: a root beside the host, on the native side of the wall (ADR 0010).
    Programs,
    Joined,
    Provider,
    Guest,
    Service,
    Capabilities,
    Domain,
}

/// Crates by which a provider would know WebAssembly or WIT.
const SANDBOX: [&str; 5] = ["wasmtime", "wit-", "wasmcloud", "cranelift", "wasi"];
/// Crates by which the domain would do I/O or read a clock.
const WORLD: [&str; 17] = [
    "tokio", "async-", "futures", "reqwest", "hyper", "http", "axum", "sqlx", "redis", "rdkafka", "lettre", "rustls",
    "tracing", "metrics", "chrono", "wasi", "wit-",
];

/// Checks every direct dependency of every package of ours.
pub(crate) fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let manifest = format!("{}/Cargo.toml", package.folder);
    let finding = |what: String| Finding { place: manifest.clone(), what };
    let mut findings = Vec::new();
    if package.description.as_deref().is_none_or(|text| text.trim().len() < 10) {
        findings.push(finding("has no `description` that says what the crate is for".to_owned()));
    }
    let Some(room) = room(&package.folder) else {
        findings.push(finding("is in no room of the house: see docs on layers in xtask/src/tidy/layers.rs".to_owned()));
        return findings;
    };
    for dependency in &package.dependencies {
        let name = &dependency.name;
        match &dependency.folder {
            Some(folder) => {
                if !may_import(room, folder, dependency.dev) {
                    findings.push(finding(format!("{room:?} may not depend on {folder}: arrows point down only")));
                }
            }
            None => {
                let starts = |banned: &[&str]| banned.iter().any(|start| name.starts_with(start));
                if matches!(room, Room::Provider | Room::Joined) && starts(&SANDBOX) {
                    findings
                        .push(finding(format!("depends on {name}: providers are plain async Rust, no wasm, no WIT")));
                }
                if room == Room::Domain && starts(&WORLD) {
                    findings.push(finding(format!("depends on {name}: the domain is pure, no I/O and no clock")));
                }
            }
        }
    }
    findings
}

fn room(folder: &str) -> Option<Room> {
    let parts: Vec<&str> = folder.split('/').collect();
    match parts.as_slice() {
        ["xtask"] => Some(Room::Xtask),
        ["tests", "guests", _] => Some(Room::Guest),
        ["tests", ..] => Some(Room::Tests),
        ["wadm", "server"] => Some(Room::Server),
        ["host"] => Some(Room::Host),
        ["providers", "wrpc"] => Some(Room::Programs),
        ["providers", "outbox"] => Some(Room::Joined),
        ["providers", _] => Some(Room::Provider),
        ["components", "domain"] => Some(Room::Domain),
        ["components", "capabilities"] => Some(Room::Capabilities),
        ["components", _] => Some(Room::Service),
        _ => None,
    }
}

fn may_import(from: Room, folder: &str, dev: bool) -> bool {
    if dev && folder == "tests/support" {
        return true;
    }
    let Some(to) = room(folder) else { return false };
    match from {
        Room::Xtask => to != Room::Xtask,
        Room::Tests => !matches!(to, Room::Xtask | Room::Server),
        Room::Host | Room::Programs => matches!(to, Room::Provider | Room::Joined),
        Room::Joined => folder == "providers/postgres" || folder == "providers/kafka",
        Room::Guest | Room::Service => matches!(to, Room::Capabilities | Room::Domain),
        Room::Capabilities => to == Room::Domain,
        Room::Server | Room::Provider | Room::Domain => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::packages::Dependency;

    fn package(folder: &str, dependencies: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, folder): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            folder: folder.map(str::to_owned),
            dev: name.starts_with("dev:"),
        };
        Package {
            name: "some".to_owned(),
            folder: folder.to_owned(),
            description: Some("Something with a purpose".to_owned()),
            dependencies: dependencies.iter().map(dependency).collect(),
            component: None,
            tests: Vec::new(),
            programs: Vec::new(),
        }
    }

    fn broken(folder: &str, name: &str, to: Option<&str>) -> bool {
        !check(&[package(folder, &[(name, to)])]).is_empty()
    }

    #[test]
    fn arrows_that_point_up_or_sideways_are_found() {
        let forbidden = [
            ("host", "components/domain"),
            ("host", "tests/support"),
            ("host", "xtask"),
            ("providers/redis", "providers/postgres"),
            ("providers/redis", "host"),
            ("providers/redis", "providers/wrpc"),
            ("host", "providers/wrpc"),
            ("providers/wrpc", "host"),
            ("providers/postgres", "components/domain"),
            ("providers/outbox", "providers/redis"),
            ("components/order", "components/payment"),
            ("components/order", "providers/postgres"),
            ("components/order", "host"),
            ("components/domain", "components/capabilities"),
            ("components/capabilities", "components/order"),
            ("tests/guests/echo", "components/order"),
            ("tests/support", "xtask"),
            ("host", "elsewhere/crate"),
        ];
        for (from, to) in forbidden {
            assert!(broken(from, "x", Some(to)), "{from} -> {to}");
        }
    }

    #[test]
    fn arrows_that_point_down_are_allowed() {
        let allowed = [
            ("host", "providers/http"),
            ("host", "providers/outbox"),
            ("providers/outbox", "providers/kafka"),
            ("components/order", "components/domain"),
            ("components/order", "components/capabilities"),
            ("tests/guests/echo", "components/capabilities"),
            ("providers/wrpc", "providers/postgres"),
            ("tests", "tests/support"),
            ("tests", "host"),
            ("xtask", "tests/support"),
        ];
        for (from, to) in allowed {
            assert!(!broken(from, "x", Some(to)), "{from} -> {to}");
        }
        assert!(!broken("providers/redis", "dev:support", Some("tests/support")), "tests may start real services");
        assert!(broken("providers/redis", "dev:kafka", Some("providers/kafka")));
    }

    #[test]
    fn foreign_crates_that_bring_the_wrong_world_are_found() {
        assert!(broken("providers/http", "wasmtime", None));
        assert!(broken("providers/http", "wit-bindgen", None));
        assert!(broken("components/domain", "tokio", None));
        assert!(broken("components/domain", "sqlx", None));
        assert!(!broken("components/domain", "uuid", None));
        assert!(!broken("host", "wasmtime", None));
    }

    #[test]
    fn a_crate_without_a_purpose_or_a_room_is_found() {
        let mut nameless = package("host", &[]);
        nameless.description = Some("TODO".to_owned());
        assert_eq!(check(&[nameless]).len(), 1);
        assert!(check(&[package("lounge", &[])])[0].what.contains("no room"));
    }
}
