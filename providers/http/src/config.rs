//! Typed configuration of the server and the client, made once from string pairs. Unknown keys are errors; every value
//! is checked before a port is bound or a connection is made.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use http::Uri;
use serde::{Deserialize, de::DeserializeOwned, de::value::MapDeserializer};
use serde_with::{DisplayFromStr, NoneAsEmptyString, StringWithSeparator, formats::CommaSeparator, serde_as};

use crate::{error::ConfigError, public_path::PublicPath};

/// Configuration of the edge [`Server`](crate::Server).
#[serde_as]
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port to listen on, `127.0.0.1:8080`; port 0 takes a free one.
    #[serde_as(as = "DisplayFromStr")]
    pub address: SocketAddr,
    /// Whether other processes of this user may listen on the same address; the system then deals connections out among them, and the
    /// others go on when one dies (default false: a second process on the address is an error).
    #[serde_as(as = "DisplayFromStr")]
    pub reuse_port: bool,
    /// The exact `iss` of accepted tokens. Required.
    pub issuer: String,
    /// The value that `aud` must be or contain. Required.
    pub audience: String,
    /// Where the issuer's JSON Web Key Set lies, `http://` or `https://`. Required.
    pub jwks_url: String,
    /// Comma-separated `METHOD /path` that need no token; `/*` at the end takes everything below. `GET` includes `HEAD`.
    #[serde_as(as = "StringWithSeparator::<CommaSeparator, PublicPath>")]
    pub public_paths: Vec<PublicPath>,
    /// Longest request body (default 65536).
    #[serde_as(as = "DisplayFromStr")]
    pub body_limit_bytes: usize,
    /// Longest sum of header names and values (default 16384).
    #[serde_as(as = "DisplayFromStr")]
    pub header_limit_bytes: usize,
    /// Longest path and query (default 8192).
    #[serde_as(as = "DisplayFromStr")]
    pub uri_limit_bytes: usize,
    /// Time to send the head of a request, and again its body (default 10000). An idle connection is closed after it too.
    #[serde_as(as = "DisplayFromStr")]
    pub request_timeout_ms: u64,
    /// Time for the handler's whole answer, counted from the complete request (default 10000).
    #[serde_as(as = "DisplayFromStr")]
    pub answer_timeout_ms: u64,
    /// Sustained requests per second and user or, without a token, address (default 50).
    #[serde_as(as = "DisplayFromStr")]
    pub requests_per_second: u32,
    /// Requests that may come at once (default 100).
    #[serde_as(as = "DisplayFromStr")]
    pub burst: u32,
    /// Open connections; one more is closed at once (default 10000).
    #[serde_as(as = "DisplayFromStr")]
    pub max_connections: usize,
    /// Requests between admission and the end of their answer; one more is refused as overloaded (default 512).
    #[serde_as(as = "DisplayFromStr")]
    pub max_in_flight: usize,
    /// Tolerance for `exp` and `nbf` (default 60).
    #[serde_as(as = "DisplayFromStr")]
    pub clock_skew_seconds: u64,
    /// How long a shutdown waits for requests in flight (default 15000).
    #[serde_as(as = "DisplayFromStr")]
    pub drain_timeout_ms: u64,
    /// Age at which the key set is fetched again; the old one serves meanwhile (default 300).
    #[serde_as(as = "DisplayFromStr")]
    pub jwks_max_age_seconds: u64,
    /// Least time between two fetches that were caused by an unknown key id (default 5000).
    #[serde_as(as = "DisplayFromStr")]
    pub jwks_refresh_interval_ms: u64,
    /// Time for one fetch of the key set (default 3000).
    #[serde_as(as = "DisplayFromStr")]
    pub jwks_timeout_ms: u64,
    /// PEM file with the certificate chain; with `tls_key_path` the server speaks TLS 1.3 only.
    #[serde_as(as = "NoneAsEmptyString")]
    pub tls_certificate_path: Option<String>,
    /// PEM file with the private key of the certificate.
    #[serde_as(as = "NoneAsEmptyString")]
    pub tls_key_path: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            reuse_port: false,
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            public_paths: Vec::new(),
            body_limit_bytes: 64 * 1024,
            header_limit_bytes: 16 * 1024,
            uri_limit_bytes: 8 * 1024,
            request_timeout_ms: 10_000,
            answer_timeout_ms: 10_000,
            requests_per_second: 50,
            burst: 100,
            max_connections: 10_000,
            max_in_flight: 512,
            clock_skew_seconds: 60,
            drain_timeout_ms: 15_000,
            jwks_max_age_seconds: 300,
            jwks_refresh_interval_ms: 5_000,
            jwks_timeout_ms: 3_000,
            tls_certificate_path: None,
            tls_key_path: None,
        }
    }
}

