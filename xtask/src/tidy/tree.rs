//! Rules about names and numbers of files. Invariant: a newcomer can guess what is in a file from its name, and what runs next
//! from a migration's number.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, SourceFile};

/// Names that say nothing; also as a word of a longer name.
const EMPTY_NAMES: [&str; 9] = ["common", "util", "utils", "helper", "helpers", "manager", "managers", "misc", "base"];
/// Everything at the top; a new name here is a decision.
const TOP: [&str; 21] = [
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "components",
    "deny.toml",
    "docs",
    "host",
    "migrations",
    "providers",
    "rustfmt.toml",
    "tests",
    "wadm",
    "wit",
];
/// Also at the top, each of them made when its first file is needed.
const TOP_LATER: [&str; 2] = ["deploy", "xtask"];

/// Checks the tree as a whole.
pub(crate) fn check(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        findings.extend(name(file));
    }
    findings.extend(modules(files));
    findings.extend(wit(files));
    findings.extend(migrations(files));
    findings
}

fn name(file: &SourceFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    let top = file.path.split('/').next().unwrap_or_default();
    if !TOP.contains(&top) && !TOP_LATER.contains(&top) {
        findings.push(file.finding(format!("`{top}` has no place at the top of the house")));
    }
    for part in file.path.split('/') {
        let stem = part.split('.').next().unwrap_or_default();
        if let Some(empty) = empty_word(stem) {
            findings.push(file.finding(format!("`{empty}` says nothing about what is inside: name the concern")));
        }
    }
    findings
}

fn empty_word(name: &str) -> Option<&str> {
    name.split(['_', '-']).find(|word| EMPTY_NAMES.contains(word))
}

/// Modules that are written inside a file have names too.
fn modules(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in file.text.iter().flat_map(|text| text.lines()).enumerate() {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let module = match words.iter().position(|word| *word == "mod") {
                Some(at) if line.trim_end().ends_with('{') && !line.trim_start().starts_with("//") => words.get(at + 1),
                _ => None,
            };
            if let Some(empty) = module.and_then(|module| empty_word(module)) {
                findings.push(file.finding_at(number, format!("module `{empty}` says nothing about what is inside")));
            }
        }
    }
    findings
}

/// Each folder of `wit/` holds one package with a version.
fn wit(files: &[SourceFile]) -> Vec<Finding> {
    let mut folders: BTreeMap<&str, bool> = BTreeMap::new();
    for file in files {
        let parts: Vec<&str> = file.path.split('/').collect();
        let ["wit", folder, .., name] = parts.as_slice() else { continue };
        if !name.ends_with(".wit") {
            continue;
        }
        let text = file.text.as_deref().unwrap_or_default();
        let versioned = text.lines().filter_map(|line| line.trim().strip_prefix("package ")).any(is_versioned);
        *folders.entry(folder).or_default() |= versioned;
    }
    let unversioned = folders.into_iter().filter(|(_, versioned)| !versioned);
    unversioned
        .map(|(folder, _)| Finding {
            place: format!("wit/{folder}"),
            what: "has no `package swiftcart:<name>@<major>.<minor>.<patch>;`".to_owned(),
        })
        .collect()
}

fn is_versioned(package: &str) -> bool {
    let version = package.trim_end_matches(';').strip_prefix("swiftcart:").and_then(|rest| rest.split_once('@'));
    version.is_some_and(|(_, version)| {
        let numbers: Vec<&str> = version.split('.').collect();
        numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok())
    })
}

/// `migrations/<service>/NNNN_name.sql`, from 0001 and without gaps or twins.
fn migrations(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut numbers: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for file in files {
        let parts: Vec<&str> = file.path.split('/').collect();
        let ["migrations", service, name] = parts.as_slice() else { continue };
        let number = name.strip_suffix(".sql").and_then(|stem| stem.split_once('_')).map(|(number, _)| number);
        let number = number.filter(|number| number.len() == 4).and_then(|number| number.parse::<u32>().ok());
        match number {
            Some(number) if !numbers.entry(service).or_default().insert(number) => {
                findings.push(file.finding("has the number of another migration"));
            }
            Some(_) => {}
            None => findings.push(file.finding("is not named NNNN_name.sql")),
        }
    }
    for (service, numbers) in numbers {
        if let Some((expected, found)) = (1..).zip(&numbers).find(|(expected, found)| expected != *found) {
            findings.push(Finding {
                place: format!("migrations/{service}"),
                what: format!("goes on with {found:04} where {expected:04} is missing"),
            });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::tidy::file;

    fn count(paths: &[&str]) -> usize {
        check(&paths.iter().map(|path| file(path, "")).collect::<Vec<_>>()).len()
    }

    #[test]
    fn empty_names_are_found() {
        assert_eq!(count(&["host/src/utils.rs"]), 1);
        assert_eq!(count(&["tests/helpers/mod.rs"]), 1);
        assert_eq!(count(&["host/src/pool_manager.rs"]), 1);
        assert_eq!(count(&["host/src/database.rs", "host/src/base64.rs"]), 0);
        let inline = check(&[file("host/src/a.rs", "//! P.\npub(crate) mod helpers {\n}\n")]);
        assert_eq!((inline.len(), inline[0].place.as_str()), (1, "host/src/a.rs:2"));
        assert!(check(&[file("host/src/a.rs", "// mod helpers {\nmod model {\n")]).is_empty());
    }

    #[test]
    fn the_top_is_for_known_names() {
        assert_eq!(count(&["scripts/run.sh"]), 1);
        assert_eq!(count(&["README.md", "docs/adr/0001-x.md", ".ci/run"]), 0);
    }

    #[test]
    fn wit_packages_have_versions() {
        let found = |text: &str| check(&[file("wit/order/order.wit", text)]).len();
        assert_eq!(found("package swiftcart:order;"), 1);
        assert_eq!(found("package swiftcart:order@1;"), 1);
        assert_eq!(found("package other:order@0.1.0;"), 1);
        assert_eq!(found("/// Doc.\npackage swiftcart:order@0.1.0;\n"), 0);
    }

    #[test]
    fn migrations_are_numbered_without_gaps() {
        assert_eq!(count(&["migrations/orders/0001_a.sql", "migrations/orders/0002_b.sql"]), 0);
        assert_eq!(count(&["migrations/orders/0001_a.sql", "migrations/orders/0003_b.sql"]), 1);
        assert_eq!(count(&["migrations/orders/0002_a.sql"]), 1);
        assert_eq!(count(&["migrations/orders/0001_a.sql", "migrations/orders/0001_b.sql"]), 1);
        assert_eq!(count(&["migrations/orders/first.sql"]), 1);
    }
}
