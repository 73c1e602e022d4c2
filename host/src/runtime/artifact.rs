//! From a reference to compiled code: read, check that it is a component, digest, compile once, keep the compiled form on disk. A cached
//! file is used only under the digest of its source and the fingerprint of this engine, and only from a folder that others cannot write.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::Engine;
use crate::limits;

/// Compiled code of one component, ready to link.
#[derive(Clone)]
pub struct Artifact {
    /// `sha256:<hex>` of the component's bytes.
    pub digest: String,
    /// The compiled component.
    pub component: Component,
    /// Whether the compiled form came from the cache.
    pub from_cache: bool,
}

/// Why an artifact cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The file is not there or not readable.
    #[error("cannot read component {path}: {source}. Build it first, or check the image reference and --artifact-root")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is larger than any component may be.
    #[error("component {path} has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
        /// The largest size allowed, in bytes.
        limit: u64,
    },
    /// The file is something else.
    #[error("{path} is not a WebAssembly component: {found}")]
    NotAComponent {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The component is invalid or uses features that this engine does not have.
    #[error("cannot compile component {path}: {reason}")]
    Compile {
        /// The file.
        path: PathBuf,
        /// The compiler's words.
        reason: String,
    },
    /// References to registries are not supported yet.
    #[error("image {0} is an OCI reference; this host loads components from file:// only")]
    Oci(String),
}

/// Loads artifacts, relative references from `root`, with compiled code kept in `cache`.
pub struct Artifacts {
    engine: Engine,
    root: PathBuf,
    cache: Option<PathBuf>,
}

impl Artifacts {
    /// `cache: None` compiles every time.
    #[must_use]
    pub fn new(engine: Engine, root: PathBuf, cache: Option<PathBuf>) -> Self {
        let cache = cache.and_then(|folder| match prepare_cache(&folder) {
            Ok(()) => Some(folder),
            Err(reason) => {
                tracing::warn!(folder = %folder.display(), %reason, "compiled artifacts are not cached");
                None
            }
        });
        Self { engine, root, cache }
    }

    /// Reads, verifies and compiles a component off the async threads.
    ///
    /// # Errors
    /// [`ArtifactError`], naming the file.
    pub async fn fetch(
        self: &std::sync::Arc<Self>,
        image: &crate::manifest::ImageReference,
    ) -> Result<Artifact, ArtifactError> {
        let crate::manifest::ImageReference::File(path) = image else {
            return Err(ArtifactError::Oci(image.to_string()));
        };
        let (this, path) = (self.clone(), path.clone());
        tokio::task::spawn_blocking(move || this.load(&path))
            .await
            .map_err(|panic| ArtifactError::Oci(panic.to_string()))?
    }

    /// Reads, verifies and compiles a component; blocking, so call it off the async threads.
    ///
    /// # Errors
    /// [`ArtifactError`], naming the file.
    pub fn load(&self, reference: &Path) -> Result<Artifact, ArtifactError> {
        let path = self.root.join(reference);
        let bytes = read(&path)?;
        check_magic(&path, &bytes)?;
        let digest = format!("{:x}", Sha256::digest(&bytes));
        let cached =
            self.cache.as_ref().map(|folder| folder.join(format!("{digest}-{:016x}.cwasm", self.engine.fingerprint())));
        if let Some(component) = cached.as_deref().and_then(|file| self.cached(file)) {
            return Ok(Artifact { digest: format!("sha256:{digest}"), component, from_cache: true });
        }
        let component = Component::new(self.engine.wasmtime(), &bytes)
            .map_err(|error| ArtifactError::Compile { path: path.clone(), reason: format!("{error:#}") })?;
        if let Some(file) = &cached {
            store(file, &component);
        }
        Ok(Artifact { digest: format!("sha256:{digest}"), component, from_cache: false })
    }

