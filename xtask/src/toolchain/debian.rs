//! A private toolchain from Debian's packages, for machines where rustup cannot download. Invariant: it lives in the cache alone
//! (Debian's package would conflict with rustup's), appears under its final name only when complete, and is made by one process
//! at a time.

use std::env::consts::ARCH;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use super::{TARGET, Toolchain, active_sysroot, holds_std};
use crate::process;
use crate::workspace::Workspace;

/// The release that the packages come from: its compiler does not move.
const RELEASE: &str = "trixie";
const PACKAGES: &str = "rustc,rust-clippy,libstd-rust-dev-wasm32";
/// Raised when what `make` builds changes, so that older folders are made anew.
const RECIPE: &str = "swiftcart wasm toolchain, recipe 1";
const MARKER: &str = "recipe";
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(900);
/// Wrapped programs: they run with the libraries of the unpacked release, not with the machine's.
const WRAPPED: [&str; 3] = ["rustc", "rustdoc", "clippy-driver"];
/// What the packages bring along and no compiler reads; a quarter of the unpacked size.
const PRUNED: [&str; 10] = [
    "dev",
    "etc",
    "tmp",
    "var",
    "usr/include",
    "usr/share",
    "usr/libexec",
    "usr/lib/gcc",
    "usr/lib/rustlib/wasm32-unknown-unknown",
    "usr/lib/rustlib/wasm32-wasip1",
];

/// Debian's own `cargo-clippy` looks for its driver beside the running program, which is the loader here. What stands after `--`
/// goes to clippy in the form that its driver reads.
const CARGO_CLIPPY: &str = r#"#!/bin/sh
shift
lints= after=
for word do
    shift
    if [ "$after" ]; then lints="$lints${word}__CLIPPY_HACKERY__"
    elif [ "$word" = -- ]; then after=yes
    else set -- "$@" "$word"
    fi
done
export CLIPPY_ARGS="$lints"
RUSTC_WORKSPACE_WRAPPER="@bin@/clippy-driver" exec "@bin@/cargo" check "$@"
"#;

/// Names that Debian and the dynamic loader use for this processor.
struct Platform {
    libraries: &'static str,
    loader: &'static str,
    host: &'static str,
}

impl Platform {
    fn this() -> anyhow::Result<Self> {
        match ARCH {
            "x86_64" => Ok(Self {
                libraries: "usr/lib/x86_64-linux-gnu",
                loader: "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
                host: "x86_64-unknown-linux-gnu",
            }),
            "aarch64" => Ok(Self {
                libraries: "usr/lib/aarch64-linux-gnu",
                loader: "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
                host: "aarch64-unknown-linux-gnu",
            }),
            other => bail!("Debian's packages are used on x86_64 and aarch64 only, this is {other}"),
        }
    }
}

/// True if the private toolchain is linked, of the current recipe, and able to compile; anything less is made anew.
pub(super) fn is_current(toolchain: &Toolchain) -> anyhow::Result<bool> {
    let Some(name) = &toolchain.name else { return Ok(false) };
    let home = process::output(process::command("rustup").args(["show", "home"]))?;
    let link = Path::new(home.trim()).join("toolchains").join(name);
    let Some(folder) = fs::canonicalize(&link).ok().and_then(|tools| tools.parent().map(Path::to_owned)) else {
        return Ok(false);
    };
    let made_by = fs::read_to_string(folder.join(MARKER)).unwrap_or_default();
    Ok(made_by.trim() == RECIPE && toolchain.has_target())
}

/// Unpacks, wraps and links the toolchain. Needs `mmdebstrap`, which it installs when run as root.
pub(super) fn make(workspace: &Workspace, toolchain: &Toolchain) -> anyhow::Result<()> {
    let Some(name) = &toolchain.name else { bail!("the active toolchain is not ours to make") };
    let platform = Platform::this()?;
    ensure!(process::exists("apt-get"), "Debian's packages need apt-get, which is not on this machine");
    fs::create_dir_all(&workspace.cache).with_context(|| format!("making {}", workspace.cache.display()))?;
    let lock = File::create(workspace.cache.join("wasm-toolchain.lock")).context("opening the lock file")?;
    lock.lock().context("waiting for another run that makes the same toolchain")?;

    let home = workspace.cache.join("wasm-toolchain");
    if is_complete(&home, &platform) {
        // Only the link is missing, or the wrappers name an active toolchain that has moved since.
        finish(&home, &platform, name)?;
        if toolchain.has_target() {
            return Ok(());
        }
    }
    let partial = workspace.cache.join(format!("wasm-toolchain.partial-{}", std::process::id()));
    let made = unpack(&partial, &platform).and_then(|()| replace(&home, &partial));
    if made.is_err() {
        let _ = fs::remove_dir_all(&partial);
    }
    made?;
    finish(&home, &platform, name)
}

fn is_complete(home: &Path, platform: &Platform) -> bool {
    let root = home.join("root");
    let std = root.join("usr/lib/rustlib").join(TARGET).join("lib");
    fs::read_to_string(home.join(MARKER)).is_ok_and(|marker| marker.trim() == RECIPE)
        && root.join(platform.loader).exists()
        && WRAPPED.iter().all(|name| root.join("usr/bin").join(name).exists())
        && holds_std(&std)
}

/// Writes the wrappers and the marker, and makes the toolchain known to rustup.
fn finish(home: &Path, platform: &Platform, name: &str) -> anyhow::Result<()> {
    wrap(home, platform)?;
    fs::write(home.join(MARKER), RECIPE).context("writing the marker")?;
    let tools = home.join("toolchain");
    process::output(process::command("rustup").args(["toolchain", "link", name]).arg(&tools))?;
    eprintln!("linked the toolchain {name} to {}", tools.display());
    Ok(())
}