impl ServerConfig {
    /// Reads and checks the merged config of a link.
    ///
    /// # Errors
    /// Names the first key that is unknown, missing, unreadable or out of range.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let config: Self = read(pairs)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// Names the first key that is missing or out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (key, value) in [("issuer", &self.issuer), ("audience", &self.audience), ("jwks_url", &self.jwks_url)] {
            if value.is_empty() {
                return Err(ConfigError::new(key, "is required"));
            }
        }
        self.jwks_uri()?;
        within("body_limit_bytes", self.body_limit_bytes, 1..=16 * 1024 * 1024)?;
        within("header_limit_bytes", self.header_limit_bytes, 1024..=128 * 1024)?;
        within("uri_limit_bytes", self.uri_limit_bytes, 128..=32 * 1024)?;
        within("request_timeout_ms", self.request_timeout_ms, 1..=300_000)?;
        within("answer_timeout_ms", self.answer_timeout_ms, 1..=300_000)?;
        within("requests_per_second", self.requests_per_second, 1..=1_000_000)?;
        within("burst", self.burst, 1..=1_000_000)?;
        within("max_connections", self.max_connections, 1..=1_000_000)?;
        within("max_in_flight", self.max_in_flight, 1..=100_000)?;
        within("clock_skew_seconds", self.clock_skew_seconds, 0..=300)?;
        within("drain_timeout_ms", self.drain_timeout_ms, 0..=300_000)?;
        within("jwks_max_age_seconds", self.jwks_max_age_seconds, 1..=86_400)?;
        within("jwks_refresh_interval_ms", self.jwks_refresh_interval_ms, 1..=600_000)?;
        within("jwks_timeout_ms", self.jwks_timeout_ms, 1..=60_000)?;
        match (&self.tls_certificate_path, &self.tls_key_path) {
            (Some(_), None) => Err(ConfigError::new("tls_key_path", "is required with `tls_certificate_path`")),
            (None, Some(_)) => Err(ConfigError::new("tls_certificate_path", "is required with `tls_key_path`")),
            _ => Ok(()),
        }
    }

    pub(crate) fn jwks_uri(&self) -> Result<Uri, ConfigError> {
        let expected = || ConfigError::new("jwks_url", "expected an absolute http:// or https:// URL");
        let uri: Uri = self.jwks_url.parse().map_err(|_| expected())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
            _ => Err(expected()),
        }
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }

    pub(crate) fn answer_timeout(&self) -> Duration {
        Duration::from_millis(self.answer_timeout_ms)
    }
}

/// Configuration of the outgoing [`Client`](crate::Client).
#[serde_as]
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientConfig {
    /// Comma-separated `host` (the scheme's own port only) or `host:port`. Nothing else is reachable; empty means nothing.
    #[serde_as(as = "StringWithSeparator::<CommaSeparator, String>")]
    pub allowed_hosts: Vec<String>,
    /// Longest wait for a connection, whatever the caller asks for (default 5000).
    #[serde_as(as = "DisplayFromStr")]
    pub connect_timeout_ms: u64,
    /// Longest wait for the head of an answer, whatever the caller asks for (default 30000).
    #[serde_as(as = "DisplayFromStr")]
    pub first_byte_timeout_ms: u64,
    /// Longest wait between pieces of an answer, whatever the caller asks for (default 30000).
    #[serde_as(as = "DisplayFromStr")]
    pub between_bytes_timeout_ms: u64,
    /// Age at which an idle connection is closed (default 30000).
    #[serde_as(as = "DisplayFromStr")]
    pub idle_timeout_ms: u64,
    /// Idle connections kept for each host (default 100).
    #[serde_as(as = "DisplayFromStr")]
    pub max_idle_connections_per_host: usize,
    /// Connections open at once to each allowed host (default 128). A request over it waits within its connect time-out.
    #[serde_as(as = "DisplayFromStr")]
    pub max_connections_per_host: usize,
    /// PEM file of the only authorities to trust; empty = the system's.
    #[serde_as(as = "NoneAsEmptyString")]
    pub ca_certificate_path: Option<String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            connect_timeout_ms: 5_000,
            first_byte_timeout_ms: 30_000,
            between_bytes_timeout_ms: 30_000,
            idle_timeout_ms: 30_000,
            max_idle_connections_per_host: 100,
            max_connections_per_host: 128,
            ca_certificate_path: None,
        }
    }
}

