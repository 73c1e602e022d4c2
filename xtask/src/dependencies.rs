//! What the machine itself must have. Invariant: what is there is used as it is, and everything that is installed is said first.

use std::time::Instant;

use swiftcart_support::shop::External;
use swiftcart_support::tools::{Progress, Tools, Wanted};

use crate::workspace::Workspace;

/// What compiling needs: a C compiler and the headers of two C libraries.
pub(crate) fn build(workspace: &Workspace) -> anyhow::Result<()> {
    Tools::with_cache(&workspace.cache, progress()).build_dependencies()
}

/// The servers that suites and benchmarks start, installed before so that no test waits for a download. Servers that the
/// environment names (`DATABASE_URL` and so on) are not installed.
pub(crate) fn services(workspace: &Workspace) -> anyhow::Result<()> {
    let external = External::from_environment();
    let wanted = Wanted {
        postgres: external.database_url.is_none(),
        redis: external.redis_url.is_none(),
        nats: external.nats_url.is_none(),
        kafka: external.kafka_bootstrap_servers.is_none(),
        maildev: external.smtp_url.is_none(),
        registry: true,
    };
    Tools::with_cache(&workspace.cache, progress()).install(wanted).map(drop)
}

/// wadm, for a suite whose host is a member of a lattice. The first time it is built, which takes long and says so.
pub(crate) fn wadm(workspace: &Workspace) -> anyhow::Result<()> {
    Tools::with_cache(&workspace.cache, progress()).wadm(&workspace.root.join("wadm/server")).map(drop)
}

/// wasmCloud's own programs, `wash` and wadm, and an external provider on its SDK. The first time they are built, which takes long and says so.
pub(crate) fn lattice(workspace: &Workspace) -> anyhow::Result<()> {
    wadm(workspace)?;
    let tools = Tools::with_cache(&workspace.cache, progress());
    tools.journal_provider()?;
    tools.wash().map(drop)
}

/// Sentences with the seconds since now.
pub(crate) fn progress() -> Progress {
    let start = Instant::now();
    Progress::new(move |sentence| eprintln!("[{:>6.1} s] {sentence}", start.elapsed().as_secs_f64()))
}
