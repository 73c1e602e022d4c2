//! Builds of a component that differ: made from one compiled file, because a test needs many and a compiler is slow. Invariant: what is made
//! is a valid component with a digest of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// As it stands in the file of the guest `greeter`.
const MARK: &str = "greeter/build=0001/conduct=answer";

/// A built file.
#[derive(Clone, Debug)]
pub(crate) struct Build {
    /// The file.
    pub(crate) path: PathBuf,
    /// As the host tells it.
    pub(crate) digest: String,
}

impl Build {
    /// The reference by which a host loads it.
    pub(crate) fn reference(&self) -> String {
        format!("file://{}", self.path.display())
    }

    fn write(path: PathBuf, bytes: &[u8]) -> anyhow::Result<Self> {
        // A host may be reading: the old bytes or the new ones, never half.
        let partial = path.with_extension("partial");
        std::fs::write(&partial, bytes).with_context(|| format!("writing {}", partial.display()))?;
        std::fs::rename(&partial, &path)?;
        let digest = digest(&path)?;
        Ok(Self { path, digest })
    }
}

/// A build of the greeter that answers with this number.
pub(crate) fn greeter(guests: &Path, folder: &Path, build: u32) -> anyhow::Result<Build> {
    marked(guests, folder, build, "answer")
}

/// A build of the greeter that traps on every call.
pub(crate) fn trapping_greeter(guests: &Path, folder: &Path, build: u32) -> anyhow::Result<Build> {
    marked(guests, folder, build, "trap--")
}

fn marked(guests: &Path, folder: &Path, build: u32, conduct: &str) -> anyhow::Result<Build> {
    let path = guests.join("greeter.wasm");
    let bytes = std::fs::read(&path)
        .with_context(|| format!("reading {}; `cargo xtask build --guests` makes it", path.display()))?;
    let mark = format!("greeter/build={build:04}/conduct={conduct}");
    ensure!(mark.len() == MARK.len(), "build {build} has no mark of the right length");
    let found: Vec<usize> =
        bytes.windows(MARK.len()).enumerate().filter(|(_, at)| *at == MARK.as_bytes()).map(|(at, _)| at).collect();
    ensure!(found.len() == 1, "{} has {} marks", path.display(), found.len());
    let mut bytes = bytes;
    for at in found {
        bytes.splice(at..at + MARK.len(), mark.bytes());
    }
    Build::write(folder.join(format!("greeter-{build}-{conduct}.wasm")), &bytes)
}

/// Another build of any component with the same behaviour: a custom section at the end (id 0, length, name, text) changes its digest alone.
/// <https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md>
pub(crate) fn another(of: &Path, folder: &Path, build: u32) -> anyhow::Result<Build> {
    let mut bytes = std::fs::read(of).with_context(|| format!("reading {}", of.display()))?;
    let (name, text) = ("build", format!("{build:04}"));
    let length = 1 + name.len() + text.len();
    ensure!(length < 128, "a longer section needs a longer length");
    bytes.extend([0, u8::try_from(length)?, u8::try_from(name.len())?]);
    bytes.extend(name.bytes().chain(text.bytes()));
    let stem = of.file_stem().context("a file has a name")?.to_string_lossy();
    Build::write(folder.join(format!("{stem}-{build}.wasm")), &bytes)
}

/// A file as it is, under a path of its own.
pub(crate) fn copy(of: &Path, folder: &Path, name: &str) -> anyhow::Result<Build> {
    let bytes = std::fs::read(of).with_context(|| format!("reading {}", of.display()))?;
    Build::write(folder.join(format!("{name}.wasm")), &bytes)
}

/// By another program than ours.
fn digest(path: &Path) -> anyhow::Result<String> {
    let output = Command::new("sha256sum").arg(path).output().context("starting sha256sum")?;
    let text = String::from_utf8(output.stdout)?;
    let sum = text.split_whitespace().next().context("sha256sum says nothing")?;
    Ok(format!("sha256:{sum}"))
}
