//! Configuration of one Redis. It is complete and checked before anything connects, and never shows the password.

use redis::{ConnectionInfo, IntoConnectionInfo, ProtocolVersion};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde_with::{DisplayFromStr, serde_as};

/// What a link says about its Redis (version 6 or later).
#[serde_as]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `redis://user:password@host:port/database`, or `rediss://` for TLS. A secret.
    pub url: SecretString,
    /// How long a call waits for its answer once it was sent, in milliseconds (1 to 60000).
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_response_timeout_ms")]
    pub response_timeout_ms: u64,
    /// How long a call waits for a connection, further attempts included, in milliseconds (1 to 60000).
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_connect_timeout_ms")]
    pub connect_timeout_ms: u64,
}

/// A configuration that is not acceptable. Names the key; never quotes a secret.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("configuration of redis, `{key}`: {message}")]
pub struct ConfigError {
    /// The key at fault.
    pub key: String,
    /// What is wrong and what is expected.
    pub message: String,
}

impl Config {
    /// Reads and checks the configuration. Keys that are not known are errors.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let pairs = MapDeserializer::<_, serde::de::value::Error>::new(pairs.into_iter());
        let config: Self = serde_path_to_error::deserialize(pairs)
            .map_err(|error| ConfigError { key: error.path().to_string(), message: error.into_inner().to_string() })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in
            [("response_timeout_ms", self.response_timeout_ms), ("connect_timeout_ms", self.connect_timeout_ms)]
        {
            if !(1..=60_000).contains(&value) {
                return Err(ConfigError { key: key.to_owned(), message: format!("is {value}, expected 1 to 60000") });
            }
        }
        self.connection_info().map(drop)
    }

    /// Where the server is and how to log in. Version 3 of the protocol, because only there the client learns at once that an idle
    /// connection was closed.
    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, ConfigError> {
        // The client's own message may quote a part of the address, so it is not passed on.
        let info = self.url.expose_secret().into_connection_info().map_err(|_| ConfigError {
            key: "url".to_owned(),
            message: "expected redis://user:password@host:port/database or rediss://".to_owned(),
        })?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(info.set_redis_settings(settings))
    }
}

fn default_response_timeout_ms() -> u64 {
    2_000
}

fn default_connect_timeout_ms() -> u64 {
    2_000
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_pairs(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_and_errors() {
        let config = read(&[("url", "redis://:hunter2@127.0.0.1:1/0")]).unwrap();
        assert_eq!((config.response_timeout_ms, config.connect_timeout_ms), (2_000, 2_000));
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(
            read(&[("url", "redis://h"), ("response_timeout_ms", "soon")]).unwrap_err().key,
            "response_timeout_ms"
        );
        assert_eq!(read(&[("url", "redis://h"), ("connect_timeout_ms", "0")]).unwrap_err().key, "connect_timeout_ms");
        assert!(read(&[("url", "redis://h"), ("colour", "red")]).unwrap_err().to_string().contains("colour"));
        let error = read(&[("url", "http://:hunter2@h")]).unwrap_err();
        assert_eq!(error.key, "url");
        assert!(!error.to_string().contains("hunter2"));
    }
}