    fn cached(&self, file: &Path) -> Option<Component> {
        if !file.exists() {
            return None;
        }
        match self.deserialize(file) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::warn!(file = %file.display(), error = format!("{error:#}"), "cached artifact is unusable; compiling again");
                None
            }
        }
    }

    #[allow(
        unsafe_code,
        reason = "wasmtime maps precompiled code; it was written by this program into a folder only its user can write"
    )]
    fn deserialize(&self, file: &Path) -> wasmtime::Result<Component> {
        // SAFETY: the file was written by `store` below from this engine's own compiler (its name carries the engine's fingerprint and
        // wasmtime checks its version again), and `prepare_cache` refuses folders that another user could write to.
        unsafe { Component::deserialize_file(self.engine.wasmtime(), file) }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let fail = |source| ArtifactError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > limits::MAX_ARTIFACT_BYTES {
        return Err(ArtifactError::TooLarge { path: path.to_owned(), size, limit: limits::MAX_ARTIFACT_BYTES });
    }
    std::fs::read(path).map_err(fail)
}

/// The preamble's layer field tells a component (1) from a core module (0): component model binary format, "preamble".
fn check_magic(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    let found = match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [b'\0', b'a', b's', b'm', ..] => "it is a core module; build it for wasm32-wasip2",
        [] => "the file is empty",
        _ => "it does not start with the WebAssembly magic number",
    };
    Err(ArtifactError::NotAComponent { path: path.to_owned(), found })
}

/// Makes the cache folder private to this user, or says why it cannot be trusted.
fn prepare_cache(folder: &Path) -> Result<(), String> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| error.to_string())?;
    let metadata = std::fs::metadata(folder).map_err(|error| error.to_string())?;
    let own = std::fs::metadata("/proc/self").map_err(|error| error.to_string())?;
    if metadata.uid() != own.uid() || metadata.mode() & 0o022 != 0 {
        return Err("the folder belongs to, or can be written by, another user".to_owned());
    }
    Ok(())
}

/// Writes the compiled form under a temporary name first, so that no reader ever maps half a file. Failure only costs the cache.
fn store(file: &Path, component: &Component) {
    let temporary = file.with_extension(format!("{}.part", std::process::id()));
    let written = component
        .serialize()
        .map_err(|error| format!("{error:#}"))
        .and_then(|code| std::fs::write(&temporary, code).map_err(|error| error.to_string()))
        .and_then(|()| std::fs::rename(&temporary, file).map_err(|error| error.to_string()));
    if let Err(error) = written {
        tracing::warn!(file = %file.display(), error, "cannot cache the compiled artifact");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn artifacts(root: &Path) -> Artifacts {
        Artifacts::new(Engine::new().unwrap(), root.to_owned(), Some(root.join("cache")))
    }

    /// Goal: what is not a component is refused with its own words. Method: files of each wrong kind.
    #[test]
    fn refuses_what_is_no_component() {
        let folder = tempfile::tempdir().unwrap();
        let loader = artifacts(folder.path());
        for (name, bytes, says) in [
            ("empty.wasm", &b""[..], "empty"),
            ("text.wasm", b"hello", "magic number"),
            ("module.wasm", b"\0asm\x01\0\0\0", "core module"),
            ("broken.wasm", b"\0asm\x0d\0\x01\0garbage", "cannot compile"),
        ] {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            let error = loader.load(Path::new(name)).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains(name), "{error}");
        }
        assert!(loader.load(Path::new("missing.wasm")).err().unwrap().to_string().contains("Build it first"));
    }

    /// Goal: the second load comes from disk, and a spoilt cache file only costs a compilation. Method: load three times.
    #[test]
    fn compiled_code_is_cached_and_a_spoilt_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let loader = artifacts(folder.path());
        std::fs::write(folder.path().join("c.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        let load = || loader.load(Path::new("c.wasm")).unwrap();
        assert!(!load().from_cache);
        assert!(load().from_cache);
        for entry in std::fs::read_dir(folder.path().join("cache")).unwrap() {
            std::fs::write(entry.unwrap().path(), b"spoilt").unwrap();
        }
        assert!(!load().from_cache);
        assert!(load().from_cache);
    }

    /// Goal: code is never mapped from a folder that others can write. Method: a world-writable cache folder.
    #[test]
    fn a_cache_that_others_can_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache");
        std::fs::create_dir(&cache).unwrap();
        std::fs::set_permissions(&cache, std::fs::Permissions::from_mode(0o777)).unwrap();
        let loader = artifacts(folder.path());
        std::fs::write(folder.path().join("c.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        assert!(!loader.load(Path::new("c.wasm")).unwrap().from_cache);
        assert!(!loader.load(Path::new("c.wasm")).unwrap().from_cache);
    }
}
