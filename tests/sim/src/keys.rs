//! Signing keys of the development issuer, one PEM file each (PKCS#8, mode 0600), numbered so that the newest signs.
//! Invariant: a key that ever signed stays in the key set; two processes that start at once agree on the same keys.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};

/// One signing key with its public half.
#[derive(Clone)]
pub struct Key {
    /// Key id: the RFC 7638 thumbprint of the public key.
    pub id: String,
    /// `ES256` or `RS256`.
    pub algorithm: Algorithm,
    /// The private half, for `jsonwebtoken::encode`.
    pub signing: EncodingKey,
    public: Jwk,
}

/// The keys of one folder, oldest first.
#[derive(Clone)]
pub struct Keys {
    folder: PathBuf,
    keys: Vec<Key>,
}

/// Reads the keys of a folder, or makes one ES256 and one RS256 key when it has none.
///
/// # Errors
/// When the folder cannot be read or written or holds a file that is no such key.
pub fn load_or_create(folder: &Path) -> anyhow::Result<Keys> {
    let _lock = lock(folder)?;
    let mut keys = load(folder)?;
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        if !keys.iter().any(|key| key.algorithm == algorithm) {
            keys.push(create(folder, algorithm, keys.len())?);
        }
    }
    Ok(Keys { folder: folder.to_owned(), keys })
}

impl Keys {
    /// The newest key of an algorithm: the one that signs.
    ///
    /// # Errors
    /// When the algorithm is neither ES256 nor RS256.
    pub fn current(&self, algorithm: Algorithm) -> anyhow::Result<&Key> {
        self.keys
            .iter()
            .rev()
            .find(|key| key.algorithm == algorithm)
            .ok_or_else(|| anyhow!("no {algorithm:?} key: the development issuer signs with ES256 or RS256"))
    }

    /// Makes a new key for each algorithm; the old ones stay in the key set.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn rotate(&mut self) -> anyhow::Result<()> {
        let _lock = lock(&self.folder)?;
        self.keys = load(&self.folder)?;
        for algorithm in [Algorithm::RS256, Algorithm::ES256] {
            self.keys.push(create(&self.folder, algorithm, self.keys.len())?);
        }
        Ok(())
    }

    /// The public halves of all keys, as served at `jwks_uri`.
    #[must_use]
    pub fn public_set(&self) -> JwkSet {
        JwkSet { keys: self.keys.iter().map(|key| key.public.clone()).collect() }
    }
}

fn lock(folder: &Path) -> anyhow::Result<fs::File> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(".lock");
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
    file.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(file)
}

fn load(folder: &Path) -> anyhow::Result<Vec<Key>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .collect();
    files.sort();
    files.iter().map(|path| read(path).with_context(|| format!("reading the signing key {}", path.display()))).collect()
}

fn read(path: &Path) -> anyhow::Result<Key> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let algorithm = match name.split_once('-') {
        Some((_, "es256")) => Algorithm::ES256,
        Some((_, "rs256")) => Algorithm::RS256,
        _ => bail!("a key file is named <number>-es256.pem or <number>-rs256.pem"),
    };
    key(algorithm, &fs::read(path)?)
}

fn create(folder: &Path, algorithm: Algorithm, number: usize) -> anyhow::Result<Key> {
    let pem = generate(algorithm)?;
    let name = if algorithm == Algorithm::ES256 { "es256" } else { "rs256" };
    let path = folder.join(format!("{number:04}-{name}.pem"));
    // Written under another name first: a kill in between must not leave half a key.
    let unfinished = folder.join(format!(".{number:04}-{name}.unfinished"));
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&unfinished)?;
    file.write_all(pem.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, &path).with_context(|| format!("writing {}", path.display()))?;
    key(algorithm, pem.as_bytes())
}

fn generate(algorithm: Algorithm) -> anyhow::Result<String> {
    let document = if algorithm == Algorithm::ES256 {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?.to_pkcs8v1()?.as_ref().to_vec()
    } else {
        let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048)?;
        AsDer::<Pkcs8V1Der<'_>>::as_der(&pair)?.as_ref().to_vec()
    };
    let text = STANDARD.encode(document);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

fn key(algorithm: Algorithm, pem: &[u8]) -> anyhow::Result<Key> {
    let signing =
        if algorithm == Algorithm::ES256 { EncodingKey::from_ec_pem(pem)? } else { EncodingKey::from_rsa_pem(pem)? };
    let mut public = Jwk::from_encoding_key(&signing, algorithm)?;
    let id = public.thumbprint(ThumbprintHash::SHA256)?;
    public.common.key_id = Some(id.clone());
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(Key { id, algorithm, signing, public })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_kept_private_and_survive_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let first = load_or_create(&folder).unwrap();
        let mut again = load_or_create(&folder).unwrap();
        let id = |keys: &Keys| keys.current(Algorithm::ES256).unwrap().id.clone();
        assert_eq!(id(&first), id(&again));
        again.rotate().unwrap();
        assert_ne!(id(&first), id(&again));
        assert!(again.public_set().find(&id(&first)).is_some());
        assert_eq!(id(&load_or_create(&folder).unwrap()), id(&again));
        for entry in fs::read_dir(&folder).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o077, 0);
        }
    }
}
