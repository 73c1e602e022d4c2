//! Arguments and environment of a host on a lattice. Names of `WASMCLOUD_*` variables are those that `wash up` sets, so that an unmodified
//! wash can start this program; nothing needs an argument.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, builder::BoolishValueParser};
use secrecy::SecretString;

use super::{DEFAULT_ADMIN_ADDRESS, default_drain_ms};

/// What a label's variable starts with.
const LABEL_PREFIX: &str = "WASMCLOUD_LABEL_";
/// What tells that wash started this program.
const WASH_PREFIX: &str = "WASMCLOUD_";
/// Labels of this name belong to the host.
pub const BUILTIN_LABELS: &str = "hostcore.";

/// A host on a lattice.
#[derive(Debug, Clone, Args)]
pub struct LatticeArguments {
    /// The lattice: hosts of other names are not seen.
    #[arg(long, env = "WASMCLOUD_LATTICE", value_name = "NAME", default_value = "default")]
    pub lattice: String,
    /// Where control messages go.
    #[command(flatten)]
    pub control: ControlArguments,
    /// Where calls go.
    #[command(flatten)]
    pub calls: CallArguments,
    /// First part of the control subjects.
    #[arg(long, env = "WASMCLOUD_CTL_TOPIC_PREFIX", value_name = "SUBJECT", default_value = "wasmbus.ctl")]
    pub control_prefix: String,
    /// JetStream domain of the lattice's buckets.
    #[arg(long, env = "WASMCLOUD_JS_DOMAIN", value_name = "DOMAIN")]
    pub js_domain: Option<String>,
    /// Seed of the host's identity (`SN...`); a new one at each start if not given.
    #[arg(long, env = "WASMCLOUD_HOST_SEED", value_name = "SEED", hide_env_values = true)]
    pub host_seed: Option<SecretString>,
    /// A name for people; the first letters of the identity if not given.
    #[arg(long, env = "SWIFTCART_HOST_FRIENDLY_NAME", value_name = "NAME")]
    pub friendly_name: Option<String>,
    /// A label `key=value`; `WASMCLOUD_LABEL_<key>` in the environment does the same.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    pub labels: Vec<(String, String)>,
    /// Time between two heartbeats.
    #[arg(long, env = "SWIFTCART_HOST_HEARTBEAT_INTERVAL_MS", value_name = "MILLISECONDS", default_value_t = 30_000,
        value_parser = clap::value_parser!(u64).range(200..=300_000))]
    pub heartbeat_interval_ms: u64,
    /// How long a call from another host may take if its caller does not say.
    #[arg(long, env = "WASMCLOUD_RPC_TIMEOUT_MS", value_name = "MILLISECONDS", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub rpc_timeout_ms: u64,
    /// How long a provider's process may take to end.
    #[arg(long, env = "WASMCLOUD_PROV_SHUTDOWN_DELAY_MS", value_name = "MILLISECONDS", default_value_t = 300,
        value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub provider_shutdown_delay_ms: u64,
    /// How long any call of a component may take, whatever its own settings say.
    #[arg(long, env = "WASMCLOUD_MAX_EXECUTION_TIME_MS", value_name = "MILLISECONDS", default_value_t = 600_000,
        value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    pub max_execution_time_ms: u64,
    /// Whether `file:///absolute` references may be loaded; relative ones, below the artifact root, always may.
    #[arg(long, env = "WASMCLOUD_ALLOW_FILE_LOAD", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_parser = BoolishValueParser::new())]
    pub allow_file_load: bool,
    /// Whether the tag `latest` may be pulled.
    #[arg(long, env = "WASMCLOUD_OCI_ALLOW_LATEST", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_parser = BoolishValueParser::new())]
    pub oci_allow_latest: bool,
    /// Registries that may be spoken to without TLS.
    #[arg(long, env = "WASMCLOUD_OCI_ALLOWED_INSECURE", value_name = "HOST,...", value_delimiter = ',')]
    pub oci_allowed_insecure: Vec<String>,
    /// The registry that the next two belong to.
    #[arg(long, env = "OCI_REGISTRY", value_name = "HOST")]
    pub oci_registry: Option<String>,
    /// Its user.
    #[arg(long, env = "OCI_REGISTRY_USER", value_name = "NAME", requires = "oci_registry")]
    pub oci_user: Option<String>,
    /// The user's password.
    #[arg(long, env = "OCI_REGISTRY_PASSWORD", value_name = "PASSWORD", hide_env_values = true, requires = "oci_user")]
    pub oci_password: Option<SecretString>,
    /// The folder of images such as `file://cart.wasm`; the current folder if not given.
    #[arg(long, env = "SWIFTCART_HOST_ARTIFACT_ROOT", value_name = "FOLDER")]
    pub artifact_root: Option<PathBuf>,
    /// The folder that holds one folder of SQL migrations per database; needed if a config names any.
    #[arg(long, env = "SWIFTCART_HOST_MIGRATIONS_ROOT", value_name = "FOLDER")]
    pub migrations_root: Option<PathBuf>,
    /// Compiled components are kept here; a folder of the user's cache if not given. Never a shared folder.
    #[arg(long, env = "SWIFTCART_HOST_CACHE_DIR", value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,
    /// Where health, metrics and inventory are served. If not given, any free port is taken when the usual one is not free.
    #[arg(long, env = "SWIFTCART_HOST_ADMIN_ADDRESS", value_name = "IP:PORT")]
    pub admin_address: Option<SocketAddr>,
    /// How long running work may take to finish after the first signal.
    #[arg(long, env = "SWIFTCART_HOST_DRAIN_TIMEOUT_MS", value_name = "MILLISECONDS", default_value_t = default_drain_ms(),
        value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub drain_timeout_ms: u64,
}

