//! What cargo says about the two workspaces: packages, targets and direct dependencies, without a look at the network.

use std::path::{Path, PathBuf};

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand, TargetKind};

use crate::workspace::Workspace;

/// One of our packages.
pub(crate) struct Package {
    /// As in `Cargo.toml`.
    pub name: String,
    /// Relative to the root of the checkout, with `/`.
    pub folder: String,
    /// What the package says it is.
    pub description: Option<String>,
    /// Direct dependencies of every kind.
    pub dependencies: Vec<Dependency>,
    /// File name (without `.wasm`) when the package makes a component.
    pub component: Option<String>,
    /// Names of the integration tests.
    pub tests: Vec<String>,
    /// Names of the programs.
    pub programs: Vec<String>,
}

/// A direct dependency.
pub(crate) struct Dependency {
    /// Name of the package that is depended on.
    pub name: String,
    /// Its folder when it is one of ours.
    pub folder: Option<String>,
    /// Only for tests.
    pub dev: bool,
}

/// The packages of the native workspace.
pub(crate) fn native(workspace: &Workspace) -> anyhow::Result<Vec<Package>> {
    read(&workspace.root, &workspace.root)
}

/// The packages of the components' workspace, test guests included.
pub(crate) fn components(workspace: &Workspace) -> anyhow::Result<Vec<Package>> {
    read(&workspace.root, &workspace.components())
}

fn read(root: &Path, folder: &Path) -> anyhow::Result<Vec<Package>> {
    let mut command = MetadataCommand::new();
    command.cargo_path("cargo").current_dir(folder).manifest_path(folder.join("Cargo.toml")).no_deps();
    let metadata = command.exec().with_context(|| format!("reading the cargo workspace {}", folder.display()))?;
    let relative = |path: PathBuf| {
        let path = path.canonicalize().unwrap_or(path);
        path.strip_prefix(root).map_or_else(|_| path.display().to_string(), |path| path.display().to_string())
    };
    let package = |package: cargo_metadata::Package| {
        let named = |kind: TargetKind| {
            let of_kind = package.targets.iter().filter(move |target| target.kind.contains(&kind));
            of_kind.map(|target| target.name.clone()).collect::<Vec<_>>()
        };
        let manifest = package.manifest_path.clone().into_std_path_buf();
        Package {
            folder: relative(manifest.parent().map_or_else(|| manifest.clone(), Path::to_owned)),
            component: named(TargetKind::CDyLib).first().map(|name| name.replace('-', "_")),
            tests: named(TargetKind::Test),
            programs: named(TargetKind::Bin),
            dependencies: package
                .dependencies
                .iter()
                .map(|dependency| Dependency {
                    name: dependency.name.clone(),
                    folder: dependency.path.clone().map(|path| relative(path.into_std_path_buf())),
                    dev: dependency.kind == DependencyKind::Development,
                })
                .collect(),
            name: package.name.to_string(),
            description: package.description,
        }
    };
    Ok(metadata.packages.into_iter().map(package).collect())
}
