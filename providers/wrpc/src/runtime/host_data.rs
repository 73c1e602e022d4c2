//! What a host tells a provider on its standard input: one line, base64 of JSON. Invariant: unknown fields are ignored, absent ones have
//! defaults, and nothing secret is ever printed.

use std::collections::BTreeMap;
use std::io::BufRead;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::link::Link;
use crate::limits;

/// Settings by key.
pub(crate) type Pairs = BTreeMap<String, String>;

/// The line. Fields that we have no use for are left out.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct HostData {
    /// The host that started us, and that alone may end us.
    pub(crate) host_id: String,
    /// The lattice.
    pub(crate) lattice_rpc_prefix: String,
    /// Credentials for NATS; empty for none.
    pub(crate) lattice_rpc_user_jwt: String,
    /// The seed that signs for the JWT. A secret.
    pub(crate) lattice_rpc_user_seed: String,
    /// Where NATS is.
    pub(crate) lattice_rpc_url: String,
    /// Our id in the lattice.
    pub(crate) provider_key: String,
    /// Links that exist already.
    pub(crate) link_definitions: Vec<Link>,
    /// Our named configs, merged.
    pub(crate) config: Pairs,
    /// Our secrets by name.
    pub(crate) secrets: BTreeMap<String, SecretValue>,
    /// The host's public key, with which it seals secrets of links.
    pub(crate) host_xkey_public_key: String,
    /// Our seed for them. A secret.
    pub(crate) provider_xkey_private_key: String,
    /// JSON logs rather than text.
    pub(crate) structured_logging: bool,
    /// `error`, `warn`, `info`, `debug`, `trace` or `critical`.
    pub(crate) log_level: Option<String>,
}

/// A secret as hosts send it.
#[derive(Clone, Deserialize)]
#[serde(tag = "kind", content = "value")]
pub(crate) enum SecretValue {
    /// Text.
    String(String),
    /// Bytes, which must be UTF-8 here: settings are text.
    Bytes(Vec<u8>),
}

/// Why the line cannot be used. Says nothing of its content, which holds keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HostDataError {
    /// Standard input broke off.
    #[error("reading the host's data from standard input: {0}")]
    Read(#[from] std::io::Error),
    /// Nothing came, or no end.
    #[error(
        "the host's data did not come: this program is started by a wasmCloud host, which writes a line to its standard input"
    )]
    Missing,
    /// It is not base64.
    #[error("the host's data is not base64")]
    Encoding,
    /// It is not the JSON that is expected.
    #[error("the host's data is not as expected at line {line}, column {column}")]
    Json {
        /// As serde counts.
        line: usize,
        /// As serde counts.
        column: usize,
    },
    /// A field without which nothing works is empty.
    #[error("the host's data has no `{0}`")]
    Empty(&'static str),
    /// A secret is not text.
    #[error("the secret `{0}` is not text")]
    Secret(String),
}

impl HostData {
    /// Reads the one line.
    ///
    /// # Errors
    /// When it does not come or is not as expected.
    pub(crate) fn read(input: impl BufRead) -> Result<Self, HostDataError> {
        let mut line = Vec::new();
        input.take(limits::MAX_HOST_DATA_BYTES).read_until(b'\n', &mut line)?;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Err(HostDataError::Missing);
        }
        let json = STANDARD.decode(line).map_err(|_| HostDataError::Encoding)?;
        // serde's own message may quote a value.
        let data: Self = serde_json::from_slice(&json)
            .map_err(|error| HostDataError::Json { line: error.line(), column: error.column() })?;
        for (name, value) in [("lattice_rpc_prefix", &data.lattice_rpc_prefix), ("provider_key", &data.provider_key)] {
            if value.is_empty() {
                return Err(HostDataError::Empty(name));
            }
        }
        Ok(data)
    }

    /// Our own settings: configs, and secrets over them.
    ///
    /// # Errors
    /// When a secret is not text.
    pub(crate) fn pairs(&self) -> Result<Pairs, HostDataError> {
        let mut pairs = self.config.clone();
        pairs.extend(secret_pairs(self.secrets.clone())?);
        Ok(pairs)
    }
}

/// Settings that secrets fill. What stands before the last hyphen of a name only sets it apart (ADR 0009).
///
/// # Errors
/// When a secret is not text.
pub(crate) fn secret_pairs(secrets: BTreeMap<String, SecretValue>) -> Result<Pairs, HostDataError> {
    let mut pairs = Pairs::new();
    for (name, value) in secrets {
        let text = match value {
            SecretValue::String(text) => text,
            SecretValue::Bytes(bytes) => String::from_utf8(bytes).map_err(|_| HostDataError::Secret(name.clone()))?,
        };
        let key = name.rsplit('-').next().unwrap_or(&name);
        pairs.insert(key.to_owned(), text);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn line(json: &str) -> String {
        format!("{}\r\n", STANDARD.encode(json))
    }

    #[test]
    fn a_line_of_the_stock_host_is_understood() {
        let json = r#"{"host_id":"NA","lattice_rpc_prefix":"default","link_name":"default","lattice_rpc_user_jwt":"",
            "lattice_rpc_user_seed":"","lattice_rpc_url":"nats://127.0.0.1:4222","provider_key":"db","env_values":{},
            "instance_id":"i","link_definitions":[{"source_id":"a","target":"db","name":"default","wit_namespace":"n",
            "wit_package":"p","interfaces":["i"],"source_config":{},"target_config":{"k":"v"},"source_secrets":null,
            "target_secrets":[1,2]}],"cluster_issuers":[],"config":{"max_connections":"4"},
            "secrets":{"main-url":{"kind":"String","value":"postgres://h/d"}},"host_xkey_public_key":"",
            "provider_xkey_private_key":"","structured_logging":true,"log_level":"debug","otel_config":{}}"#;
        let data = HostData::read(line(json).as_bytes()).unwrap();
        assert_eq!((data.provider_key.as_str(), data.structured_logging), ("db", true));
        assert_eq!(data.link_definitions[0].target_secrets.as_deref(), Some([1, 2].as_slice()));
        let pairs = data.pairs().unwrap();
        assert_eq!(pairs.get("url").map(String::as_str), Some("postgres://h/d"));
        assert_eq!(pairs.get("max_connections").map(String::as_str), Some("4"));
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_a_word_of_it() {
        let read = |text: &str| HostData::read(text.as_bytes()).err().unwrap().to_string();
        assert!(read("").contains("did not come"));
        assert!(read("!!\n").contains("base64"));
        assert!(!read(&line(r#"{"provider_xkey_private_key":["SXHIDDEN"]}"#)).contains("HIDDEN"));
        assert!(read(&line(r#"{"lattice_rpc_prefix":"default"}"#)).contains("provider_key"));
        let odd = BTreeMap::from([("key".to_owned(), SecretValue::Bytes(vec![0xff]))]);
        assert!(matches!(secret_pairs(odd), Err(HostDataError::Secret(name)) if name == "key"));
    }
}