/// The connection for control messages, events and buckets.
#[derive(Debug, Clone, Args)]
pub struct ControlArguments {
    /// Host name, address or URL of the NATS server.
    #[arg(long, env = "WASMCLOUD_CTL_HOST", value_name = "HOST", default_value = "127.0.0.1")]
    pub ctl_host: String,
    /// Its port.
    #[arg(long, env = "WASMCLOUD_CTL_PORT", value_name = "PORT", default_value_t = 4222)]
    pub ctl_port: u16,
    /// The user's JWT, with the seed.
    #[arg(long, env = "WASMCLOUD_CTL_JWT", value_name = "JWT", hide_env_values = true)]
    pub ctl_jwt: Option<SecretString>,
    /// The user's seed; alone it is an nkey login.
    #[arg(long, env = "WASMCLOUD_CTL_SEED", value_name = "SEED", hide_env_values = true)]
    pub ctl_seed: Option<SecretString>,
    /// A NATS credentials file.
    #[arg(long, env = "WASMCLOUD_CTL_CREDSFILE", value_name = "FILE", conflicts_with_all = ["ctl_jwt", "ctl_seed"])]
    pub ctl_credsfile: Option<PathBuf>,
    /// Whether TLS is required.
    #[arg(long, env = "WASMCLOUD_CTL_TLS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_parser = BoolishValueParser::new())]
    pub ctl_tls: bool,
    /// Whether TLS comes before NATS' own greeting.
    #[arg(long, env = "WASMCLOUD_CTL_TLS_FIRST", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_parser = BoolishValueParser::new())]
    pub ctl_tls_first: bool,
    /// Root certificates to trust.
    #[arg(long, env = "WASMCLOUD_CTL_TLS_CA_FILE", value_name = "FILE")]
    pub ctl_tls_ca_file: Option<PathBuf>,
}

