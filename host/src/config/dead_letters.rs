//! Arguments of `swiftcart-host dlq`. Invariant: a password comes from a file or the environment, never from an argument that others can
//! see; what is not understood is refused before anything connects.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use secrecy::ExposeSecret as _;
use swiftcart_provider_kafka::dead_letter::{Filter, State};
use swiftcart_provider_kafka::{ConfigError, Connection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::manifest::{SecretBackend, SecretError, SecretSource};

/// The variable that holds the SASL password, unless a file does.
const PASSWORD_VARIABLE: &str = "SWIFTCART_KAFKA_SASL_PASSWORD";

/// What to do with dead letters, and where.
#[derive(Debug, Clone, Args)]
pub struct DeadLetterArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: DeadLetterCommand,
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// What to do with dead letters.
#[derive(Debug, Clone, Subcommand)]
pub enum DeadLetterCommand {
    /// Counts dead letters by topic, state and cause.
    List(ListArguments),
    /// Shows one dead letter whole.
    Show(ShowArguments),
    /// Publishes dead letters again where they came from: same topic, partition and key, for the group that failed.
    Replay(ReplayArguments),
    /// Gives dead letters up: they are kept, but count as dealt with.
    Discard(DiscardArguments),
}

/// How to reach the cluster; as in the configuration of a consumer.
#[derive(Debug, Clone, Args)]
pub struct ClusterArguments {
    /// `host:port`, several separated by commas.
    #[arg(long, global = true, env = "KAFKA_BOOTSTRAP_SERVERS", value_name = "HOST:PORT,...", default_value = "")]
    pub bootstrap_servers: String,
    /// `plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`.
    #[arg(long, global = true, value_name = "PROTOCOL")]
    pub security_protocol: Option<String>,
    /// For example `SCRAM-SHA-512`.
    #[arg(long, global = true, value_name = "MECHANISM")]
    pub sasl_mechanism: Option<String>,
    /// User of the SASL mechanism. The password is in the variable SWIFTCART_KAFKA_SASL_PASSWORD, or in a file.
    #[arg(long, global = true, value_name = "USER")]
    pub sasl_username: Option<String>,
    /// A file with the password.
    #[arg(long, global = true, value_name = "FILE")]
    pub sasl_password_file: Option<PathBuf>,
    /// A PEM file with the authorities to trust; without it, those of the system.
    #[arg(long, global = true, value_name = "FILE")]
    pub ssl_ca_location: Option<PathBuf>,
}

/// Which dead letters; every condition must hold.
#[derive(Debug, Clone, Args)]
pub struct FilterArguments {
    /// Those that this consumer group could not handle.
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Those whose reason contains this.
    #[arg(long, value_name = "TEXT")]
    pub reason_contains: Option<String>,
    /// Those with this key.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Those that failed at this time or later: RFC 3339, or an age such as `90s`, `15m`, `2h`, `3d`.
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    pub since: Option<i64>,
    /// Those that failed before this time.
    #[arg(long, value_name = "TIME", value_parser = time_ms)]
    pub until: Option<i64>,
    /// That one of the dead letter topic; may be repeated.
    #[arg(long = "offset", value_name = "PARTITION:OFFSET", value_parser = partition_and_offset)]
    pub offsets: Vec<(i32, i64)>,
}

/// Arguments of `dlq list`.
#[derive(Debug, Clone, Args)]
pub struct ListArguments {
    /// Dead letter topics; without any, all whose names end in `.dlq`.
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Which.
    #[command(flatten)]
    pub filter: FilterArguments,
    /// Those of this state: open, parked, replayed, discarded; may be repeated. Without it all are counted.
    #[arg(long = "state", value_name = "STATE", value_parser = state)]
    pub states: Vec<State>,
    /// Each letter too, at most so many.
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "100")]
    pub each: Option<usize>,
    /// One JSON object for a program.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dlq show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// The dead letter topic.
    #[arg(long, value_name = "TOPIC")]
    pub topic: String,
    /// Which one.
    #[arg(long, value_name = "PARTITION:OFFSET", value_parser = partition_and_offset)]
    pub offset: (i32, i64),
    /// The payload too; it may be anything, also what must not stand on a screen.
    #[arg(long)]
    pub payload: bool,
    /// One JSON object for a program.
    #[arg(long)]
    pub json: bool,
}

