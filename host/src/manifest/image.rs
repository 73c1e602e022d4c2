//! Where the bytes of a component come from, or which built-in a capability is. Only the text is judged here; nothing is opened.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

const FILE: &str = "file://";
/// What people write before a registry's name. It says nothing about the protocol: which registries speak plain HTTP is the host's to know.
const REGISTRY: [&str; 3] = ["oci://", "https://", "http://"];
const BUILTIN: &str = "wasmcloud+builtin://";

/// An image reference of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageReference {
    /// `file:///absolute.wasm`, or `file://relative.wasm` below the artifact root.
    File(PathBuf),
    /// `host/name:tag` or `host/name@sha256:...`, without the scheme.
    Oci(String),
    /// `wasmcloud+builtin://kind`.
    Builtin(BuiltinKind),
}

/// The name of a capability inside the host: lower-case words joined by hyphens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BuiltinKind(String);

impl BuiltinKind {
    /// For example `http-server`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuiltinKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a reference is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Another scheme.
    #[error("`{0}` has an unknown scheme: expected `file://`, `oci://`, `wasmcloud+builtin://` or `host/name:tag`")]
    UnknownScheme(String),
    /// `file://` without a path.
    #[error("`{0}` names no file: expected `file://name.wasm` or `file:///absolute/name.wasm`")]
    NoFile(String),
    /// A relative path with `..` in it.
    #[error("`{0}` leaves the artifact root: use a path without `..`, or an absolute one")]
    LeavesRoot(String),
    /// Not a registry reference.
    #[error("`{0}` is no OCI reference: expected `host/name:tag` or `host/name@sha256:<digest>` in lower case")]
    NotOci(String),
    /// Not a built-in's name.
    #[error("`{0}` names no built-in: expected `wasmcloud+builtin://name` with lower-case letters, digits and hyphens")]
    NotBuiltin(String),
}

impl ImageReference {
    /// The file that this reference names, if it names one: relative paths are below `artifact_root`.
    #[must_use]
    pub fn resolve(&self, artifact_root: &Path) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(artifact_root.join(path)),
            Self::Oci(_) | Self::Builtin(_) => None,
        }
    }
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, ImageError> {
        if let Some(path) = text.strip_prefix(FILE) {
            return parse_file(text, Path::new(path));
        }
        if let Some(kind) = text.strip_prefix(BUILTIN) {
            let starts_well = kind.starts_with(|first: char| first.is_ascii_lowercase());
            let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
            if !starts_well || !kind.chars().all(allowed) {
                return Err(ImageError::NotBuiltin(text.into()));
            }
            return Ok(Self::Builtin(BuiltinKind(kind.into())));
        }
        let reference = REGISTRY.iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        if reference.contains("://") {
            return Err(ImageError::UnknownScheme(text.into()));
        }
        if is_oci(reference) { Ok(Self::Oci(reference.into())) } else { Err(ImageError::NotOci(text.into())) }
    }
}

fn parse_file(text: &str, path: &Path) -> Result<ImageReference, ImageError> {
    if path.file_name().is_none() || text.ends_with('/') {
        return Err(ImageError::NoFile(text.into()));
    }
    if path.is_relative() && !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(ImageError::LeavesRoot(text.into()));
    }
    Ok(ImageReference::File(path.into()))
}

/// A registry, a repository, and a tag or a digest. The registry itself judges the rest.
fn is_oci(reference: &str) -> bool {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "._-/".contains(letter);
    let Some((host, rest)) = reference.split_once('/') else { return false };
    let host_is_good =
        !host.is_empty() && host.chars().all(|letter| letter == ':' || (allowed(letter) && letter != '/'));
    let (name, end_is_good) = match (rest.split_once('@'), rest.split_once(':')) {
        (Some((name, digest)), _) => (name, digest.strip_prefix("sha256:").is_some_and(|hex| hex.len() == 64)),
        (None, Some((name, tag))) => (name, !tag.is_empty() && !tag.contains(['/', ':', ' '])),
        (None, None) => (rest, false),
    };
    let name = name.split_once(':').map_or(name, |(name, _)| name);
    host_is_good && end_is_good && !name.is_empty() && name.chars().all(allowed)
}

impl fmt::Display for ImageReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "{FILE}{}", path.display()),
            Self::Oci(reference) => formatter.write_str(reference),
            Self::Builtin(kind) => write!(formatter, "{BUILTIN}{kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_kind_of_reference_is_read_and_written() {
        let good = [
            ("file://cart.wasm", ImageReference::File("cart.wasm".into())),
            ("file:///opt/a/cart.wasm", ImageReference::File("/opt/a/cart.wasm".into())),
            ("wasmcloud+builtin://http-server", ImageReference::Builtin(BuiltinKind("http-server".into()))),
            ("ghcr.io/shop/cart:1.2.0", ImageReference::Oci("ghcr.io/shop/cart:1.2.0".into())),
            ("localhost:5000/cart:1", ImageReference::Oci("localhost:5000/cart:1".into())),
        ];
        for (text, expected) in good {
            let reference: ImageReference = text.parse().unwrap();
            assert_eq!(reference, expected);
            assert_eq!(reference.to_string(), text);
        }
        let digest = format!("registry/cart@sha256:{}", "a".repeat(64));
        for scheme in ["oci", "https", "http"] {
            assert_eq!(format!("{scheme}://{digest}").parse(), Ok(ImageReference::Oci(digest.clone())));
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for (text, expected) in [
            ("", "no OCI reference"),
            ("cart.wasm", "no OCI reference"),
            ("ghcr.io/shop/cart", "no OCI reference"),
            ("ghcr.io/Shop/cart:1", "no OCI reference"),
            ("ghcr.io/shop/cart@sha256:12", "no OCI reference"),
            ("ftp://ghcr.io/shop/cart:1", "unknown scheme"),
            ("file://", "names no file"),
            ("file:///", "names no file"),
            ("file://folder/", "names no file"),
            ("file://../cart.wasm", "leaves the artifact root"),
            ("wasmcloud+builtin://", "names no built-in"),
            ("wasmcloud+builtin://HTTP", "names no built-in"),
        ] {
            let error = text.parse::<ImageReference>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_relative_file_is_below_the_root() {
        let resolve = |text: &str| text.parse::<ImageReference>().unwrap().resolve(Path::new("/artifacts"));
        assert_eq!(resolve("file://a.wasm"), Some("/artifacts/a.wasm".into()));
        assert_eq!(resolve("file:///a.wasm"), Some("/a.wasm".into()));
        assert_eq!(resolve("wasmcloud+builtin://redis"), None);
    }
}