/// The connection for calls between hosts.
#[derive(Debug, Clone, Args)]
pub struct CallArguments {
    /// Host name, address or URL of the NATS server; that of control messages if not given.
    #[arg(long, env = "WASMCLOUD_RPC_HOST", value_name = "HOST")]
    pub rpc_host: Option<String>,
    /// Its port.
    #[arg(long, env = "WASMCLOUD_RPC_PORT", value_name = "PORT")]
    pub rpc_port: Option<u16>,
    /// The user's JWT, with the seed.
    #[arg(long, env = "WASMCLOUD_RPC_JWT", value_name = "JWT", hide_env_values = true)]
    pub rpc_jwt: Option<SecretString>,
    /// The user's seed; alone it is an nkey login.
    #[arg(long, env = "WASMCLOUD_RPC_SEED", value_name = "SEED", hide_env_values = true)]
    pub rpc_seed: Option<SecretString>,
    /// A NATS credentials file.
    #[arg(long, env = "WASMCLOUD_RPC_CREDSFILE", value_name = "FILE", conflicts_with_all = ["rpc_jwt", "rpc_seed"])]
    pub rpc_credsfile: Option<PathBuf>,
    /// Whether TLS is required.
    #[arg(long, env = "WASMCLOUD_RPC_TLS", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_parser = BoolishValueParser::new())]
    pub rpc_tls: bool,
    /// Whether TLS comes before NATS' own greeting.
    #[arg(long, env = "WASMCLOUD_RPC_TLS_FIRST", action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true",
        default_value = "false", value_parser = BoolishValueParser::new())]
    pub rpc_tls_first: bool,
    /// Root certificates to trust.
    #[arg(long, env = "WASMCLOUD_RPC_TLS_CA_FILE", value_name = "FILE")]
    pub rpc_tls_ca_file: Option<PathBuf>,
}

/// How to reach a NATS server.
#[derive(Debug, Clone, Default)]
pub struct NatsServer {
    /// `nats://host:port`.
    pub url: String,
    /// The user's JWT; goes with a seed.
    pub jwt: Option<SecretString>,
    /// The user's seed.
    pub seed: Option<SecretString>,
    /// A credentials file instead of both.
    pub credentials: Option<PathBuf>,
    /// Whether TLS is required.
    pub tls: bool,
    /// Whether TLS comes first.
    pub tls_first: bool,
    /// Root certificates to trust besides the system's.
    pub tls_ca: Option<PathBuf>,
}

/// Everything a host on a lattice needs to know, checked.
#[derive(Debug, Clone)]
pub struct LatticeConfig {
    /// Name of the lattice: one token of a NATS subject.
    pub lattice: String,
    /// First part of the control subjects, without version.
    pub control_prefix: String,
    /// For control messages, events and buckets.
    pub control: NatsServer,
    /// For calls; may be the same server.
    pub calls: NatsServer,
    /// JetStream domain of the buckets.
    pub js_domain: Option<String>,
    /// Seed of the host's identity.
    pub host_seed: Option<SecretString>,
    /// A name for people.
    pub friendly_name: Option<String>,
    /// From arguments and environment.
    pub labels: BTreeMap<String, String>,
    /// Time between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Default time of a call from elsewhere.
    pub rpc_timeout: Duration,
    /// How long a provider's process may take to end.
    pub provider_shutdown_delay: Duration,
    /// Longest call of any component.
    pub max_execution_time: Duration,
    /// Whether `file:///absolute` may be loaded.
    pub allow_file_load: bool,
    /// Whether `latest` may be pulled.
    pub oci_allow_latest: bool,
    /// Registries without TLS.
    pub oci_allowed_insecure: Vec<String>,
    /// Registry, user, password.
    pub oci_credentials: Option<(String, String, SecretString)>,
    /// Relative file images are below it.
    pub artifact_root: PathBuf,
    /// Holds a folder for each `migrations` of a config.
    pub migrations_root: Option<PathBuf>,
    /// Private; may have to be made.
    pub cache_dir: PathBuf,
    /// Where to serve health, metrics and inventory.
    pub admin_address: SocketAddr,
    /// Whether another port is as good when that one is taken.
    pub admin_port_may_differ: bool,
    /// How long running work may take to finish.
    pub drain_timeout: Duration,
}