/// Who does it.
#[derive(Debug, Clone, Args)]
pub struct OperatorArguments {
    /// Who does this, for the audit; by default the user of this shell.
    #[arg(long, env = "USER", value_name = "NAME", default_value = "")]
    pub operator: String,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// Only says what would be done.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
    /// Does not ask.
    #[arg(long)]
    pub yes: bool,
}

/// Which letters of which topic.
#[derive(Debug, Clone, Args)]
pub struct ChoiceArguments {
    /// The dead letter topic.
    #[arg(long, value_name = "TOPIC")]
    pub topic: String,
    /// Which.
    #[command(flatten)]
    pub filter: FilterArguments,
    /// At most so many, the oldest of each partition first.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    pub limit: usize,
    /// One JSON object for a program.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `dlq replay`.
#[derive(Debug, Clone, Args)]
pub struct ReplayArguments {
    /// Which.
    #[command(flatten)]
    pub choice: ChoiceArguments,
    /// At most so many a second.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// The guard against a loop of dying and replaying: a letter that was replayed so often is parked instead.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub max_replays: u32,
    /// Also those that are parked.
    #[arg(long)]
    pub include_parked: bool,
    /// Who.
    #[command(flatten)]
    pub operator: OperatorArguments,
}

/// Arguments of `dlq discard`.
#[derive(Debug, Clone, Args)]
pub struct DiscardArguments {
    /// Which.
    #[command(flatten)]
    pub choice: ChoiceArguments,
    /// Who.
    #[command(flatten)]
    pub operator: OperatorArguments,
}

/// Why the cluster cannot be named.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A value is not understood.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The password cannot be read.
    #[error("the SASL password: {0}")]
    Password(SecretError),
}

