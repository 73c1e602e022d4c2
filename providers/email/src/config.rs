//! Configuration of one mail server. It is complete and checked before anything connects, and never shows the password.

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::TlsParameters;
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::value::MapDeserializer;
use serde_with::{DisplayFromStr, serde_as};
use url::Url;

/// What a link says about its mail server.
#[serde_as]
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `smtp://host:25`, `smtp://user:password@host:587?tls=required` (STARTTLS) or `smtps://user:password@host:465`. A path is the name
    /// given to the server in EHLO. User and password are percent-encoded. A secret.
    pub url: SecretString,
    /// The sender of all mails: `shop@example.org` or `Shop <shop@example.org>`.
    pub from: String,
    /// How long one exchange may take, in milliseconds (1 to 600000): connecting, announcing a mail, handing over its text.
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
    /// Connections at most (1 to 100).
    #[serde_as(as = "DisplayFromStr")]
    #[serde(default = "default_max_connections")]
    pub max_connections: usize,
}

/// A configuration that is not acceptable. Names the key; never quotes a secret.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("configuration of email, `{key}`: {message}")]
pub struct ConfigError {
    /// The key at fault.
    pub key: String,
    /// What is wrong and what is expected.
    pub message: String,
}

/// When a connection is encrypted.
#[derive(Clone)]
pub(crate) enum Encryption {
    Never,
    /// From the first byte (`smtps`).
    Always(TlsParameters),
    /// After STARTTLS; without it the connection is not used.
    Required(TlsParameters),
    /// After STARTTLS if the server offers it. Anyone in between can take the offer away.
    Opportunistic(TlsParameters),
}

/// Where the server is and how to talk to it.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) encryption: Encryption,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) hello: ClientId,
}

impl Config {
    /// Reads and checks the configuration. Keys that are not known are errors.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let pairs = MapDeserializer::<_, serde::de::value::Error>::new(pairs.into_iter());
        let config: Self = serde_path_to_error::deserialize(pairs)
            .map_err(|error| wrong(&error.path().to_string(), error.inner().to_string()))?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if !(1..=600_000).contains(&self.timeout_ms) {
            return Err(wrong("timeout_ms", format!("is {}, expected 1 to 600000", self.timeout_ms)));
        }
        if !(1..=100).contains(&self.max_connections) {
            return Err(wrong("max_connections", format!("is {}, expected 1 to 100", self.max_connections)));
        }
        self.sender()?;
        self.server().map(drop)
    }

    pub(crate) fn sender(&self) -> Result<Mailbox, ConfigError> {
        self.from.parse().map_err(|_| wrong("from", "expected shop@example.org or Shop <shop@example.org>".to_owned()))
    }

    /// Takes the address apart. The forms and default ports are those of lettre's `AsyncSmtpTransport::from_url`, which we cannot use: it
    /// does not let us see whether an error came before or after the text of the mail.
    pub(crate) fn server(&self) -> Result<Server, ConfigError> {
        let malformed = || {
            wrong(
                "url",
                "expected smtp://host:port, smtp://user:password@host:port?tls=required or smtps://...".to_owned(),
            )
        };
        let url = Url::parse(self.url.expose_secret()).map_err(|_| malformed())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(malformed)?.to_owned();
        let tls = || {
            TlsParameters::new(host.clone())
                .map_err(|error| wrong("url", format!("TLS cannot be set up for this host: {error}")))
        };
        let mut option = None;
        for (key, value) in url.query_pairs() {
            match (&*key, option.replace(value.into_owned())) {
                ("tls", None) => {}
                _ => return Err(malformed()),
            }
        }
        let (encryption, default_port) = match (url.scheme(), option.as_deref()) {
            ("smtp", None) => (Encryption::Never, 25),
            ("smtp", Some("required")) => (Encryption::Required(tls()?), 587),
            ("smtp", Some("opportunistic")) => (Encryption::Opportunistic(tls()?), 587),
            ("smtps", None) => (Encryption::Always(tls()?), 465),
            _ => return Err(malformed()),
        };
        let hello = match url.path().trim_matches('/') {
            "" => ClientId::default(),
            name => ClientId::Domain(name.to_owned()),
        };
        let credentials = match url.password() {
            Some(password) => Some(Credentials::new(decoded(url.username())?, decoded(password)?)),
            None if url.username().is_empty() => None,
            None => return Err(malformed()),
        };
        Ok(Server { port: url.port().unwrap_or(default_port), host, encryption, credentials, hello })
    }
}

fn decoded(text: &str) -> Result<String, ConfigError> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| wrong("url", "user and password must be percent-encoded UTF-8".to_owned()))
}

fn wrong(key: &str, message: String) -> ConfigError {
    ConfigError { key: key.to_owned(), message }
}

fn default_timeout_ms() -> u64 {
    10_000
}

fn default_max_connections() -> usize {
    4
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::from_pairs(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    fn server(url: &str) -> Result<Server, ConfigError> {
        read(&[("url", url), ("from", "a@example.org")])?.server()
    }

    #[test]
    fn addresses_of_servers() {
        let plain = server("smtp://127.0.0.1:2525").unwrap();
        assert_eq!((plain.host.as_str(), plain.port), ("127.0.0.1", 2525));
        assert!(matches!(plain.encryption, Encryption::Never) && plain.credentials.is_none());
        let starttls = server("smtp://us%40er:p%2Fw@mail.example.org/shop.example.org?tls=required").unwrap();
        assert_eq!(starttls.port, 587);
        assert!(matches!(starttls.encryption, Encryption::Required(_)));
        assert_eq!(starttls.credentials, Some(Credentials::new("us@er".to_owned(), "p/w".to_owned())));
        assert_eq!(starttls.hello, ClientId::Domain("shop.example.org".to_owned()));
        assert!(matches!(server("smtps://mail.example.org").unwrap().encryption, Encryption::Always(_)));
        assert!(matches!(
            server("smtp://mail.example.org?tls=opportunistic").unwrap().encryption,
            Encryption::Opportunistic(_)
        ));
        for url in [
            "http://h",
            "smtp://",
            "smtp://h?tls=maybe",
            "smtp://h?tsl=required",
            "smtp://user@h",
            "smtps://h?tls=required",
            "nonsense",
        ] {
            assert_eq!(server(url).err().map(|error| error.key).as_deref(), Some("url"), "{url}");
        }
    }

    #[test]
    fn errors_name_the_key_and_keep_the_secret() {
        let base = [("url", "smtp://u:hunter2@h"), ("from", "Shop <a@example.org>")];
        let with = |pair| read(&[base.as_slice(), &[pair]].concat()).unwrap_err();
        assert_eq!(with(("timeout_ms", "0")).key, "timeout_ms");
        assert_eq!(with(("max_connections", "lots")).key, "max_connections");
        assert!(with(("colour", "red")).to_string().contains("colour"));
        assert_eq!(read(&[("url", "smtp://h"), ("from", "nobody")]).unwrap_err().key, "from");
        assert!(!format!("{:?}", read(&base).unwrap()).contains("hunter2"));
        assert!(!server("smtp://u:hunter2@h:x").err().unwrap().to_string().contains("hunter2"));
    }
}