/// What cannot be in the settings of a host on a lattice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LatticeConfigError {
    /// A name that is part of a subject.
    #[error("{what} `{value}` cannot be part of a NATS subject: use letters, digits, `-` and `_`")]
    Token {
        /// Which one.
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// A label of the host itself.
    #[error("the label `{0}` belongs to the host: labels that start with `hostcore.` cannot be set")]
    Label(String),
    /// A JWT alone is no login.
    #[error("a JWT needs its seed: {0}")]
    JwtWithoutSeed(&'static str),
    /// A folder that is not there.
    #[error("{flag}: there is no folder {}", path.display())]
    NoFolder {
        /// Which argument.
        flag: &'static str,
        /// The folder.
        path: PathBuf,
    },
    /// No place for the cache.
    #[error("there is no home folder for a cache: set --cache-dir")]
    NoCache,
}

/// Whether wash started this program, which it does without arguments.
#[must_use]
pub fn started_by_wash() -> bool {
    std::env::vars_os().any(|(key, _)| key.to_str().is_some_and(|key| key.starts_with(WASH_PREFIX)))
}

impl LatticeArguments {
    /// Checks everything that needs no connection.
    ///
    /// # Errors
    /// [`LatticeConfigError`]
    pub fn load(&self) -> Result<LatticeConfig, LatticeConfigError> {
        check_token("--lattice", &self.lattice)?;
        for part in self.control_prefix.split('.') {
            check_token("--control-prefix", part)?;
        }
        let artifact_root = self.artifact_root.clone().unwrap_or_else(|| PathBuf::from("."));
        for (flag, path) in
            [("--artifact-root", Some(&artifact_root)), ("--migrations-root", self.migrations_root.as_ref())]
        {
            if let Some(path) = path.filter(|path| !path.is_dir()) {
                return Err(LatticeConfigError::NoFolder { flag, path: path.clone() });
            }
        }
        let credentials = self.oci_registry.clone().zip(self.oci_user.clone()).zip(self.oci_password.clone());
        Ok(LatticeConfig {
            lattice: self.lattice.clone(),
            control_prefix: self.control_prefix.clone(),
            control: self.control.server()?,
            calls: self.calls.server(&self.control)?,
            js_domain: self.js_domain.clone().filter(|domain| !domain.is_empty()),
            host_seed: self.host_seed.clone(),
            friendly_name: self.friendly_name.clone(),
            labels: labels(&self.labels, std::env::vars())?,
            heartbeat_interval: Duration::from_millis(self.heartbeat_interval_ms),
            rpc_timeout: Duration::from_millis(self.rpc_timeout_ms),
            provider_shutdown_delay: Duration::from_millis(self.provider_shutdown_delay_ms),
            max_execution_time: Duration::from_millis(self.max_execution_time_ms),
            allow_file_load: self.allow_file_load,
            oci_allow_latest: self.oci_allow_latest,
            oci_allowed_insecure: self.oci_allowed_insecure.clone(),
            oci_credentials: credentials.map(|((registry, user), password)| (registry, user, password)),
            artifact_root,
            migrations_root: self.migrations_root.clone(),
            cache_dir: self.cache_dir.clone().or_else(default_cache).ok_or(LatticeConfigError::NoCache)?,
            admin_address: self.admin_address.unwrap_or(DEFAULT_ADMIN_ADDRESS),
            admin_port_may_differ: self.admin_address.is_none(),
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
        })
    }
}

impl ControlArguments {
    fn server(&self) -> Result<NatsServer, LatticeConfigError> {
        if self.ctl_jwt.is_some() && self.ctl_seed.is_none() {
            return Err(LatticeConfigError::JwtWithoutSeed("--ctl-seed"));
        }
        Ok(NatsServer {
            url: url(&self.ctl_host, self.ctl_port),
            jwt: self.ctl_jwt.clone(),
            seed: self.ctl_seed.clone(),
            credentials: self.ctl_credsfile.clone(),
            tls: self.ctl_tls,
            tls_first: self.ctl_tls_first,
            tls_ca: self.ctl_tls_ca_file.clone(),
        })
    }
}

impl CallArguments {
    /// Without a server of their own, calls use that of control messages with its credentials.
    fn server(&self, control: &ControlArguments) -> Result<NatsServer, LatticeConfigError> {
        let Some(host) = &self.rpc_host else {
            let server = control.server()?;
            let url = self.rpc_port.map_or(server.url.clone(), |port| url(&control.ctl_host, port));
            return Ok(NatsServer { url, ..server });
        };
        if self.rpc_jwt.is_some() && self.rpc_seed.is_none() {
            return Err(LatticeConfigError::JwtWithoutSeed("--rpc-seed"));
        }
        Ok(NatsServer {
            url: url(host, self.rpc_port.unwrap_or(control.ctl_port)),
            jwt: self.rpc_jwt.clone(),
            seed: self.rpc_seed.clone(),
            credentials: self.rpc_credsfile.clone(),
            tls: self.rpc_tls,
            tls_first: self.rpc_tls_first,
            tls_ca: self.rpc_tls_ca_file.clone(),
        })
    }
}

fn url(host: &str, port: u16) -> String {
    if host.contains("://") { host.to_owned() } else { format!("nats://{host}:{port}") }
}

fn check_token(what: &'static str, value: &str) -> Result<(), LatticeConfigError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if value.is_empty() || !value.chars().all(allowed) {
        return Err(LatticeConfigError::Token { what, value: value.into() });
    }
    Ok(())
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected `key=value`".to_owned()),
    }
}

