//! Where cargo built what is measured. Invariant: only `cargo xtask bench` says it, because it builds it just before.

use std::path::PathBuf;

use anyhow::Context as _;

/// The programs and components.
pub(crate) struct Built {
    /// The checkout.
    pub(crate) root: PathBuf,
    pub(crate) host: PathBuf,
    pub(crate) sim: PathBuf,
    /// The service written by hand; there when `orders` is measured.
    pub(crate) baseline: PathBuf,
    /// The shop's components.
    pub(crate) artifacts: PathBuf,
    /// Components that exist for tests.
    pub(crate) guests: PathBuf,
    /// The folder of all programs.
    pub(crate) programs: PathBuf,
}

impl Built {
    /// Reads the variables.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let host = path("SWIFTCART_HOST_BINARY")?;
        Ok(Self {
            root: root()?,
            sim: path("SWIFTCART_SIM_BINARY")?,
            baseline: path("SWIFTCART_BASELINE_BINARY")?,
            artifacts: path("SWIFTCART_ARTIFACT_ROOT")?,
            guests: path("SWIFTCART_GUESTS_ROOT")?,
            programs: host.parent().context("the host program has no folder")?.to_owned(),
            host,
        })
    }
}

/// The checkout.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    path("SWIFTCART_REPOSITORY_ROOT")
}

fn path(name: &str) -> anyhow::Result<PathBuf> {
    std::env::var(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set; run this as `cargo xtask bench`"))
}
