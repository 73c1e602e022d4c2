//! From a reference to compiled code: read or pull, check that it is a component, digest, compile once, keep the compiled form on disk. A
//! cached file is used only under the digest of its source and the fingerprint of this engine, and only from a folder that others cannot write.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use wasmtime::component::Component;

use super::disk::Folder;
use super::registry::{Registry, RegistryError, RegistryOptions};
use super::{Engine, disk};
use crate::limits;
use crate::manifest::ImageReference;

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
    #[error("cannot read component {}: {source}. Build it first, or check the image reference and --artifact-root", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is outside of the artifact root.
    #[error("{} is an absolute path, and this host loads files from its artifact root only; absolute paths have to be allowed", .0.display())]
    Absolute(PathBuf),
    /// The file is larger than any component may be.
    #[error("component {name} has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// The file.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size allowed, in bytes.
        limit: u64,
    },
    /// The bytes are something else.
    #[error("{name} is not a WebAssembly component: {found}")]
    NotAComponent {
        /// The file or reference.
        name: String,
        /// What it is instead.
        found: &'static str,
    },
    /// The component is invalid or uses features that this engine does not have.
    #[error("cannot compile component {name}: {reason}")]
    Compile {
        /// The file or reference.
        name: String,
        /// The compiler's words.
        reason: String,
    },
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A built-in capability has no code of its own.
    #[error("{0} is a built-in capability and no component")]
    Builtin(String),
    /// The host is ending, or the compiler broke down.
    #[error("loading {name} was cut off: {reason}")]
    Interrupted {
        /// The file or reference.
        name: String,
        /// What the runtime said.
        reason: String,
    },
}

/// Where artifacts may come from, and where they are kept.
#[derive(Clone, Debug)]
pub struct ArtifactOptions {
    /// Relative file references are below it.
    pub root: PathBuf,
    /// Compiled code and pulled artifacts are kept below it; `None` compiles and pulls every time.
    pub cache: Option<PathBuf>,
    /// Whether absolute file references may be loaded. Whoever may command the host could otherwise not name any file of it.
    pub absolute_files: bool,
    /// What registries are trusted with.
    pub registry: RegistryOptions,
}

/// Fetches components and, as files, providers.
pub struct Artifacts {
    loader: Loader,
    registry: Registry,
}

impl Artifacts {
    /// For somebody who trusts the references: absolute files are allowed, and registries are asked as they are by default.
    #[must_use]
    pub fn new(engine: Engine, root: PathBuf, cache: Option<PathBuf>) -> Self {
        Self::with(engine, ArtifactOptions { root, cache, absolute_files: true, registry: RegistryOptions::default() })
    }

    /// With all options.
    #[must_use]
    pub fn with(engine: Engine, options: ArtifactOptions) -> Self {
        let ArtifactOptions { root, cache, absolute_files, registry } = options;
        let registry = Registry::new(registry, cache.as_ref().map(|folder| folder.join("pulled")).as_deref());
        let cache = cache.and_then(|folder| {
            Folder::open(&folder)
                .inspect_err(
                    |reason| tracing::warn!(folder = %folder.display(), reason, "compiled artifacts are not cached"),
                )
                .ok()
        });
        Self { loader: Loader { engine, root, absolute_files, cache }, registry }
    }

    /// Registries: credentials, and providers, which are not compiled.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Reads or pulls, verifies and compiles a component. A file is read each time, a tag resolved each time; what has the same digest as
    /// before is not compiled again.
    ///
    /// # Errors
    /// [`ArtifactError`], naming the file or reference.
    pub async fn fetch(&self, image: &ImageReference) -> Result<Artifact, ArtifactError> {
        let (loader, name) = (self.loader.clone(), image.to_string());
        match image {
            ImageReference::File(path) => {
                let path = path.clone();
                blocking(name, move || loader.load(&path)).await
            }
            ImageReference::Oci(reference) => {
                let pulled = self.registry.pull(reference).await?;
                let known_as = name.clone();
                let artifact = blocking(name, move || loader.compile(&known_as, &pulled.bytes)).await?;
                tracing::debug!(reference, manifest = %pulled.manifest, digest = %artifact.digest, "pulled component is ready");
                Ok(artifact)
            }
            ImageReference::Builtin(_) => Err(ArtifactError::Builtin(name)),
        }
    }

    /// The file that a file reference names, if this host may load it: for what is not a component.
    ///
    /// # Errors
    /// [`ArtifactError::Absolute`] when it may not.
    pub fn file(&self, reference: &Path) -> Result<PathBuf, ArtifactError> {
        self.loader.file(reference)
    }

    /// Reads, verifies and compiles a component file; blocking, so call it off the async threads.
    ///
    /// # Errors
    /// [`ArtifactError`], naming the file.
    pub fn load(&self, reference: &Path) -> Result<Artifact, ArtifactError> {
        self.loader.load(reference)
    }
}

/// The blocking part.
#[derive(Clone)]
struct Loader {
    engine: Engine,
    root: PathBuf,
    absolute_files: bool,
    cache: Option<disk::Folder>,
}

