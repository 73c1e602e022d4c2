//! What was pulled, on disk. Invariant: bytes come out under the digest that they have at that moment; a spoilt file is as good as none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oci_client::Reference;
use sha2::{Digest, Sha256};

use super::super::disk::Folder;
use super::name::is_sha256;
use crate::limits;

/// Manifests and layers by digest, and what each tag meant last.
#[derive(Debug)]
pub(super) struct Store {
    blobs: Folder,
    tags: Folder,
}

impl Store {
    /// Opens or makes the store below a folder that is private to this user.
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        Folder::open(folder)?;
        Ok(Self { blobs: Folder::open(&folder.join("blobs"))?, tags: Folder::open(&folder.join("tags"))? })
    }

    /// Where the bytes of this digest are, if they are.
    pub(super) fn path(&self, digest: &str) -> Option<PathBuf> {
        Some(self.blobs.path(file_name(digest)?)).filter(|path| path.exists())
    }

    /// The bytes of this digest.
    pub(super) async fn blob(self: &Arc<Self>, digest: &str) -> Option<Vec<u8>> {
        let (store, digest) = (self.clone(), digest.to_owned());
        blocking(move || {
            let name = file_name(&digest)?;
            let bytes = store.blobs.read(name).inspect_err(|error| warn("cannot read", name, error)).ok()??;
            if sha256(&bytes) == digest {
                return Some(bytes);
            }
            tracing::warn!(digest, "a pulled artifact on disk is spoilt; pulling it again");
            store.blobs.remove(name);
            None
        })
        .await?
    }

    /// Keeps bytes and returns their digest. Failure only costs the cache.
    pub(super) async fn keep(self: &Arc<Self>, bytes: Vec<u8>) -> String {
        let store = self.clone();
        let kept = blocking(move || {
            let digest = sha256(&bytes);
            if let Some(name) = file_name(&digest)
                && let Err(error) = store.blobs.write(name, &bytes, limits::PULLED_CACHE_BYTES)
            {
                warn("cannot keep", name, &error);
            }
            digest
        });
        kept.await.unwrap_or_default()
    }

    /// The digest of the manifest that the tag meant last.
    pub(super) async fn tag(self: &Arc<Self>, image: &Reference) -> Option<String> {
        let (store, image) = (self.clone(), image.to_string());
        blocking(move || {
            let bytes = store.tags.read(&tag_name(&image)).ok()??;
            String::from_utf8(bytes).ok().filter(|digest| is_sha256(digest))
        })
        .await?
    }

    /// Notes what a tag means now, and returns what it meant before if that was something else.
    pub(super) async fn remember(self: &Arc<Self>, image: &Reference, digest: &str) -> Option<String> {
        let before = self.tag(image).await;
        if before.as_deref() == Some(digest) {
            return None;
        }
        let (store, name, digest) = (self.clone(), tag_name(&image.to_string()), digest.to_owned());
        let written = blocking(move || store.tags.write(&name, digest.as_bytes(), limits::TAG_CACHE_BYTES)).await;
        if let Some(Err(error)) = written {
            warn("cannot keep", "a tag", &error);
        }
        before
    }
}

/// `sha256:<hex>` of the bytes, off the async threads.
pub(super) async fn digest(bytes: Vec<u8>) -> String {
    blocking(move || sha256(&bytes)).await.unwrap_or_default()
}

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn file_name(digest: &str) -> Option<&str> {
    is_sha256(digest).then(|| digest.strip_prefix("sha256:")).flatten()
}

/// A reference has letters that file names do not have, so its file is named by its digest.
fn tag_name(image: &str) -> String {
    format!("{:x}", Sha256::digest(image))
}

fn warn(what: &str, name: &str, error: &std::io::Error) {
    tracing::warn!(name, %error, "{what} a pulled artifact in the cache");
}

/// `None` when the work ended in a panic or the runtime is ending: as good as not cached.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
