//! What a saved file means for a running shop. Pure: paths in, consequences out.

use std::collections::BTreeSet;
use std::path::Path;

use crate::build;
use crate::packages::Package;

/// Top-level names that are watched; everything else has no part in what runs.
pub(super) const WATCHED: [&str; 7] = ["components", "host", "migrations", "providers", "wadm", "wit", "Cargo.toml"];
/// The manifest that `up` deploys.
pub(super) const MANIFEST: &str = "wadm/local.yaml";

/// What has to be done; several changes add up.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Names of packages that must be built again.
    pub(super) packages: BTreeSet<String>,
    /// Folders whose code is inside the host, which cannot change while it runs.
    pub(super) restart: BTreeSet<String>,
    /// The manifest is another.
    pub(super) manifest: bool,
}

impl Change {
    /// Everything that makes a component, as at the start.
    pub(super) fn all(packages: &[Package]) -> Self {
        let mut change = Self::default();
        change.rebuild(packages, |_| true);
        change
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what a saved file means; `path` is relative to the checkout.
    pub(super) fn add(&mut self, path: &Path, packages: &[Package]) {
        let words: Vec<&str> = path.iter().filter_map(|word| word.to_str()).collect();
        if words.iter().any(|word| word.starts_with('.') || *word == "target") || is_scratch(words.last()) {
            return;
        }
        match *words.as_slice() {
            ["components", folder, _, ..] => self.rebuild_users(packages, &format!("components/{folder}")),
            ["components", "Cargo.toml" | "Cargo.lock"] => self.rebuild(packages, |_| true),
            ["wit", name, _, ..] => {
                self.rebuild(packages, |_| true);
                // A contract between components is theirs alone; that of a capability is also compiled into the host.
                if !packages.iter().any(|package| package.folder == format!("components/{name}")) {
                    self.restart.insert(format!("wit/{name}"));
                }
            }
            ["host" | "migrations" | "providers", ..] | ["Cargo.toml"] => {
                self.restart.insert(words.iter().take(2).copied().collect::<Vec<_>>().join("/"));
            }
            _ if path == Path::new(MANIFEST) => self.manifest = true,
            _ => {}
        }
    }

    fn rebuild(&mut self, packages: &[Package], wanted: impl Fn(&Package) -> bool) {
        let components = packages.iter().filter(|package| package.component.is_some() && !build::is_guest(package));
        self.packages.extend(components.filter(|package| wanted(package)).map(|package| package.name.clone()));
    }

    /// The package in a folder, and all that depend on it, directly or not.
    fn rebuild_users(&mut self, packages: &[Package], folder: &str) {
        let mut touched = BTreeSet::from([folder]);
        loop {
            let before = touched.len();
            for package in packages {
                let uses = |folder: &Option<String>| folder.as_deref().is_some_and(|folder| touched.contains(folder));
                if package.dependencies.iter().any(|dependency| !dependency.dev && uses(&dependency.folder)) {
                    touched.insert(&package.folder);
                }
            }
            if touched.len() == before {
                break;
            }
        }
        self.rebuild(packages, |package| touched.contains(package.folder.as_str()));
    }
}

/// What editors leave beside a file while they save it.
fn is_scratch(name: Option<&&str>) -> bool {
    name.is_none_or(|name| {
        name.ends_with('~') || [".swp", ".swx", ".tmp", ".orig"].iter().any(|ending| name.ends_with(ending))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::Dependency;

    fn package(name: &str, component: bool, uses: &[&str]) -> Package {
        let dependency = |name: &&str| Dependency {
            name: (*name).to_owned(),
            folder: Some(format!("components/{name}")),
            dev: false,
        };
        Package {
            name: format!("shop-{name}"),
            folder: format!("components/{name}"),
            description: None,
            dependencies: uses.iter().map(dependency).collect(),
            component: component.then(|| name.to_owned()),
            tests: Vec::new(),
            programs: Vec::new(),
        }
    }

    fn packages() -> Vec<Package> {
        vec![
            package("cart", true, &["bindings"]),
            package("bindings", false, &["words"]),
            package("words", false, &[]),
            package("lamp", true, &[]),
        ]
    }

    fn after(paths: &[&str]) -> Change {
        let mut change = Change::default();
        paths.iter().for_each(|path| change.add(Path::new(path), &packages()));
        change
    }

    fn built(change: &Change) -> Vec<&str> {
        change.packages.iter().map(String::as_str).collect()
    }

    #[test]
    fn only_what_uses_the_file_is_built_again() {
        assert_eq!(built(&after(&["components/lamp/src/lib.rs"])), ["shop-lamp"]);
        assert_eq!(built(&after(&["components/words/src/money.rs"])), ["shop-cart"]);
        assert_eq!(built(&after(&["components/Cargo.lock"])), ["shop-cart", "shop-lamp"]);
        assert_eq!(after(&["components/lamp/src/lib.rs"]).restart, BTreeSet::new());
    }

    #[test]
    fn a_contract_of_the_host_needs_a_restart_and_one_between_components_does_not() {
        assert!(after(&["wit/cart/cart.wit"]).restart.is_empty());
        let change = after(&["wit/queue/queue.wit", "host/src/app.rs", "providers/mail/src/lib.rs"]);
        assert_eq!(change.restart, ["host/src", "providers/mail", "wit/queue"].map(str::to_owned).into());
        assert_eq!(change.packages.len(), 2);
    }

    #[test]
    fn what_has_no_part_in_the_shop_changes_nothing() {
        for path in [
            "docs/lattice.md",
            "wadm/production.yaml",
            "components/lamp/src/.lib.rs.swp",
            "components/lamp/src/lib.rs~",
            "components/target/debug/x",
            "tests/e2e/main.rs",
        ] {
            assert!(after(&[path]).is_empty(), "{path}");
        }
        assert!(after(&["wadm/local.yaml"]).manifest);
    }
}