impl Loader {
    fn file(&self, reference: &Path) -> Result<PathBuf, ArtifactError> {
        if reference.is_absolute() && !self.absolute_files {
            return Err(ArtifactError::Absolute(reference.to_owned()));
        }
        Ok(self.root.join(reference))
    }

    fn load(&self, reference: &Path) -> Result<Artifact, ArtifactError> {
        let path = self.file(reference)?;
        self.compile(&path.display().to_string(), &read(&path)?)
    }

    fn compile(&self, name: &str, bytes: &[u8]) -> Result<Artifact, ArtifactError> {
        check_magic(name, bytes)?;
        let digest = format!("{:x}", Sha256::digest(bytes));
        let file = format!("{digest}-{:016x}.cwasm", self.engine.fingerprint());
        let digest = format!("sha256:{digest}");
        if let Some(component) = self.cache.as_ref().and_then(|folder| self.cached(folder, &file)) {
            return Ok(Artifact { digest, component, from_cache: true });
        }
        let component = self
            .engine
            .compile(bytes)
            .map_err(|error| ArtifactError::Compile { name: name.to_owned(), reason: format!("{error:#}") })?;
        if let Some(folder) = &self.cache {
            store(folder, &file, &component);
        }
        Ok(Artifact { digest, component, from_cache: false })
    }

    fn cached(&self, folder: &Folder, name: &str) -> Option<Component> {
        let file = folder.path(name);
        if !file.exists() {
            return None;
        }
        match self.deserialize(&file) {
            Ok(component) => {
                folder.touch(name);
                Some(component)
            }
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
        // wasmtime checks its version again), and `Folder::open` refuses folders that another user could write to.
        unsafe { Component::deserialize_file(self.engine.wasmtime(), file) }
    }
}

async fn blocking<T: Send + 'static>(
    name: String,
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(ArtifactError::Interrupted { name, reason: error.to_string() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ArtifactError> {
    let fail = |source| ArtifactError::Read { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > limits::MAX_ARTIFACT_BYTES {
        let name = path.display().to_string();
        return Err(ArtifactError::TooLarge { name, size, limit: limits::MAX_ARTIFACT_BYTES });
    }
    std::fs::read(path).map_err(fail)
}

/// The preamble's layer field tells a component (1) from a core module (0): component model binary format, "preamble".
fn check_magic(name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
    let found = match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => return Ok(()),
        [b'\0', b'a', b's', b'm', ..] => "it is a core module; build it for wasm32-wasip2",
        [] => "the file is empty",
        _ => "it does not start with the WebAssembly magic number",
    };
    Err(ArtifactError::NotAComponent { name: name.to_owned(), found })
}

/// Keeps the compiled form. Failure only costs the cache.
fn store(folder: &Folder, name: &str, component: &Component) {
    let code = component.serialize().map_err(|error| format!("{error:#}"));
    let written = code
        .and_then(|code| folder.write(name, &code, limits::COMPILED_CACHE_BYTES).map_err(|error| error.to_string()));
    if let Err(error) = written {
        tracing::warn!(name, error, "cannot cache the compiled artifact");
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
            let path = entry.unwrap().path();
            if path.is_file() {
                std::fs::write(path, b"spoilt").unwrap();
            }
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

    fn image(text: &str) -> ImageReference {
        text.parse().unwrap()
    }

    /// Goal: a file is read anew at each fetch, and what did not change is not compiled anew. Method: one path, three contents.
    #[tokio::test]
    async fn a_file_is_read_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = artifacts(folder.path());
        let reference = image(&format!("file://{}", folder.path().join("c.wasm").display()));
        let fetch = async |bytes: &[u8]| {
            std::fs::write(folder.path().join("c.wasm"), bytes).unwrap();
            artifacts.fetch(&reference).await.unwrap()
        };
        let first = fetch(b"\0asm\x0d\0\x01\0").await;
        // The same, with a custom section named "x".
        let second = fetch(b"\0asm\x0d\0\x01\0\0\x02\x01x").await;
        let third = fetch(b"\0asm\x0d\0\x01\0").await;
        assert_ne!(first.digest, second.digest);
        assert_eq!(first.digest, third.digest);
        assert_eq!((first.from_cache, second.from_cache, third.from_cache), (false, false, true));
    }

    /// Goal: without leave no file outside of the root is touched. Method: the same file by both kinds of path.
    #[tokio::test]
    async fn absolute_paths_need_leave() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("c.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
        let options = |absolute_files| ArtifactOptions {
            root: folder.path().to_owned(),
            cache: None,
            absolute_files,
            registry: RegistryOptions::default(),
        };
        let absolute = image(&format!("file://{}", folder.path().join("c.wasm").display()));
        let careful = Artifacts::with(Engine::new().unwrap(), options(false));
        assert!(careful.fetch(&image("file://c.wasm")).await.is_ok());
        assert!(matches!(careful.fetch(&absolute).await, Err(ArtifactError::Absolute(_))));
        assert!(Artifacts::with(Engine::new().unwrap(), options(true)).fetch(&absolute).await.is_ok());
        let builtin = careful.fetch(&image("wasmcloud+builtin://redis")).await;
        assert!(matches!(builtin, Err(ArtifactError::Builtin(_))));
    }
}
