//! The only reader of arguments, environment and configuration files. Everything is read once, checked before anything connects, and
//! handed on as values; every problem is told, not only the first.

mod breaker;
mod dead_letters;
mod lattice;

use std::io::{IsTerminal, Read};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::limits;
use crate::manifest::{
    self, ExternalConfigs, ImageReference, Manifest, ParseError, Plan, PlanError, SecretBackend, SecretError,
    SecretSource,
};
use crate::telemetry::{LogConfig, LogFormat};
pub use breaker::{BreakerArguments, BreakerCommand};
pub use dead_letters::{
    ChoiceArguments, ClusterArguments, DeadLetterArguments, DeadLetterCommand, DiscardArguments, FilterArguments,
    ListArguments, OperatorArguments, ReplayArguments, ShowArguments,
};
pub use lattice::{
    BUILTIN_LABELS, CallArguments, ControlArguments, LatticeArguments, LatticeConfig, LatticeConfigError, NatsServer,
    started_by_wash,
};

/// A secret is a password, a URL or a key: nothing larger.
const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Beside Prometheus' own port, where it looks by habit for OpenTelemetry-style exporters.
const DEFAULT_ADMIN_ADDRESS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464));
/// The key of a link's or capability's config that names a folder below the migrations root.
const MIGRATIONS_KEY: &str = "migrations";

/// Runs the components of a wadm application.
#[derive(Debug, Parser)]
#[command(name = "swiftcart-host", version, about)]
pub struct Cli {
    /// What to do; `lattice` if wash started this program, which it does without arguments.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to log.
    #[command(flatten)]
    pub log: LogArguments,
}

/// What the host is asked to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs the application until a signal comes.
    Run(HostArguments),
    /// Checks the manifest, its configs, secrets and files, connects to nothing, and ends.
    Check(HostArguments),
    /// Joins a wasmCloud lattice and does what wash and wadm say.
    Lattice(Box<LatticeArguments>),
    /// Looks at dead letters, publishes them again, or gives them up.
    Dlq(Box<DeadLetterArguments>),
    /// Shows and changes the circuit breakers of a host that runs.
    Breaker(BreakerArguments),
}

/// For reading the environment alone.
#[derive(Debug, Parser)]
struct LatticeProgram {
    #[command(flatten)]
    arguments: LatticeArguments,
}

impl Cli {
    /// What to do, by arguments or environment.
    ///
    /// # Errors
    /// When neither says it, or the environment cannot be read.
    pub fn command(self) -> Result<Command, clap::Error> {
        match self.command {
            Some(command) => Ok(command),
            None if started_by_wash() => {
                let program = LatticeProgram::try_parse_from(["swiftcart-host"])?;
                Ok(Command::Lattice(Box::new(program.arguments)))
            }
            None => Err(Self::command_line().error(
                clap::error::ErrorKind::MissingSubcommand,
                "expected `run`, `check`, `lattice`, `dlq` or `breaker` (or an environment with WASMCLOUD_* variables, as `wash up` sets them)",
            )),
        }
    }

    fn command_line() -> clap::Command {
        <Self as clap::CommandFactory>::command()
    }
}

/// Where everything is.
#[derive(Debug, Clone, Args)]
pub struct HostArguments {
    /// The wadm application manifest (YAML).
    #[arg(long, env = "SWIFTCART_HOST_MANIFEST", value_name = "FILE")]
    pub manifest: PathBuf,
    /// The folder of images such as `file://cart.wasm`.
    #[arg(long, env = "SWIFTCART_HOST_ARTIFACT_ROOT", value_name = "FOLDER")]
    pub artifact_root: PathBuf,
    /// The folder that holds one folder of SQL migrations per database; needed if the manifest names any.
    #[arg(long, env = "SWIFTCART_HOST_MIGRATIONS_ROOT", value_name = "FOLDER")]
    pub migrations_root: Option<PathBuf>,
    /// The configs that the manifest names without properties (YAML: name, key, value).
    #[arg(long, env = "SWIFTCART_HOST_CONFIG_FILE", value_name = "FILE")]
    pub config_file: Option<PathBuf>,
    /// Compiled components are kept here. Whoever can write to it can run code in the host: never a shared folder.
    #[arg(long, env = "SWIFTCART_HOST_CACHE_DIR", value_name = "FOLDER")]
    pub cache_dir: PathBuf,
    /// Where health, metrics and inventory are served.
    #[arg(long, env = "SWIFTCART_HOST_ADMIN_ADDRESS", value_name = "IP:PORT", default_value_t = DEFAULT_ADMIN_ADDRESS)]
    pub admin_address: SocketAddr,
    /// How long running work may take to finish after the first signal.
    #[arg(long, env = "SWIFTCART_HOST_DRAIN_TIMEOUT_MS", value_name = "MILLISECONDS", default_value_t = default_drain_ms(),
        value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub drain_timeout_ms: u64,
}