impl ClusterArguments {
    /// The connection, with the password.
    ///
    /// # Errors
    /// When a value is not understood, or the password is asked for and not there.
    pub fn connection(&self, secrets: &dyn SecretSource) -> Result<Connection, ClusterError> {
        let path = |path: &PathBuf| path.display().to_string();
        let password = match (&self.sasl_password_file, &self.sasl_username) {
            (Some(file), _) => Some(secrets.read(SecretBackend::File, &path(file))),
            (None, Some(_)) => Some(secrets.read(SecretBackend::Env, PASSWORD_VARIABLE)),
            (None, None) => None,
        };
        let password = password.transpose().map_err(ClusterError::Password)?;
        let mut pairs = [
            ("bootstrap_servers", Some(self.bootstrap_servers.clone())),
            ("security_protocol", self.security_protocol.clone()),
            ("sasl_mechanism", self.sasl_mechanism.clone()),
            ("sasl_username", self.sasl_username.clone()),
            ("sasl_password", password.map(|password| password.expose_secret().to_owned())),
            ("ssl_ca_location", self.ssl_ca_location.as_ref().map(path)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
        Ok(Connection::take_from(&mut pairs)?)
    }
}

impl FilterArguments {
    /// The filter, for letters in one of these states.
    #[must_use]
    pub fn filter(&self, states: &[State]) -> Filter {
        Filter {
            group: self.group.clone(),
            reason_contains: self.reason_contains.clone(),
            key: self.key.clone(),
            since_ms: self.since,
            until_ms: self.until,
            offsets: self.offsets.clone(),
            states: states.to_vec(),
        }
    }
}

fn partition_and_offset(text: &str) -> Result<(i32, i64), String> {
    let parts =
        text.split_once(':').and_then(|(partition, offset)| Some((partition.parse().ok()?, offset.parse().ok()?)));
    parts.ok_or_else(|| "expected PARTITION:OFFSET, for example 2:1041".to_owned())
}

fn state(text: &str) -> Result<State, String> {
    let all = [State::Open, State::Parked, State::Replayed, State::Discarded];
    let words = all.map(State::as_str).join(", ");
    all.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("expected one of {words}"))
}

/// Milliseconds since 1970-01-01T00:00:00Z.
fn time_ms(text: &str) -> Result<i64, String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    time_at(text, i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}

fn time_at(text: &str, now_ms: i64) -> Result<i64, String> {
    let unit = |unit: char| match unit {
        's' => Some(1_000),
        'm' => Some(60_000),
        'h' => Some(3_600_000),
        'd' => Some(86_400_000),
        _ => None,
    };
    let age = || {
        let last = text.chars().last()?;
        let count: i64 = text.strip_suffix(last)?.parse().ok().filter(|count| *count >= 0)?;
        now_ms.checked_sub(count.checked_mul(unit(last)?)?)
    };
    let moment = || {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
    };
    age()
        .or_else(moment)
        .ok_or_else(|| "expected RFC 3339 (2026-01-31T12:00:00Z) or an age (90s, 15m, 2h, 3d)".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::{Cli, Command};

    struct Secrets;

    impl SecretSource for Secrets {
        fn read(&self, backend: SecretBackend, key: &str) -> Result<secrecy::SecretString, SecretError> {
            match backend {
                SecretBackend::Env => Err(SecretError::NotSet(key.into())),
                SecretBackend::File => Ok("hidden".into()),
            }
        }
    }

    fn parsed(arguments: &[&str]) -> DeadLetterArguments {
        let all = ["swiftcart-host", "dlq"].iter().chain(arguments);
        match Cli::try_parse_from(all).unwrap().command {
            Some(Command::Dlq(arguments)) => *arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn times_are_moments_or_ages() {
        assert_eq!(time_at("2h", 10_000_000), Ok(2_800_000));
        assert_eq!(time_at("1970-01-01T00:00:01.5Z", 0), Ok(1_500));
        assert_eq!(time_at("1970-01-01T01:00:00+01:00", 0), Ok(0));
        for wrong in ["", "h", "-1h", "2w", "yesterday", "2026-01-31", "9223372036854775807d"] {
            assert!(time_at(wrong, 0).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replay_is_read_with_its_defaults() {
        let arguments =
            parsed(&["replay", "--bootstrap-servers", "b:1", "--topic", "t.dlq", "--offset", "1:5", "--offset", "0:7"]);
        let DeadLetterCommand::Replay(replay) = &arguments.command else { panic!("{arguments:?}") };
        assert_eq!((replay.rate, replay.max_replays, replay.choice.limit), (100, 3, 10_000));
        assert!(!replay.operator.yes && !replay.operator.dry_run && !replay.include_parked);
        let filter = replay.choice.filter.filter(&[State::Open]);
        assert_eq!((filter.offsets, filter.states), (vec![(1, 5), (0, 7)], vec![State::Open]));
        let wrong = ["swiftcart-host", "dlq", "replay", "--topic", "t.dlq", "--offset", "5"];
        assert!(Cli::try_parse_from(wrong).is_err());
        assert!(Cli::try_parse_from(["swiftcart-host", "dlq", "discard"]).is_err(), "a topic is named");
    }

    #[test]
    fn the_connection_has_its_password_from_elsewhere() {
        let list = |more: &[&str]| parsed(&[&["list"], more].concat()).cluster.connection(&Secrets);
        assert_eq!(list(&["--bootstrap-servers", "b:1"]).unwrap().bootstrap_servers, "b:1");
        let sasl = ["--bootstrap-servers", "b:1", "--sasl-username", "me"];
        assert!(list(&sasl).unwrap_err().to_string().contains(PASSWORD_VARIABLE));
        let connection = list(&[&sasl[..], &["--sasl-password-file", "f"]].concat()).unwrap();
        assert!(connection.sasl_password.is_some() && !format!("{connection:?}").contains("hidden"));
        assert!(list(&["--bootstrap-servers", "b:1", "--security-protocol", "tls"]).is_err());
    }
}
