//! How to reach a cluster, and how configuration is read from pairs of strings. Invariant: an unknown or malformed key
//! is an error that names it, and no secret is ever part of an error or of `Debug`.

use std::collections::BTreeMap;

use rdkafka::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer};

use crate::error::ConfigError;

/// Where the brokers are and how to authenticate to them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Connection {
    /// `host:port`, several separated by commas. Required.
    pub bootstrap_servers: String,
    /// `plaintext` (librdkafka's default), `ssl`, `sasl_plaintext` or `sasl_ssl`.
    #[serde(deserialize_with = "present")]
    pub security_protocol: Option<String>,
    /// For example `SCRAM-SHA-512` or `PLAIN`.
    #[serde(deserialize_with = "present")]
    pub sasl_mechanism: Option<String>,
    /// User of the SASL mechanism.
    #[serde(deserialize_with = "present")]
    pub sasl_username: Option<String>,
    /// Password of the SASL mechanism; comes from a secret of the link.
    #[serde(deserialize_with = "present")]
    pub sasl_password: Option<SecretString>,
    /// Path of a PEM file with the authorities to trust; without it, those of the system.
    #[serde(deserialize_with = "present")]
    pub ssl_ca_location: Option<String>,
}

impl Connection {
    /// The keys that belong to a connection, in every configuration that has one.
    pub const KEYS: [&str; 6] = [
        "bootstrap_servers",
        "security_protocol",
        "sasl_mechanism",
        "sasl_username",
        "sasl_password",
        "ssl_ca_location",
    ];

    /// A connection without authentication.
    pub fn plain(bootstrap_servers: impl Into<String>) -> Self {
        Self { bootstrap_servers: bootstrap_servers.into(), ..Self::default() }
    }

    /// Takes the keys of a connection out of `pairs` and reads them.
    pub fn take_from(pairs: &mut BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let connection: Self = read_pairs(take_keys(pairs, &Self::KEYS))?;
        connection.validate()?;
        Ok(connection)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.bootstrap_servers.trim().is_empty() {
            return Err(ConfigError::new("bootstrap_servers", "expected host:port, several separated by commas"));
        }
        let known = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
        match &self.security_protocol {
            Some(protocol) if !known.contains(&protocol.to_lowercase().as_str()) => {
                Err(ConfigError::new("security_protocol", format!("expected one of {}", known.join(", "))))
            }
            _ => Ok(()),
        }
    }

    /// The part of a librdkafka configuration that every client shares.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap_servers)
            // A restarted broker is found again within a second or two instead of ten.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("allow.auto.create.topics", "false")
            // Idle connections are closed by brokers all the time: not worth a line.
            .set("log.connection.close", "false");
        let optional = [
            ("security.protocol", &self.security_protocol),
            ("sasl.mechanism", &self.sasl_mechanism),
            ("sasl.username", &self.sasl_username),
            ("ssl.ca.location", &self.ssl_ca_location),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                config.set(name, value);
            }
        }
        if let Some(password) = &self.sasl_password {
            config.set("sasl.password", password.expose_secret());
        }
        config
    }
}

/// Moves the pairs with one of `keys` out of `pairs`. Configurations that are made of parts are read part by part,
/// because serde cannot combine `flatten` with `deny_unknown_fields`.
pub fn take_keys(pairs: &mut BTreeMap<String, String>, keys: &[&str]) -> BTreeMap<String, String> {
    keys.iter().filter_map(|key| pairs.remove_entry(*key)).collect()
}

/// Reads a struct from pairs of strings. Errors name the key.
pub fn read_pairs<T: DeserializeOwned>(pairs: BTreeMap<String, String>) -> Result<T, ConfigError> {
    let reader = MapDeserializer::<_, serde::de::value::Error>::new(pairs.into_iter());
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let key = match error.path().to_string() {
            path if path == "." => "?".to_owned(),
            path => path,
        };
        ConfigError::new(key, format!("not a value of the expected form: {}", error.inner()))
    })
}

/// A string-pair reader has no notion of an option: a key that is there is `Some`.
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