/// How to log, to standard error.
#[derive(Debug, Clone, Args)]
pub struct LogArguments {
    /// `json`, or `text` for people; by default `text` on a terminal.
    #[arg(long, env = "SWIFTCART_HOST_LOG_FORMAT", global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Which records: directives of tracing's `EnvFilter`, for example `info,swiftcart_host=debug`.
    #[arg(long, env = "SWIFTCART_HOST_LOG_FILTER", global = true, value_name = "DIRECTIVES")]
    pub log_filter: Option<String>,
    /// The level that wash passes; for the host's own records, others stay at `info` or above.
    #[arg(long, env = "WASMCLOUD_LOG_LEVEL", global = true, hide = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Whether wash wants JSON.
    #[arg(long, env = "WASMCLOUD_STRUCTURED_LOGGING_ENABLED", global = true, hide = true, action = clap::ArgAction::Set,
        num_args = 0..=1, default_missing_value = "true", default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new())]
    pub structured_logging: bool,
}

fn default_drain_ms() -> u64 {
    u64::try_from(limits::DRAIN.as_millis()).unwrap_or(u64::MAX)
}

/// Everything the host needs to know, checked.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// What to run.
    pub plan: Plan,
    /// Relative file images are below it; it is there.
    pub artifact_root: PathBuf,
    /// Holds a folder for each `migrations` of the plan.
    pub migrations_root: Option<PathBuf>,
    /// Private; may have to be made.
    pub cache_dir: PathBuf,
    /// Where to serve health, metrics and inventory.
    pub admin_address: SocketAddr,
    /// How long running work may take to finish after the first signal.
    pub drain_timeout: Duration,
}

/// Why the host cannot start. The message has a line per problem.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that was named cannot be read.
    #[error("{what} {} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which argument.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The config file has another form.
    #[error("config file {}:{}", path.display(), lines(problems))]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<ParseError>,
    },
    /// The manifest has another form.
    #[error("manifest {}:{}", path.display(), lines(problems))]
    Manifest {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<ParseError>,
    },
    /// The manifest asks for what cannot be.
    #[error("manifest {}:{}", path.display(), lines(problems))]
    Plan {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<PlanError>,
    },
    /// Files and folders that must be there are not.
    #[error("files:{}", lines(.0))]
    Files(Vec<FileError>),
}

/// A file or folder that must be there and is not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// A folder of the command line.
    #[error("{flag}: there is no folder {}", path.display())]
    NoFolder {
        /// Which argument.
        flag: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// The cache is a file.
    #[error("--cache-dir: {} is no folder", path.display())]
    CacheIsNoFolder {
        /// The file.
        path: PathBuf,
    },
    /// The image of a component.
    #[error("component `{component}`: there is no file {}: build it, or set --artifact-root", path.display())]
    NoImage {
        /// The component.
        component: String,
        /// The file.
        path: PathBuf,
    },
    /// Migrations are named, but no root.
    #[error("{place}: migrations `{name}` need --migrations-root")]
    NoMigrationsRoot {
        /// The link or capability.
        place: String,
        /// The folder's name.
        name: String,
    },
    /// Migrations are named, but not there.
    #[error("{place}: there is no folder {} with migrations", path.display())]
    NoMigrations {
        /// The link or capability.
        place: String,
        /// The folder.
        path: PathBuf,
    },
    /// Migrations are named by a path.
    #[error("{place}: migrations `{name}` is a path, expected the name of a folder in --migrations-root")]
    MigrationsPath {
        /// The link or capability.
        place: String,
        /// What stands there.
        name: String,
    },
}

/// One problem per line, below a heading.
fn lines<T: ToString>(problems: &[T]) -> String {
    problems.iter().map(|problem| format!("\n  - {}", problem.to_string())).collect()
}

impl LogArguments {
    /// With the defaults filled in.
    #[must_use]
    pub fn config(&self) -> LogConfig {
        let by_default = if std::io::stderr().is_terminal() { LogFormat::Text } else { LogFormat::Json };
        let by_default = if self.structured_logging { LogFormat::Json } else { by_default };
        let by_level = || match self.log_level.as_deref() {
            Some(level @ ("debug" | "trace")) => format!("info,swiftcart_host={level}"),
            Some(level @ ("error" | "warn")) => level.to_owned(),
            _ => "info".to_owned(),
        };
        LogConfig {
            format: self.log_format.unwrap_or(by_default),
            filter: self.log_filter.clone().unwrap_or_else(by_level),
        }
    }
}

