//! Rules about the text of one file. Invariant: a file that passes can be read, moved and published: no path of one machine, no
//! package host, no secret, and no lint silenced without a reason.
//!
//! The patterns are put together from parts here, so that this file does not contain what it looks for.

use super::{Finding, SourceFile};

/// A file of 400 lines is long; one of more than this wants a wall.
const MAX_LINES: usize = 500;
/// Application manifests: one document each by wadm's format, so there is no wall to put in.
const MANIFESTS: &str = "wadm/";
/// What a person writes and reads; documents, data and lock files have no limit.
const LIMITED: [&str; 8] = [".rs", ".wit", ".sql", ".sh", ".toml", ".yaml", ".yml", ".py"];
/// Code of the domain must take time and bytes from its caller.
const CLOCKS_AND_IO: [&str; 10] = [
    "SystemTime::now",
    "Instant::now",
    "now_utc(",
    "now_v7(",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::io::std",
];

/// Checks one file.
pub(crate) fn check(file: &SourceFile) -> Vec<Finding> {
    let Some(text) = &file.text else { return Vec::new() };
    let mut findings = places_and_secrets(file, text);
    let manifest = file.path.starts_with(MANIFESTS) && file.path.ends_with(".yaml");
    if LIMITED.iter().any(|ending| file.path.ends_with(ending)) && !manifest && text.lines().count() > MAX_LINES {
        findings.push(file.finding(format!("has more than {MAX_LINES} lines: split it by concern")));
    }
    if file.is_rust() {
        if !text.starts_with("//!") {
            findings.push(file.finding("does not begin with a `//!` line that says its purpose"));
        }
        findings.extend(silenced_lints(file, text));
        if file.path.starts_with("components/domain/src/") || file.path.ends_with("/src/model.rs") {
            findings.extend(pure(file, text));
        }
    }
    findings
}

fn places_and_secrets(file: &SourceFile, text: &str) -> Vec<Finding> {
    let lock_file = file.path.ends_with("Cargo.lock");
    let machines = ["/ro|ot/", "/ho|me/", "/wo|rk/"].map(join);
    let hosts = [
        "crates|.io",
        "py|pi.org",
        "pythonhosted|.org",
        "npm|js",
        "maven|.org",
        "debian|.org",
        "proxy.|golang.org",
        "static.|rust-lang",
    ]
    .map(join);
    let secrets = ["sk|_live_", "rk|_live_", "AKI|AIO", "gh|p_"].map(join);
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(machine) = machines.iter().find(|machine| holds_path(line, machine)) {
            findings.push(file.finding_at(number, format!("{machine} is a path of one machine")));
        }
        let source = lock_file && line.starts_with("source = \"registry+");
        if let Some(host) = hosts.iter().find(|host| !source && line.contains(host.as_str())) {
            findings.push(file.finding_at(number, format!("{host}: package hosts are the machine's configuration")));
        }
        if holds_key(line) || secrets.iter().any(|secret| line.contains(secret.as_str())) {
            findings.push(file.finding_at(number, "looks like a secret"));
        }
    }
    findings
}

fn join(parts: &str) -> String {
    parts.replace('|', "")
}

/// True where `folder` begins a path, so that `framework/` inside another path is none.
fn holds_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|start| start.chars().next_back());
        before.is_none_or(|c| !c.is_alphanumeric() && !"_-.}*>)$~".contains(c))
    })
}

/// A private key in PEM form: its first line by itself, or in a literal with the key behind it. Code that writes or looks for the
/// form has neither.
fn holds_key(line: &str) -> bool {
    let end = "PRIVATE KEY-----";
    let alone = line.trim_matches(|c: char| c.is_whitespace() || "\"'|>".contains(c));
    (alone.starts_with("-----BEGIN ") && alone.ends_with(end)) || line.contains(&format!("{end}\\nM"))
}

fn silenced_lints(file: &SourceFile, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let openings = ["#[al|low(", "#![al|low(", "#[ex|pect(", "#![ex|pect("].map(join);
    for (at, _) in openings.iter().flat_map(|opening| text.match_indices(opening.as_str())) {
        let rest = text.get(at..).unwrap_or_default();
        let attribute = rest.split_once(")]").map_or(rest, |(attribute, _)| attribute);
        if !attribute.contains("reason = ") {
            let number = text.get(..at).unwrap_or_default().lines().count();
            findings.push(file.finding_at(
                number.saturating_sub(usize::from(!starts_line(text, at))),
                "silences a lint without `reason = \"...\"`",
            ));
        }
    }
    findings
}