/// Arguments win over the environment.
fn labels(
    arguments: &[(String, String)],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, LatticeConfigError> {
    let environment = environment.filter_map(|(key, value)| Some((key.strip_prefix(LABEL_PREFIX)?.to_owned(), value)));
    let labels: BTreeMap<_, _> = environment.chain(arguments.iter().cloned()).collect();
    match labels.keys().find(|key| key.starts_with(BUILTIN_LABELS) || key.is_empty()) {
        Some(key) => Err(LatticeConfigError::Label(key.clone())),
        None => Ok(labels),
    }
}

/// XDG base directory specification.
fn default_cache() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache"))).map(|cache| cache.join("swiftcart-host"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        arguments: LatticeArguments,
    }

    fn load(arguments: &[&str]) -> Result<LatticeConfig, LatticeConfigError> {
        let arguments = [&["host", "--cache-dir", "/tmp/none"], arguments].concat();
        Program::try_parse_from(arguments).unwrap().arguments.load()
    }

    /// Goal: a host needs no argument, and calls follow control messages. Method: defaults, then one server, then two.
    #[test]
    fn calls_use_the_server_of_control_messages_unless_told() {
        let config = load(&[]).unwrap();
        assert_eq!((config.lattice.as_str(), config.control_prefix.as_str()), ("default", "wasmbus.ctl"));
        assert_eq!(config.heartbeat_interval, Duration::from_secs(30));
        let config = load(&["--ctl-host", "nats.example", "--ctl-port", "4333", "--ctl-seed", "SU"]).unwrap();
        assert_eq!(
            (config.control.url.as_str(), config.calls.url.as_str()),
            ("nats://nats.example:4333", "nats://nats.example:4333")
        );
        assert!(config.calls.seed.is_some());
        let config = load(&["--ctl-host", "a", "--ctl-seed", "SU", "--rpc-host", "tls://b:1"]).unwrap();
        assert_eq!(config.calls.url, "tls://b:1");
        assert!(config.calls.seed.is_none());
        assert!(!format!("{config:?}").contains("SU\""), "{config:?}");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for (arguments, expected) in [
            (&["--lattice", "a.b"][..], "--lattice `a.b`"),
            (&["--lattice", ""], "--lattice ``"),
            (&["--control-prefix", "a..b"], "--control-prefix ``"),
            (&["--ctl-jwt", "e"], "--ctl-seed"),
            (&["--label", "hostcore.os=plan9"], "`hostcore.os` belongs to the host"),
            (&["--artifact-root", "/no/such/folder"], "--artifact-root: there is no folder"),
        ] {
            let error = load(arguments).unwrap_err().to_string();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn labels_come_from_arguments_and_environment() {
        let environment = [("WASMCLOUD_LABEL_zone", "a"), ("WASMCLOUD_LABEL_disk", "ssd"), ("PATH", "/bin")];
        let environment = environment.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter();
        let labels = labels(&[parse_label("zone=b=c").unwrap()], environment).unwrap();
        assert_eq!(labels, [("disk", "ssd"), ("zone", "b=c")].map(|(key, value)| (key.into(), value.into())).into());
    }
}
