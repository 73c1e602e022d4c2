//! What differs from machine to machine: the configs that a manifest only names, and the secrets in a host's environment. Invariant: a secret
//! stands in the environment of a host and nowhere else.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_box::SecretKey;
use swiftcart_support::shop::Addresses;

/// Configs by name.
pub(crate) type Configs = BTreeMap<String, BTreeMap<String, String>>;

/// Settings of one run of the suite.
pub(crate) struct Settings {
    pub(crate) configs: Configs,
    /// Variables of every host whose values must show nowhere.
    pub(crate) secrets: Vec<(String, String)>,
    /// Other variables of every host.
    pub(crate) variables: Vec<(String, String)>,
}

impl Settings {
    pub(crate) fn new(addresses: &Addresses) -> Self {
        // A key of this run: no mail outlives it.
        let seal = SecretKey::from(key_bytes());
        let mut secrets: Vec<(String, String)> = addresses
            .database_urls
            .iter()
            .map(|(name, url)| (format!("SWIFTCART_{}_DATABASE_URL", name.to_uppercase()), url.clone()))
            .collect();
        secrets.extend([
            ("SWIFTCART_REDIS_URL".to_owned(), addresses.redis_url.clone()),
            ("SWIFTCART_SMTP_URL".to_owned(), addresses.smtp_url.clone()),
            ("SWIFTCART_PSP_SECRET_KEY".to_owned(), addresses.psp_secret_key.clone()),
            ("SWIFTCART_MAIL_SEAL_SECRET_KEY".to_owned(), STANDARD.encode(seal.to_bytes())),
        ]);
        let configs = configs(addresses, &STANDARD.encode(seal.public_key().as_bytes()));
        Self { configs, secrets, variables: Vec::new() }
    }
}

/// Two random UUIDs hold 244 random bits, which is enough for a key that protects the mails of a test.
fn key_bytes() -> [u8; 32] {
    let mut bytes = [0; 32];
    let halves = bytes.chunks_exact_mut(16);
    halves.for_each(|half| half.copy_from_slice(uuid::Uuid::new_v4().as_bytes()));
    bytes
}

fn configs(addresses: &Addresses, seal_public: &str) -> Configs {
    let psp = addresses.psp_base_url.split_once("://").map_or("", |(_, rest)| rest);
    let entries = [
        ("kafka", "bootstrap_servers", addresses.kafka_bootstrap_servers.as_str()),
        // Two hosts on one machine cannot have the same port: each takes a free one and tells it in its inventory.
        ("edge", "address", "127.0.0.1:0"),
        ("edge", "issuer", &addresses.issuer_url),
        ("edge", "audience", &addresses.issuer_audience),
        ("edge", "jwks_url", &addresses.issuer_jwks_url),
        // The load of a case comes from few users.
        ("edge", "requests_per_second", "100000"),
        ("edge", "burst", "100000"),
        ("psp", "base_url", &addresses.psp_base_url),
        ("psp-egress", "allowed_hosts", psp.split('/').next().unwrap_or(psp)),
        ("mail", "from", "SwiftCart <orders@swiftcart.example>"),
        ("seal", "mail_seal_public_key", seal_public),
    ];
    let mut configs = Configs::new();
    for (config, key, value) in entries {
        configs.entry(config.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
    }
    configs
}
