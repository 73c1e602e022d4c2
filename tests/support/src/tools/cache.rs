//! The cache folder. Invariant: a tool is there whole or not at all, and two runs that need it at once install it once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::{Progress, Tools};

/// `$SWIFTCART_CACHE_DIR`, else `$XDG_CACHE_HOME/swiftcart`, else `~/.cache/swiftcart`.
///
/// # Errors
/// When none of them can be named.
pub fn cache_folder() -> anyhow::Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("SWIFTCART_CACHE_DIR")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("swiftcart")))
        .or_else(|| Some(variable("HOME")?.join(".cache/swiftcart")))
        .ok_or_else(|| anyhow!("no place for downloaded tools: set SWIFTCART_CACHE_DIR"))
}

/// Holds the lock of a name until dropped.
pub(super) fn lock(cache: &Path, name: &str, progress: &Progress) -> anyhow::Result<fs::File> {
    let path = cache.join(format!("{name}.lock"));
    let folder = path.parent().unwrap_or(cache);
    fs::create_dir_all(folder).with_context(|| format!("making the cache folder {}", folder.display()))?;
    let file = fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    if file.try_lock().is_err() {
        progress.say(format!("Waiting for another run that is installing {name}"));
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

/// The folder `<cache>/<name>`; if it is missing, `fill` gets a temporary folder that becomes it.
pub(super) fn folder(
    tools: &Tools,
    name: &str,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let folder = tools.cache.join(name);
    if folder.exists() {
        return Ok(folder);
    }
    let _lock = lock(&tools.cache, name, &tools.progress)?;
    if folder.exists() {
        return Ok(folder);
    }
    let unfinished = tools.cache.join(format!("{name}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("removing {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished)?;
    fill(&unfinished)?;
    fs::rename(&unfinished, &folder).with_context(|| format!("moving {name} into place"))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_tool_is_installed_once_and_whole() {
        let cache = tempfile::tempdir().unwrap();
        let tools = Tools::with_cache(cache.path(), Progress::silent());
        folder(&tools, "tool", |unfinished| {
            fs::write(unfinished.join("half"), "")?;
            Err(anyhow!("the network is gone"))
        })
        .unwrap_err();
        assert!(!cache.path().join("tool").exists());
        let count = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let fill = |unfinished: &Path| {
                        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        Ok(fs::write(unfinished.join("whole"), "")?)
                    };
                    folder(&tools, "tool", fill).unwrap()
                });
            }
        });
        assert_eq!(count.into_inner(), 1);
        assert!(cache.path().join("tool/whole").exists() && !cache.path().join("tool/half").exists());
    }
}