fn starts_line(text: &str, at: usize) -> bool {
    at == 0 || text.get(..at).is_some_and(|before| before.ends_with('\n'))
}

fn pure(file: &SourceFile, text: &str) -> Vec<Finding> {
    // Tests stand at the end of a file and may do what they need to.
    let code = text.split_once("#[cfg(test)]").map_or(text, |(code, _)| code);
    let found =
        |(number, line): (usize, &str)| {
            if line.trim_start().starts_with("//") {
                return None;
            }
            let call = CLOCKS_AND_IO.iter().find(|call| line.contains(**call))?;
            Some(file.finding_at(
                number,
                format!("{call}: this code is pure; time, randomness and I/O come from its caller"),
            ))
        };
    code.lines().enumerate().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::tidy::file;

    fn findings(path: &str, text: &str) -> Vec<Finding> {
        check(&file(path, text))
    }

    #[test]
    fn rust_begins_with_its_purpose() {
        assert_eq!(findings("a.rs", "use x;\n").len(), 1);
        assert!(findings("a.rs", "//! Purpose.\nuse x;\n").is_empty());
        assert!(findings("a.toml", "x = 1\n").is_empty());
    }

    #[test]
    fn long_files_are_found() {
        let long = "//! Purpose.\n".repeat(MAX_LINES + 1);
        assert_eq!(findings("a.rs", &long).len(), 1);
        assert!(findings("a.md", &long).is_empty());
        assert!(findings("a.rs", &"//! Purpose.\n".repeat(MAX_LINES)).is_empty());
        assert!(findings("wadm/a.yaml", &"# Purpose.\n".repeat(MAX_LINES + 1)).is_empty());
    }

    #[test]
    fn lints_are_silenced_with_a_reason_only() {
        let bad = join("//! P.\n#[al|low(clippy::x)]\nfn f() {}\n");
        let found = findings("a.rs", &bad);
        assert_eq!((found.len(), found[0].place.as_str()), (1, "a.rs:2"));
        let good = bad.replace("clippy::x)", "clippy::x,\n    reason = \"why\")");
        assert!(findings("a.rs", &good).is_empty());
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for path in ["/ro|ot/x", "\"/ho|me/me/x\"", "see /wo|rk/main", "file:///wo|rk/x"] {
            assert_eq!(findings("a.md", &join(path)).len(), 1, "{path}");
        }
        for path in ["a/frame wo rk/x", "src/wo|rk/x", "$HOME/ro|ot/x", "${cache}/ro|ot/usr", "https://x/home-page"] {
            assert!(findings("a.md", &join(path)).is_empty(), "{path}");
        }
    }

    #[test]
    fn package_hosts_are_found_but_for_sources_in_a_lock_file() {
        let source = join("source = \"registry+https://github.com/rust-lang/crates|.io-index\"");
        assert!(findings("Cargo.lock", &source).is_empty());
        assert_eq!(findings("a.toml", &source).len(), 1);
        assert_eq!(findings("x.sh", &join("curl https://deb.debian|.org/")).len(), 1);
    }

    #[test]
    fn secrets_are_found() {
        assert_eq!(findings("a.yaml", &join("key: sk|_live_123")).len(), 1);
        let pem = format!("-----BEGIN {} KEY-----", "PRIVATE");
        assert_eq!(findings("a.pem", &pem).len(), 1);
        assert_eq!(findings("a.json", &format!("{{\"key\": \"{pem}\\nMIIEvg\"}}")).len(), 1);
        assert!(findings("a.rs", &format!("//! P.\nlet text = format!(\"{pem}\\n{{body}}\");")).is_empty());
        assert!(findings("a.yaml", "key: sk_test_123").is_empty());
    }

    #[test]
    fn the_domain_reads_no_clock() {
        let text = "//! P.\nfn f() { Instant::now(); }\n#[cfg(test)]\nmod tests { fn g() { Instant::now(); } }\n";
        assert_eq!(findings("components/domain/src/time.rs", text).len(), 1);
        assert_eq!(findings("components/order/src/model.rs", text).len(), 1);
        assert!(findings("components/order/src/guest.rs", text).is_empty());
    }
}
