//! Folders of the cache. Invariant: a file in one is whole, was written by this user's own processes, and may vanish at any time: whoever
//! reads one checks what it reads and can do without.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Ending of files that are being written.
const UNFINISHED: &str = "part";
/// What was used or begun so recently is never removed: somebody may be about to open it.
const RECENT: Duration = Duration::from_secs(3600);

/// A folder that only this user can write to.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder private to this user, or says why it cannot be trusted.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| error.to_string())?;
        let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
        let own = std::fs::metadata("/proc/self").map_err(|error| error.to_string())?;
        if metadata.uid() != own.uid() || metadata.mode() & 0o022 != 0 {
            return Err("the folder belongs to, or can be written by, another user".to_owned());
        }
        Ok(Self(path.to_owned()))
    }

    /// Where a file of this name is, or would be.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The content of a file, which thereby counts as used; `None` if it is not there.
    pub(super) fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(self.path(name)) {
            Ok(bytes) => {
                self.touch(name);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Marks a file as used just now, so that it is removed last.
    pub(super) fn touch(&self, name: &str) {
        // Only the order of removal depends on it.
        let _ = std::fs::File::open(self.path(name)).and_then(|file| file.set_modified(SystemTime::now()));
    }

    /// Writes under a name of its own first, so that no reader ever sees half a file, then makes room.
    pub(super) fn write(&self, name: &str, bytes: &[u8], limit_bytes: u64) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let turn = WRITES.fetch_add(1, Ordering::Relaxed);
        let unfinished = self.path(&format!("{name}.{}-{turn}.{UNFINISHED}", std::process::id()));
        let written = std::fs::write(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, self.path(name)));
        if written.is_err() {
            let _ = std::fs::remove_file(&unfinished);
        }
        written?;
        self.make_room(limit_bytes)
    }

    /// Forgets a file.
    pub(super) fn remove(&self, name: &str) {
        // What cannot be removed is checked again when it is read.
        let _ = std::fs::remove_file(self.path(name));
    }

    /// Removes what was not used for longest until the rest has at most `limit_bytes`; recent files stay whatever their size.
    fn make_room(&self, limit_bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        let mut total = 0;
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            // Another process may have removed it in between.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_file() {
                total += metadata.len();
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        for (modified, size, path) in files {
            let unfinished = path.extension().is_some_and(|ending| ending == UNFINISHED);
            if modified.elapsed().is_ok_and(|age| age < RECENT) || (total <= limit_bytes && !unfinished) {
                continue;
            }
            if std::fs::remove_file(&path).is_ok() {
                total -= size;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn age(folder: &Folder, name: &str, hours: u64) {
        let then = SystemTime::now() - Duration::from_secs(3600 * hours);
        std::fs::File::open(folder.path(name)).unwrap().set_modified(then).unwrap();
    }

    /// Goal: the folder stays within its limit and what is used stays. Method: old files of known age, then one more write.
    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(&place.path().join("cache")).unwrap();
        for (name, hours) in [("oldest", 9), ("old", 8), ("used", 7), ("left.1-1.part", 6), ("new", 0)] {
            folder.write(name, &[0; 100], u64::MAX).unwrap();
            age(&folder, name, hours);
        }
        assert_eq!(folder.read("used").unwrap().unwrap().len(), 100);
        folder.write("last", &[0; 100], 400).unwrap();
        let there = |name: &str| folder.path(name).exists();
        assert!(!there("oldest") && !there("left.1-1.part"));
        assert!(there("old") && there("used") && there("new") && there("last"));
        folder.write("last", &[0; 100], 0).unwrap();
        assert!(!there("old") && there("used") && there("new") && there("last"), "recent files stay");
        assert_eq!(folder.read("gone").unwrap(), None);
    }

    /// Goal: many writers of one name leave one whole file. Method: threads that write different sizes of one byte each.
    #[test]
    fn writers_of_one_name_do_not_mix() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        std::thread::scope(|scope| {
            for byte in 1..=8_u8 {
                let folder = &folder;
                scope.spawn(move || {
                    for _ in 0..20 {
                        folder.write("one", &vec![byte; usize::from(byte) * 10_000], u64::MAX).unwrap();
                    }
                });
            }
        });
        let bytes = folder.read("one").unwrap().unwrap();
        let first = bytes.first().copied().unwrap();
        assert_eq!(bytes, vec![first; usize::from(first) * 10_000]);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
    }
}