impl HostArguments {
    /// Reads and checks all files, and resolves secrets.
    ///
    /// # Errors
    /// All problems of the first stage that has any: the files named, their form, the plan, the images and migrations.
    pub fn load(&self, secrets: &dyn SecretSource) -> Result<HostConfig, ConfigError> {
        let externals = match &self.config_file {
            Some(path) => ExternalConfigs::parse(&read("config file", path)?)
                .map_err(|problems| ConfigError::ConfigFile { path: path.clone(), problems })?,
            None => ExternalConfigs::default(),
        };
        let path = || self.manifest.clone();
        let manifest = Manifest::parse(&read("manifest", &self.manifest)?);
        let manifest = manifest.map_err(|problems| ConfigError::Manifest { path: path(), problems })?;
        let plan = manifest::plan(&manifest, &externals, secrets);
        let plan = plan.map_err(|problems| ConfigError::Plan { path: path(), problems })?;
        let problems = self.missing_files(&plan);
        if !problems.is_empty() {
            return Err(ConfigError::Files(problems));
        }
        Ok(HostConfig {
            plan,
            artifact_root: self.artifact_root.clone(),
            migrations_root: self.migrations_root.clone(),
            cache_dir: self.cache_dir.clone(),
            admin_address: self.admin_address,
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
        })
    }

    fn missing_files(&self, plan: &Plan) -> Vec<FileError> {
        let mut problems = Vec::new();
        let folders =
            [("--artifact-root", Some(&self.artifact_root)), ("--migrations-root", self.migrations_root.as_ref())];
        for (flag, path) in folders {
            if let Some(path) = path.filter(|path| !path.is_dir()) {
                problems.push(FileError::NoFolder { flag, path: path.clone() });
            }
        }
        if self.cache_dir.exists() && !self.cache_dir.is_dir() {
            problems.push(FileError::CacheIsNoFolder { path: self.cache_dir.clone() });
        }
        if !problems.is_empty() {
            return problems;
        }
        for component in &plan.components {
            let path = ImageReference::resolve(&component.image, &self.artifact_root);
            if let Some(path) = path.filter(|path| !path.is_file()) {
                problems.push(FileError::NoImage { component: component.name.clone(), path });
            }
        }
        let links = plan.links.iter().map(|link| {
            let place = format!("link `{}` -> `{}` ({}:{})", link.source, link.target, link.namespace, link.package);
            (place, &link.target_config)
        });
        let capabilities = plan
            .capabilities
            .iter()
            .map(|capability| (format!("capability `{}`", capability.name), &capability.config));
        for (place, settings) in links.chain(capabilities) {
            if let Some(name) = settings.value(MIGRATIONS_KEY) {
                problems.extend(self.missing_migrations(place, name));
            }
        }
        problems
    }

    fn missing_migrations(&self, place: String, name: &str) -> Option<FileError> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Some(FileError::MigrationsPath { place, name: name.into() });
        }
        let Some(root) = &self.migrations_root else {
            return Some(FileError::NoMigrationsRoot { place, name: name.into() });
        };
        let path = root.join(name);
        (!path.is_dir()).then_some(FileError::NoMigrations { place, path })
    }
}

fn read(what: &'static str, path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { what, path: path.into(), source })
}

/// Secrets from the environment of this process, and from files. A file's last line break is not part of the secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSecrets;

impl SecretSource for ProcessSecrets {
    fn read(&self, backend: SecretBackend, key: &str) -> Result<SecretString, SecretError> {
        let text = match backend {
            SecretBackend::Env => std::env::var(key).map_err(|error| match error {
                std::env::VarError::NotPresent => SecretError::NotSet(key.into()),
                std::env::VarError::NotUnicode(_) => SecretError::NotText(key.into()),
            })?,
            SecretBackend::File => read_secret(key)?,
        };
        if text.is_empty() { Err(SecretError::Empty(key.into())) } else { Ok(SecretString::from(text)) }
    }
}

fn read_secret(path: &str) -> Result<String, SecretError> {
    let unreadable = |error: std::io::Error| SecretError::Unreadable { path: path.into(), problem: error.to_string() };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_SECRET_BYTES) {
        return Err(SecretError::TooLarge { path: path.into(), limit_bytes: MAX_SECRET_BYTES });
    }
    let mut text = String::from_utf8(bytes).map_err(|_| SecretError::NotText(path.into()))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

#[cfg(test)]
mod tests;