impl ClientConfig {
    /// Reads and checks the merged config of a link.
    ///
    /// # Errors
    /// Names the first key that is unknown, missing, unreadable or out of range.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let config: Self = read(pairs)?;
        config.validate()?;
        Ok(config)
    }

    /// Checks what a type cannot say.
    ///
    /// # Errors
    /// Names the first key that is missing or out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.allowed_hosts.is_empty() {
            return Err(ConfigError::new("allowed_hosts", "is required: comma-separated `host` or `host:port`"));
        }
        within("connect_timeout_ms", self.connect_timeout_ms, 1..=300_000)?;
        within("first_byte_timeout_ms", self.first_byte_timeout_ms, 1..=600_000)?;
        within("between_bytes_timeout_ms", self.between_bytes_timeout_ms, 1..=600_000)?;
        within("idle_timeout_ms", self.idle_timeout_ms, 1..=600_000)?;
        within("max_idle_connections_per_host", self.max_idle_connections_per_host, 0..=10_000)?;
        within("max_connections_per_host", self.max_connections_per_host, 1..=10_000)
    }
}

fn within<T: PartialOrd + std::fmt::Display>(key: &str, value: T, range: RangeInclusive<T>) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::new(key, format!("is {value}, expected {} to {}", range.start(), range.end())))
}

fn read<T: DeserializeOwned>(pairs: impl IntoIterator<Item = (String, String)>) -> Result<T, ConfigError> {
    let pairs: Vec<(String, String)> = pairs.into_iter().collect();
    let values = MapDeserializer::<_, serde::de::value::Error>::new(pairs.into_iter());
    serde_path_to_error::deserialize(values)
        .map_err(|error| ConfigError::new(error.path().to_string(), error.inner().to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn pairs(extra: &[(&str, &str)]) -> Vec<(String, String)> {
        [("address", "127.0.0.1:0"), ("issuer", "i"), ("audience", "a"), ("jwks_url", "http://127.0.0.1:1/jwks")]
            .iter()
            .chain(extra)
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    // Goal: every key is read from its string; what is left out has its documented default.
    #[test]
    fn reads_strings() {
        let config = ServerConfig::from_pairs(pairs(&[
            ("burst", "7"),
            ("public_paths", "GET /products, GET /products/*"),
            ("tls_certificate_path", "/c.pem"),
            ("tls_key_path", "/k.pem"),
        ]))
        .unwrap();
        assert_eq!(config.burst, 7);
        assert_eq!(config.body_limit_bytes, 65_536);
        assert_eq!(config.public_paths.len(), 2);
        assert_eq!(config.tls_key_path.as_deref(), Some("/k.pem"));
        let client = ClientConfig::from_pairs([("allowed_hosts".to_owned(), "a,b:81".to_owned())]).unwrap();
        assert_eq!(client.allowed_hosts, ["a", "b:81"]);
    }

    // Goal: an error names its key.
    #[test]
    fn names_the_key() {
        for (key, value) in [
            ("burst", "many"),
            ("burst", "0"),
            ("issuer", ""),
            ("jwks_url", "ftp://x"),
            ("public_paths", "products"),
            ("tls_key_path", "k"),
            ("unheard_of", "1"),
        ] {
            let mut given = pairs(&[]);
            given.retain(|(existing, _)| existing != key);
            given.push((key.to_owned(), value.to_owned()));
            let error = ServerConfig::from_pairs(given).unwrap_err().to_string();
            let named = if key == "tls_key_path" { "tls_certificate_path" } else { key };
            assert!(error.contains(named), "{key}: {error}");
        }
        assert_eq!(ClientConfig::from_pairs([]).unwrap_err().key, "allowed_hosts");
    }
}
