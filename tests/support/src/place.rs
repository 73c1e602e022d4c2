//! The data folder of one shop: where each service keeps its data, log, secrets and port. Invariant: what was once chosen (a password, a
//! port) stays the same as long as it can; secrets are readable by their owner alone.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use rand::Rng;

use crate::process::Lifetime;

/// Below the range that the kernel takes for outgoing connections, so that none of them sits on a remembered port.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports that this process has given out already, to whichever shop, each with the lock that other processes meet: a server may take seconds
/// from the choice of its port to binding it.
static GIVEN: Mutex<BTreeMap<u16, File>> = Mutex::new(BTreeMap::new());

/// A data folder; cheap to clone.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
    lifetime: Lifetime,
    ports: Arc<Mutex<BTreeMap<String, u16>>>,
}

impl Place {
    /// Opens or makes a data folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(root: &Path, lifetime: Lifetime) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("making the data folder {}", root.display()))?;
        let root = root.canonicalize()?;
        let remembered = fs::read(root.join("ports.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Ok(Self { root, lifetime, ports: Arc::new(Mutex::new(remembered)) })
    }

    /// The data folder itself, as an absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether what runs here ends with this process.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// A folder below the data folder, made with mode 0700.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.root.join(name);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// The log file of a service.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn log(&self, name: &str) -> anyhow::Result<PathBuf> {
        Ok(self.folder("logs")?.join(format!("{name}.log")))
    }

    /// A password, made on first use and kept with mode 0600. It holds hexadecimal digits only and so needs no quoting anywhere.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn secret(&self, name: &str) -> anyhow::Result<String> {
        let text: String = rand::rng().random::<[u8; 24]>().iter().map(|byte| format!("{byte:02x}")).collect();
        self.secret_or(name, || text)
    }

    /// As `secret`, with another way to make it.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn secret_or(&self, name: &str, make: impl FnOnce() -> String) -> anyhow::Result<String> {
        let path = self.folder("secrets")?.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
            _ => {}
        }
        let text = make();
        write_private(&path, text.as_bytes())?;
        Ok(text)
    }

    /// From now on a name has this port, if nobody else uses it.
    ///
    /// # Errors
    /// When the choice cannot be written down.
    pub fn prefer(&self, name: &str, port: u16) -> anyhow::Result<()> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        if !given.contains_key(&port) && claim(&mut given, port)? {
            ports.insert(name.to_owned(), port);
            write_private(&self.root.join("ports.json"), &serde_json::to_vec_pretty(&*ports)?)?;
        }
        Ok(())
    }

    /// The port of this name: the remembered one if it is free, else another.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn port(&self, name: &str) -> anyhow::Result<u16> {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
        let port = match ports.get(name) {
            // Given out before to this very place, or not used by anybody.
            Some(port) if claim(&mut given, *port)? => *port,
            _ => pick(&mut given)?,
        };
        ports.insert(name.to_owned(), port);
        write_private(&self.root.join("ports.json"), &serde_json::to_vec_pretty(&*ports)?)?;
        Ok(port)
    }
}

fn free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Makes a port this process's own until it ends. False: it is another's, or in use.
fn claim(given: &mut BTreeMap<u16, File>, port: u16) -> anyhow::Result<bool> {
    if given.contains_key(&port) {
        return Ok(free(port));
    }
    // Each user has a folder: nobody can lock what belongs to another.
    let folder = std::env::temp_dir().join(format!("swiftcart-ports-{}", rustix::process::getuid().as_raw()));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join(port.to_string());
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) if free(port) => {
            given.insert(port, file);
            Ok(true)
        }
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

fn pick(given: &mut BTreeMap<u16, File>) -> anyhow::Result<u16> {
    for _ in 0..1000 {
        let port = rand::rng().random_range(PORTS);
        if !given.contains_key(&port) && claim(given, port)? {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {} on 127.0.0.1", PORTS.start, PORTS.end)
}

/// Writes a file with mode 0600 so that a reader sees the old or the new text, never half of it.
pub(crate) fn write_private(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .with_context(|| format!("writing {}", path.display()))?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    fs::rename(&unfinished, path).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn ports_and_secrets_are_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let first = Place::open(folder.path(), Lifetime::WithParent).unwrap();
        let (port, other, secret) = (first.port("a").unwrap(), first.port("b").unwrap(), first.secret("s").unwrap());
        assert_ne!(port, other);
        let second = Place::open(folder.path(), Lifetime::WithParent).unwrap();
        assert_eq!((second.port("a").unwrap(), second.secret("s").unwrap()), (port, secret));
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(second.port("a").unwrap(), port);
        let mode = fs::metadata(folder.path().join("secrets/s")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut elsewhere = BTreeMap::new();
        let wished = pick(&mut elsewhere).unwrap();
        drop(elsewhere);
        second.prefer("wished", wished).unwrap();
        second.prefer("too late", port).unwrap();
        assert_eq!(second.port("wished").unwrap(), wished);
        assert_ne!(second.port("too late").unwrap(), port);
    }

    /// Goal: two programs that choose at the same moment never choose the same port, though nobody listens on it yet. Method: two sets of given
    /// ports, as two processes have them.
    #[test]
    fn a_port_that_another_process_was_given_is_taken() {
        let (mut one, mut other) = (BTreeMap::new(), BTreeMap::new());
        let port = pick(&mut one).unwrap();
        assert!(claim(&mut one, port).unwrap(), "its own");
        assert!(!claim(&mut other, port).unwrap(), "another's");
        drop(one);
        assert!(claim(&mut other, port).unwrap(), "free again when that process has ended");
    }
}