fn unpack(partial: &Path, platform: &Platform) -> anyhow::Result<()> {
    install_mmdebstrap()?;
    let mirror = mirror()?;
    let root = partial.join("root");
    fs::create_dir_all(partial).with_context(|| format!("making {}", partial.display()))?;
    eprintln!("unpacking {PACKAGES} of Debian {RELEASE} (about 200 MB to download, 0.6 GB on disk)");
    let mut mmdebstrap = process::command("mmdebstrap");
    mmdebstrap.args(["--variant=extract", &format!("--include={PACKAGES}"), RELEASE]).arg(&root).arg(mirror);
    process::run_quietly("mmdebstrap", &mut mmdebstrap, DOWNLOAD_LIMIT)?;
    for folder in PRUNED {
        let folder = root.join(folder);
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
    }
    prune_files(&root.join("usr/bin"), |name| WRAPPED.contains(&name))?;
    prune_files(&root.join(platform.libraries), |name| name.contains(".so"))
}

fn prune_files(folder: &Path, keep: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !path.is_dir() && !keep(&name) {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(())
}

/// Puts `partial` under the final name; an older folder leaves that name first.
fn replace(home: &Path, partial: &Path) -> anyhow::Result<()> {
    let old = home.with_extension(format!("old-{}", std::process::id()));
    if home.exists() {
        fs::rename(home, &old).with_context(|| format!("moving {} aside", home.display()))?;
    }
    fs::rename(partial, home).with_context(|| format!("moving the new toolchain to {}", home.display()))?;
    if old.exists() {
        fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
    }
    Ok(())
}

/// Writes `toolchain/bin`: wrappers round the unpacked compiler, and rustup's own cargo.
fn wrap(home: &Path, platform: &Platform) -> anyhow::Result<()> {
    let tools = home.join("toolchain");
    let bin = tools.join("bin");
    let root = home.join("root");
    fs::create_dir_all(&bin).and_then(|()| fs::create_dir_all(tools.join("lib"))).context("making the toolchain")?;
    let sysroot = active_sysroot()?;
    // rust-lld and wasm-component-ld: Debian's packages have neither.
    let linkers = sysroot.join("lib/rustlib").join(platform.host).join("bin");
    ensure!(
        linkers.join("wasm-component-ld").exists(),
        "{} has no wasm-component-ld: the active toolchain must be rustup's, 1.82 or newer",
        linkers.display()
    );
    for name in WRAPPED {
        let text = format!(
            "#!/bin/sh\nPATH=\"{linkers}:$PATH\"\nexport PATH\nexec \"{loader}\" --library-path \"{libraries}:{root}/usr/lib\" \
             --argv0 \"{bin}/{name}\" \"{root}/usr/bin/{name}\" \"$@\"\n",
            linkers = linkers.display(),
            loader = root.join(platform.loader).display(),
            libraries = root.join(platform.libraries).display(),
            root = root.display(),
            bin = bin.display(),
        );
        write_program(&bin.join(name), &text)?;
    }
    let clippy = CARGO_CLIPPY.replace("@bin@", &bin.display().to_string());
    write_program(&bin.join("cargo-clippy"), &clippy)?;
    let cargo = bin.join("cargo");
    let _ = fs::remove_file(&cargo);
    symlink(sysroot.join("bin/cargo"), &cargo).context("linking cargo")
}

/// Written beside and renamed, so that a build that runs at this moment never starts half a script.
fn write_program(path: &Path, text: &str) -> anyhow::Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        fs::write(&partial, text)?;
        fs::set_permissions(&partial, Permissions::from_mode(0o755))?;
        fs::rename(&partial, path)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

fn install_mmdebstrap() -> anyhow::Result<()> {
    if process::exists("mmdebstrap") {
        return Ok(());
    }
    let root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    ensure!(root, "mmdebstrap is missing: run `apt-get install mmdebstrap` as root, then this command again");
    let apt = |arguments: &[&str]| {
        let mut command = process::command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
        process::run_quietly("apt-get", &mut command, DOWNLOAD_LIMIT)
    };
    apt(&["update", "-qq"])?;
    // The keyring of an old installation may not know the release yet.
    apt(&["install", "-y", "-qq", "--no-install-recommends", "mmdebstrap", "debian-archive-keyring"])
}

/// The Debian mirror that this machine's own apt uses.
fn mirror() -> anyhow::Result<String> {
    let mut query = process::command("apt-get");
    query.args(["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian", "Label: Debian"]);
    let mirrors = process::output(&mut query)?;
    let mirror = mirrors.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    mirror.with_context(|| {
        format!("apt knows no Debian mirror on this machine (run `apt-get update` first); {TARGET} needs one or rustup")
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("swiftcart-xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_new_folder_takes_the_place_of_an_old_one() {
        let scratch = scratch("replace");
        let (home, partial) = (scratch.join("wasm-toolchain"), scratch.join("partial"));
        fs::create_dir_all(home.join("stale")).unwrap();
        fs::create_dir_all(partial.join("fresh")).unwrap();
        replace(&home, &partial).unwrap();
        assert!(home.join("fresh").is_dir() && !home.join("stale").exists() && !partial.exists());
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 1, "nothing is left beside it");
        fs::remove_dir_all(&scratch).unwrap();
    }

    #[test]
    fn pruning_keeps_what_it_is_told_to() {
        let scratch = scratch("prune");
        for name in ["rustc", "gcc", "libz.so.1", "libz.a"] {
            fs::write(scratch.join(name), "").unwrap();
        }
        prune_files(&scratch, |name| name == "rustc" || name.contains(".so")).unwrap();
        let mut left: Vec<_> = fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["libz.so.1", "rustc"]);
        fs::remove_dir_all(&scratch).unwrap();
    }
}
